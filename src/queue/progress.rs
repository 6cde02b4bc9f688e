//! What is known of a message that was tried: how often, when it is tried again, and what became of each recipient. One
//! small file beside the message, replaced as a whole.

use serde_json::{Value, json};

/// Longest file, octets.
pub(super) const LONGEST: u64 = 32 * 1024 * 1024;

/// Longest text of a server that is kept for one recipient, octets.
const TEXT: usize = 1_000;

/// What became of one recipient.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Not decided: it is tried again.
    #[default]
    Waiting,
    /// The other server took the message and is answerable for it now.
    Sent,
    /// It will not be delivered.
    Failed,
}

/// One recipient, in the order of the envelope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What became of it.
    pub state: State,
    /// The last answer about it, with its codes; empty before the first.
    pub answer: String,
    /// Its enhanced status code (RFC 3463), such as `5.1.1`.
    pub status: String,
    /// The sender is still to be told.
    pub is_notice_owed: bool,
}

impl Outcome {
    fn name(&self) -> &'static str {
        match self.state {
            State::Waiting => "waiting",
            State::Sent => "sent",
            State::Failed => "failed",
        }
    }
}

/// What is known of one message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Tries so far.
    pub attempts: u32,
    /// When it is tried again, seconds since 1970.
    pub next: u64,
    /// The sender was told of the delay.
    pub has_warned: bool,
    /// Why it still waits; empty before the first try.
    pub error: String,
    /// One for each recipient of the envelope, in its order.
    pub outcomes: Vec<Outcome>,
}

impl Progress {
    /// Of a message that was not tried yet.
    pub fn new(recipients: usize) -> Progress {
        Progress { outcomes: vec![Outcome::default(); recipients], ..Progress::default() }
    }

    /// Whether there is a recipient that waits.
    pub fn is_waiting(&self) -> bool {
        self.outcomes.iter().any(|outcome| outcome.state == State::Waiting)
    }

    pub(super) fn to_octets(&self) -> Vec<u8> {
        let outcomes: Vec<Value> = self
            .outcomes
            .iter()
            .map(|outcome| {
                json!({
                    "state": outcome.name(),
                    "answer": cut(&outcome.answer),
                    "status": outcome.status,
                    "owed": outcome.is_notice_owed,
                })
            })
            .collect();
        let value = json!({
            "attempts": self.attempts,
            "next": self.next,
            "warned": self.has_warned,
            "error": cut(&self.error),
            "outcomes": outcomes,
        });
        format!("{value}\n").into_bytes()
    }

    /// `None` for what [`Progress::to_octets`] did not write for so many recipients.
    pub(super) fn parse(octets: &[u8], recipients: usize) -> Option<Progress> {
        let value: Value = serde_json::from_slice(octets).ok()?;
        let outcomes: Option<Vec<Outcome>> = value["outcomes"].as_array()?.iter().map(outcome).collect();
        Some(Progress {
            attempts: u32::try_from(value["attempts"].as_u64()?).ok()?,
            next: value["next"].as_u64()?,
            has_warned: value["warned"].as_bool()?,
            error: value["error"].as_str()?.to_owned(),
            outcomes: outcomes.filter(|outcomes| outcomes.len() == recipients)?,
        })
    }
}

fn outcome(value: &Value) -> Option<Outcome> {
    Some(Outcome {
        state: match value["state"].as_str()? {
            "waiting" => State::Waiting,
            "sent" => State::Sent,
            "failed" => State::Failed,
            _ => return None,
        },
        answer: value["answer"].as_str()?.to_owned(),
        status: value["status"].as_str()?.to_owned(),
        is_notice_owed: value["owed"].as_bool()?,
    })
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut progress = Progress::new(3);
        progress.attempts = 7;
        progress.next = 1_795_423_499;
        progress.error = "it is \"late\"\n".into();
        progress.outcomes[1] = Outcome {
            state: State::Failed,
            answer: "550 5.1.1 nobody".into(),
            status: "5.1.1".into(),
            is_notice_owed: true,
        };
        progress.outcomes[2].state = State::Sent;
        let octets = progress.to_octets();
        assert_eq!(Progress::parse(&octets, 3).as_ref(), Some(&progress));
        assert!(progress.is_waiting());
        assert_eq!(Progress::parse(&octets, 2), None, "another number of recipients");
        for end in 0..octets.len() - 1 {
            assert_eq!(Progress::parse(&octets[..end], 3), None, "{end}");
        }
        progress.error = "é".repeat(10_000);
        assert!(Progress::parse(&progress.to_octets(), 3).unwrap().error.len() <= TEXT);
    }
}
