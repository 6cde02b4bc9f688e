//! The session's states, and the one function that changes them.

use super::WINDOW;
use super::packet::{self, Packet, Publish, Settings, Wrong};
use std::collections::VecDeque;
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// CONNECT was sent.
    Connecting,
    Ready,
    Over,
}

/// What the driver does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Wait for octets; there may be something to publish.
    More,
    /// The broker took the login: publish.
    Ready,
    /// The broker has taken the message that was published with this mark.
    Taken(u64),
    /// The answer to PINGREQ.
    Pong,
    /// The session is over. Close the connection.
    Failed(Failure),
}

/// Why a session is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The broker refuses the connection (section 3.2.2.3).
    Refused(Refusal),
    /// The broker sent a packet that a publisher never gets.
    Unexpected(&'static str),
    /// The octets are no packet.
    Malformed(&'static str),
    /// PUBACK for a packet identifier that waits for none.
    Unknown(u16),
    /// PINGRESP that nobody asked for, or a second CONNACK.
    OutOfOrder(&'static str),
}

/// The return code of CONNACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The broker does not know this version of MQTT.
    Version,
    /// The broker does not take the client id.
    ClientId,
    /// The broker is not ready now.
    Unavailable,
    /// Wrong user name or password.
    Login,
    /// This client may not connect.
    NotAuthorized,
    /// A code that the standard does not have.
    Other(u8),
}

impl Refusal {
    /// Whether trying again soon helps: everything else needs a person.
    pub fn is_temporary(self) -> bool {
        matches!(self, Refusal::Unavailable | Refusal::Other(_))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Refused(refusal) => write!(f, "the broker refuses the connection: {refusal}"),
            Failure::Unexpected(name) => write!(f, "the broker sent {name}, which a publisher never gets"),
            Failure::Malformed(name) => write!(f, "the broker sent a malformed {name}; it may not speak MQTT"),
            Failure::Unknown(id) => write!(f, "the broker acknowledged packet {id}, which does not wait for that"),
            Failure::OutOfOrder(name) => write!(f, "the broker sent {name} out of order"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Version => f.write_str("it does not know MQTT 3.1.1 (code 1)"),
            Refusal::ClientId => f.write_str("it does not take the client id (code 2)"),
            Refusal::Unavailable => f.write_str("it is not available (code 3)"),
            Refusal::Login => f.write_str("bad user name or password (code 4)"),
            Refusal::NotAuthorized => f.write_str("not authorized (code 5)"),
            Refusal::Other(code) => write!(f, "code {code}"),
        }
    }
}

/// One session.
#[derive(Debug)]
pub struct Session {
    state: State,
    /// Octets of a packet that has not come whole, at most four.
    input: Vec<u8>,
    /// Packet identifier and mark of what waits for its PUBACK, in the order in which it was sent.
    waiting: VecDeque<(u16, u64)>,
    last_id: u16,
    /// PINGREQ was sent, and PINGRESP has not come.
    is_pinging: bool,
}

impl Session {
    /// Says CONNECT: a [`Step::Ready`] or [`Step::Failed`] comes next.
    pub fn new(settings: &Settings, secret: Option<&[u8]>, out: &mut Vec<u8>) -> Session {
        packet::connect(settings, secret, out);
        Session { state: State::Connecting, input: Vec::new(), waiting: VecDeque::new(), last_id: 0, is_pinging: false }
    }

    /// Takes octets up to the end of one packet. Returns how many it took; call it again with the rest.
    pub fn octets(&mut self, octets: &[u8]) -> (usize, Step) {
        let held = self.input.len();
        // Five octets decide about every packet.
        self.input.extend(octets.iter().take(5_usize.saturating_sub(held)));
        match packet::read(&self.input) {
            Ok(None) => (self.input.len() - held, Step::More),
            Ok(Some((packet, length))) => {
                self.input.clear();
                // What was held was no whole packet, so this one ends in `octets`.
                (length - held, self.packet(packet))
            }
            Err(wrong) => (octets.len(), self.fail(wrong.into())),
        }
    }

    /// How many messages can be sent before the next PUBACK.
    pub fn room(&self) -> usize {
        if self.state == State::Ready { WINDOW.saturating_sub(self.waiting.len()) } else { 0 }
    }

    /// Sends a message, for which there must be room. Its mark comes back with [`Step::Taken`].
    pub fn publish(&mut self, message: &Publish<'_>, mark: u64, out: &mut Vec<u8>) {
        debug_assert!(self.room() > 0);
        let id = self.next_id();
        packet::publish(message, id, out);
        self.waiting.push_back((id, mark));
    }

    /// Messages that wait for their PUBACK.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether PINGRESP is waited for.
    pub fn is_pinging(&self) -> bool {
        self.is_pinging
    }

    /// Says PINGREQ.
    pub fn ping(&mut self, out: &mut Vec<u8>) {
        self.is_pinging = true;
        packet::ping(out);
    }

    /// Says DISCONNECT.
    pub fn disconnect(&mut self, out: &mut Vec<u8>) {
        packet::disconnect(out);
        self.enter(State::Over);
    }

    /// Identifiers count from 1, and none is used twice at the same time (section 2.3.1). Those that wait are the latest
    /// ones, or, when a broker answers out of order, few: the next free one is near.
    fn next_id(&mut self) -> u16 {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            if self.waiting.iter().all(|(id, _)| *id != self.last_id) {
                return self.last_id;
            }
        }
    }

    fn packet(&mut self, packet: Packet) -> Step {
        match (self.state, packet) {
            (State::Connecting, Packet::Connack(0)) => {
                self.enter(State::Ready);
                Step::Ready
            }
            (State::Connecting, Packet::Connack(code)) => self.fail(Failure::Refused(match code {
                1 => Refusal::Version,
                2 => Refusal::ClientId,
                3 => Refusal::Unavailable,
                4 => Refusal::Login,
                5 => Refusal::NotAuthorized,
                other => Refusal::Other(other),
            })),
            (State::Ready, Packet::Puback(id)) => match self.waiting.iter().position(|(waiting, _)| *waiting == id) {
                Some(at) => self.waiting.remove(at).map_or(Step::More, |(_, mark)| Step::Taken(mark)),
                None => self.fail(Failure::Unknown(id)),
            },
            (State::Ready, Packet::Pingresp) if std::mem::take(&mut self.is_pinging) => Step::Pong,
            (_, Packet::Connack(_)) => self.fail(Failure::OutOfOrder("CONNACK")),
            (_, Packet::Puback(_)) => self.fail(Failure::OutOfOrder("PUBACK")),
            (_, Packet::Pingresp) => self.fail(Failure::OutOfOrder("PINGRESP")),
        }
    }

    fn fail(&mut self, failure: Failure) -> Step {
        self.enter(State::Over);
        Step::Failed(failure)
    }

    fn enter(&mut self, state: State) {
        log::trace!("mqtt client: {:?} -> {state:?}", self.state);
        self.state = state;
    }
}

impl From<Wrong> for Failure {
    fn from(wrong: Wrong) -> Failure {
        match wrong {
            Wrong::Unexpected(name) => Failure::Unexpected(name),
            Wrong::Malformed(name) => Failure::Malformed(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ready() -> Session {
        let settings = Settings { client_id: "a".into(), login: None, keep_alive: 60 };
        let mut session = Session::new(&settings, None, &mut Vec::new());
        assert_eq!(session.octets(&[0x20, 2, 0, 0]), (4, Step::Ready));
        session
    }

    const MESSAGE: Publish<'_> = Publish { topic: "t", payload: b"p", retain: false, dup: false };

    #[test]
    fn identifiers_come_round_and_leave_out_what_waits() {
        let (mut session, mut out) = (ready(), Vec::new());
        session.publish(&MESSAGE, 1_000_000, &mut out);
        for mark in 0..200_000_u64 {
            out.clear();
            session.publish(&MESSAGE, mark, &mut out);
            let id = u16::from_be_bytes([out[5], out[6]]);
            assert!(id > 1, "0 is no identifier, and 1 waits");
            assert_eq!(session.octets(&[0x40, 2, out[5], out[6]]), (4, Step::Taken(mark)));
        }
        assert_eq!(session.octets(&[0x40, 2, 0, 1]), (4, Step::Taken(1_000_000)));
        assert_eq!(session.octets(&[0x40, 2, 0, 1]).1, Step::Failed(Failure::Unknown(1)));
    }

    proptest! {
        /// However the octets are cut into pieces, the steps are the same.
        #[test]
        fn pieces_do_not_matter(octets in proptest::collection::vec(prop_oneof![Just(0x40_u8), Just(2), Just(0), Just(1), Just(0xd0), any::<u8>()], 0..60), piece in 1_usize..7) {
            let steps = |pieces: Vec<&[u8]>| {
                let (mut session, mut steps) = (ready(), Vec::new());
                for mark in 0..3 {
                    session.publish(&MESSAGE, mark, &mut Vec::new());
                }
                for mut piece in pieces {
                    while !piece.is_empty() {
                        let (taken, step) = session.octets(piece);
                        assert!(taken > 0 && taken <= piece.len());
                        piece = &piece[taken..];
                        let is_over = matches!(step, Step::Failed(_));
                        if step != Step::More {
                            steps.push(step);
                        }
                        if is_over {
                            return steps;
                        }
                    }
                }
                steps
            };
            prop_assert_eq!(steps(vec![&octets]), steps(octets.chunks(piece).collect()));
        }
    }
}
