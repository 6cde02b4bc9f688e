//! The Transaction state (RFC 1939 section 5): the maildrop as it was at log-in, what is marked in it, and the commands
//! that ask for it. Dropping a transaction leaves the maildrop as it was.

use std::borrow::Cow;

use super::argument::{self, Malformed};
use super::step::{Part, Step};
use super::verb::Verb;
use super::{Maildrop, Marks, reply};

/// A listing is handed to the driver in parts of about so many octets, so that 100,000 lines need no more memory.
const LISTING_PART: usize = 64 * 1024;

/// A sentence for `-ERR`.
type Sentence = Cow<'static, str>;

/// A maildrop and what a session has marked in it.
#[derive(Debug)]
pub(super) struct Transaction<M> {
    pub(super) maildrop: M,
    pub(super) deleted: Marks,
    pub(super) seen: Marks,
    /// Messages and octets that are not deleted.
    left: (u32, u64),
    /// The highest message-number accessed (RFC 1460), 0 for none.
    last: u32,
    listing: Option<Listing>,
}

/// A multi-line LIST or UIDL that is being written.
#[derive(Clone, Copy, Debug)]
struct Listing {
    verb: Verb,
    next: u32,
}

impl<M: Maildrop> Transaction<M> {
    pub(super) fn new(maildrop: M) -> Transaction<M> {
        let left = all(&maildrop);
        Transaction { maildrop, deleted: Marks::new(), seen: Marks::new(), left, last: 0, listing: None }
    }

    /// The reply to the login.
    pub(super) fn welcome(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"+OK Logged in, ");
        self.totals(out);
    }

    fn totals(&self, out: &mut Vec<u8>) {
        reply::decimal(out, u64::from(self.left.0));
        out.extend_from_slice(b" messages (");
        reply::decimal(out, self.left.1);
        out.extend_from_slice(b" octets)\r\n");
    }

    pub(super) fn command(&mut self, verb: Verb, argument: &[u8], out: &mut Vec<u8>) -> Result<Step, Sentence> {
        match verb {
            Verb::List | Verb::Uidl if argument.is_empty() => return Ok(self.list(verb, out)),
            Verb::List | Verb::Uidl => {
                let message_number = self.message_number(argument)?;
                out.extend_from_slice(b"+OK ");
                self.listing_line(verb, message_number, out);
            }
            Verb::Retr => {
                let message_number = self.message_number(argument)?;
                return Ok(Step::Send(Part { message_number, lines: None }));
            }
            Verb::Top => return self.top(argument),
            Verb::Dele => self.delete(argument, out)?,
            Verb::Stat => self.stat(out),
            Verb::Last => {
                out.extend_from_slice(b"+OK ");
                reply::decimal(out, u64::from(self.last));
                out.extend_from_slice(b"\r\n");
            }
            Verb::Rset => self.reset(out),
            // The only other command of this state is NOOP.
            _ => reply::ok(out, ""),
        }
        Ok(Step::Continue)
    }

    /// STAT counts what is not deleted (RFC 1939 section 5).
    fn stat(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"+OK ");
        reply::decimal(out, u64::from(self.left.0));
        out.push(b' ');
        reply::decimal(out, self.left.1);
        out.extend_from_slice(b"\r\n");
    }

    fn list(&mut self, verb: Verb, out: &mut Vec<u8>) -> Step {
        out.extend_from_slice(b"+OK ");
        self.totals(out);
        self.listing = Some(Listing { verb, next: 1 });
        self.more(out)
    }

    /// Appends about `LISTING_PART` octets of the listing.
    pub(super) fn more(&mut self, out: &mut Vec<u8>) -> Step {
        let Some(Listing { verb, next }) = self.listing.take() else {
            return Step::Continue;
        };
        let full = out.len() + LISTING_PART;
        for message_number in next..=self.maildrop.count() {
            if out.len() >= full {
                self.listing = Some(Listing { verb, next: message_number });
                return Step::More;
            }
            if !self.deleted.contains(message_number) {
                self.listing_line(verb, message_number, out);
            }
        }
        out.extend_from_slice(b".\r\n");
        Step::Continue
    }

    fn listing_line(&self, verb: Verb, message_number: u32, out: &mut Vec<u8>) {
        reply::decimal(out, u64::from(message_number));
        out.push(b' ');
        if verb == Verb::Uidl {
            self.maildrop.unique_id(message_number, out);
        } else {
            reply::decimal(out, self.maildrop.size(message_number));
        }
        out.extend_from_slice(b"\r\n");
    }

    /// TOP has two arguments. Each fault of each has a sentence of its own.
    fn top(&self, argument: &[u8]) -> Result<Step, Sentence> {
        let (message, lines) = argument::pair(argument);
        let message_number = self.message_number(message)?;
        let lines =
            argument::number(lines.unwrap_or_default()).map_err(|fault| reply::malformed("number of lines", fault))?;
        Ok(Step::Send(Part { message_number, lines: Some(lines) }))
    }

    fn delete(&mut self, argument: &[u8], out: &mut Vec<u8>) -> Result<(), Sentence> {
        let message_number = self.message_number(argument)?;
        self.deleted.insert(message_number);
        self.left.0 -= 1;
        self.left.1 = self.left.1.saturating_sub(self.maildrop.size(message_number));
        self.last = self.last.max(message_number);
        reply::ok(out, "Marked to be deleted");
        Ok(())
    }

    /// RSET removes all marks, and LAST is 0 again (RFC 1460).
    fn reset(&mut self, out: &mut Vec<u8>) {
        self.deleted.clear();
        // No message counts as seen any more, as in Dovecot.
        self.seen.clear();
        self.left = all(&self.maildrop);
        self.last = 0;
        out.extend_from_slice(b"+OK ");
        self.totals(out);
    }

    /// The message of `Step::Send` is open, and its first line goes out.
    pub(super) fn sending(&mut self, part: Part, out: &mut Vec<u8>) {
        if part.lines.is_some() {
            return reply::ok(out, "Top of message follows");
        }
        self.seen.insert(part.message_number);
        self.last = self.last.max(part.message_number);
        out.extend_from_slice(b"+OK ");
        reply::decimal(out, self.maildrop.size(part.message_number));
        out.extend_from_slice(b" octets\r\n");
    }

    /// Parses a message-number. The message exists and is not deleted.
    fn message_number(&self, argument: &[u8]) -> Result<u32, Sentence> {
        let malformed = |fault| reply::malformed("message-number", fault);
        let number = argument::number(argument).map_err(malformed)?;
        match u32::try_from(number) {
            Err(_) => Err(malformed(Malformed::Overflow).into()),
            Ok(0) => Err(reply::ZERO.into()),
            Ok(message_number) if message_number > self.maildrop.count() => {
                Err(format!("No such message, only {} in maildrop", self.maildrop.count()).into())
            }
            Ok(message_number) if self.deleted.contains(message_number) => {
                Err(format!("Message {message_number} is deleted").into())
            }
            Ok(message_number) => Ok(message_number),
        }
    }
}

fn all<M: Maildrop>(maildrop: &M) -> (u32, u64) {
    let sizes = (1..=maildrop.count()).map(|message_number| maildrop.size(message_number));
    (maildrop.count(), sizes.fold(0, u64::saturating_add))
}
