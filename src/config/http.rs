//! `[http]`: the stream of events, the status, the metrics and the page.

use super::Place;
use super::section::Section;
use super::value::{self, or_empty};
use std::path::{Path, PathBuf};

/// `[http]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Http {
    /// Listeners.
    pub listen: Vec<Place>,
    /// The file with the token that clients must send, in its first line.
    pub token_file: Option<PathBuf>,
}

impl Http {
    /// Whether clients at this place need a token: others than this machine itself can reach it.
    pub fn needs_token(place: &Place) -> bool {
        matches!(place, Place::Tcp(address) if !address.ip().to_canonical().is_loopback())
    }
}

pub(super) fn http(top: &mut Section<'_, '_>, base: &Path) -> Http {
    let is_there = top.has("http");
    let mut section = top.section("http");
    let place = |text: &str| Place::parse(base, text);
    let listen = match section.raw("listen") {
        Some(_) => section.text("listen", "\"127.0.0.1:9180\"", or_empty(place)).flatten().into_iter().collect(),
        None => section.list("listen", "\"127.0.0.1:9180\"", place).unwrap_or_default(),
    };
    let path = |text: &str| value::path(base, text);
    let token_file = section.text("token_file", "\"/etc/mailbell/http.token\"", or_empty(path)).flatten();
    let is_without = token_file.is_none() && section.raw("token_file").is_none_or(str::is_empty);
    if let Some(place) = listen.iter().find(|place| Http::needs_token(place) && is_without) {
        let why = format!(
            "other machines can reach {place}; set `http.token_file` to a file with a secret, such as the output of \
             `openssl rand -hex 32`"
        );
        section.wrong("listen", why);
    }
    section.finish();
    if is_there && cfg!(not(feature = "http")) {
        top.wrong("http", "this mailbell was built without it (cargo feature `http`)");
        return Http::default();
    }
    Http { listen, token_file }
}
