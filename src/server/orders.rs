//! `mailbell replay` at the running server: one JSON object in on the control socket, one out.
//!
//! ```text
//! {"subscriber": "hook:archive", "do": "replay", "events": [[3, 7], [9, 9]]}
//! {"subscriber": "hook:archive", "do": "given_up"}       or "pause", "resume"
//! {"queued": 5, "unwanted": 0, "gone": [[9, 9]]}         {"unknown": true}       {"refused": "why"}
//! ```

use crate::notify::{Refused, Replayed};
use crate::service::Service;
use serde_json::{Value, json};

/// Answers a request.
pub fn answer(service: &Service, request: &str) -> Value {
    let request: Value = serde_json::from_str(request).unwrap_or_default();
    let name = request["subscriber"].as_str().unwrap_or_default();
    let handle = service.subscribers().as_ref().and_then(|subscribers| subscribers.handle(name));
    let Some(handle) = handle else { return json!({"unknown": true}) };
    let ranges = || {
        let pair = |pair: &Value| Some((pair.get(0)?.as_u64()?, pair.get(1)?.as_u64()?));
        request["events"].as_array()?.iter().map(pair).collect::<Option<Vec<_>>>()
    };
    let done = match request["do"].as_str() {
        Some("replay") => handle.replay(&ranges().unwrap_or_default()),
        Some("given_up") => handle.replay_given_up(),
        Some("pause") => handle.pause(true).map(|()| Replayed::default()),
        Some("resume") => handle.pause(false).map(|()| Replayed::default()),
        _ => return json!({"refused": "this server does not know the request; it is of another version"}),
    };
    match done {
        Ok(Replayed { queued, unwanted, gone }) => json!({"queued": queued, "unwanted": unwanted, "gone": gone}),
        Err(refused) => {
            json!({"refused": refused.to_string(), "by_settings": matches!(refused, Refused::PausedBySettings)})
        }
    }
}
