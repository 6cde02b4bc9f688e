//! One message: RSET, MAIL and RCPT out, their replies in, and what became of each recipient.

use super::{Session, State, send, text};
use crate::sasl::client::Failure;
use crate::smtp::client::envelope;
use crate::smtp::client::reply::Reply;
use crate::smtp::client::step::{Message, Step, Verdict};
use std::collections::VecDeque;

/// A command that waits for its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Reset,
    Mail,
    Rcpt(usize),
}

/// One message.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    size: u64,
    /// What became of each recipient; `None`: accepted so far, or not asked yet.
    verdicts: Vec<Option<Verdict>>,
    accepted: Vec<usize>,
    /// Replies to come.
    expected: VecDeque<Expected>,
    /// Commands to be sent when the last one is answered.
    unsent: VecDeque<(Expected, String)>,
}

impl Session {
    /// Begins a message. [`Session::most_recipients`] says how many recipients it may have.
    pub fn mail(&mut self, message: &Message, out: &mut Vec<u8>) -> Step {
        if self.state != State::Ready {
            return self.fail(Failure::Protocol("a message outside of its turn"));
        }
        let command = match envelope::mail(message, &self.can) {
            Ok(command) => command,
            Err(reply) => return Step::Done(vec![Verdict::Failed(reply); message.recipients.len()]),
        };
        let mut transaction = Transaction { size: message.size, ..Transaction::default() };
        if std::mem::take(&mut self.is_open) {
            transaction.unsent.push_back((Expected::Reset, "RSET\r\n".into()));
        }
        transaction.unsent.push_back((Expected::Mail, command));
        let before = transaction.unsent.len();
        for (index, recipient) in message.recipients.iter().enumerate() {
            match envelope::rcpt(recipient, &self.can) {
                Ok(command) => {
                    transaction.unsent.push_back((Expected::Rcpt(index), command));
                    transaction.verdicts.push(None);
                }
                Err(reply) => transaction.verdicts.push(Some(Verdict::Failed(reply))),
            }
        }
        if transaction.unsent.len() == before {
            return Step::Done(transaction.verdicts.into_iter().flatten().collect());
        }
        self.transaction = transaction;
        self.enter(State::Envelope);
        self.send_commands(out);
        Step::Line
    }

    /// Sends what may go out now: everything with PIPELINING, else one command.
    fn send_commands(&mut self, out: &mut Vec<u8>) {
        let count = if self.can.pipelining { usize::MAX } else { 1 };
        for _ in 0..count {
            let Some((expected, command)) = self.transaction.unsent.pop_front() else { break };
            out.extend_from_slice(command.as_bytes());
            self.transaction.expected.push_back(expected);
        }
    }

    /// A reply to RSET, MAIL or RCPT.
    pub(super) fn envelope(&mut self, reply: Reply, out: &mut Vec<u8>) -> Step {
        let Some(expected) = self.transaction.expected.pop_front() else {
            return self.fail(Failure::Protocol("a reply that nothing asked for"));
        };
        // RFC 4954 section 6: these are about the login, and not about the message.
        if matches!(reply.code, 530 | 534 | 535 | 538) {
            return self.fail(Failure::Refused(text(&reply)));
        }
        if reply.is_intermediate() {
            return self.fail(Failure::Protocol("a reply to MAIL or RCPT that makes no sense"));
        }
        match expected {
            Expected::Reset => {}
            Expected::Mail if reply.is_positive() => self.is_open = true,
            Expected::Mail => {
                let verdict = verdict(reply);
                for each in self.transaction.verdicts.iter_mut().filter(|each| each.is_none()) {
                    *each = Some(verdict.clone());
                }
                // Those that were sent already will be refused; their replies say nothing new.
                self.transaction.unsent.clear();
            }
            Expected::Rcpt(index) if self.is_open && reply.is_positive() => self.transaction.accepted.push(index),
            Expected::Rcpt(index) if self.is_open => self.transaction.verdicts[index] = Some(of_recipient(reply)),
            Expected::Rcpt(_) => {}
        }
        if self.transaction.expected.is_empty() {
            self.send_commands(out);
        }
        if !self.transaction.expected.is_empty() {
            return Step::Line;
        }
        if self.transaction.accepted.is_empty() {
            return self.finish();
        }
        if self.can.chunking {
            self.enter(State::Body);
            out.extend_from_slice(format!("BDAT {} LAST\r\n", self.transaction.size).as_bytes());
            return Step::Chunk;
        }
        self.enter(State::Data);
        send("DATA", out)
    }

    /// The server has answered for all recipients that it had accepted.
    pub(super) fn decide(&mut self, reply: &Reply) -> Step {
        for index in std::mem::take(&mut self.transaction.accepted) {
            self.transaction.verdicts[index] = Some(verdict(reply.clone()));
        }
        self.finish()
    }

    fn finish(&mut self) -> Step {
        self.enter(State::Ready);
        Step::Done(std::mem::take(&mut self.transaction).verdicts.into_iter().flatten().collect())
    }
}

fn verdict(reply: Reply) -> Verdict {
    match reply.code / 100 {
        2 => Verdict::Sent(reply),
        5 => Verdict::Failed(reply),
        _ => Verdict::Deferred(reply),
    }
}

/// Of a recipient that was not accepted. RFC 5321 section 4.5.3.1.10: 452 means too many of them, and so does 552 of old
/// servers.
fn of_recipient(reply: Reply) -> Verdict {
    match (reply.code, reply.status().get(1..)) {
        (452 | 552, Some(".5.3")) => Verdict::TooMany(reply),
        (452, Some(".0.0")) => Verdict::TooMany(reply),
        (552, Some(".0.0")) => Verdict::Deferred(reply),
        _ => verdict(reply),
    }
}
