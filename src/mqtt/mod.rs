//! The MQTT client without its socket: a publisher of version 3.1.1 with QoS 1, and nothing else. It does no I/O and knows
//! no clock: octets of the broker go in, packets are appended to a buffer, and a [`Step`] says what the driver does next.
//! Section numbers are those of the OASIS standard "MQTT Version 3.1.1".
//!
//! ```text
//! CONNECT -> Connecting -- CONNACK 0 --> Ready: PUBLISH ... PUBACK, PINGREQ ... PINGRESP -- DISCONNECT --> Over
//!               |                          |
//!               '-- another CONNACK -------'-- a packet that a publisher never gets --> Over
//! ```
//!
//! A publisher gets three kinds of packets: CONNACK, PUBACK and PINGRESP. Each has a fixed length, so the session keeps at
//! most five octets of a broker, whatever the broker sends.

#[cfg(test)]
mod dialogue_tests;
mod packet;
#[cfg(test)]
#[path = "../../tests/common/mqtt.rs"]
pub(crate) mod packets;
mod session;
pub mod topic;

pub use packet::{Publish, Settings};
pub use session::{Failure, Refusal, Session, Step};

/// PUBLISH packets that may wait for their PUBACK at the same time.
pub const WINDOW: usize = 32;
