//! What the tests of this room share.

use crate::config::{After, Encryption, Protocol, Remote};
use crate::net::remote::secret::Source;
use crate::net::remote::tls::Trust;
use std::time::Duration;

/// A remote with the defaults of the configuration, without TLS, on this machine.
pub fn remote(name: &str, protocol: Protocol, port: u16) -> Remote {
    Remote {
        name: name.into(),
        protocol,
        host: "127.0.0.1".into(),
        port,
        encryption: Encryption::Off,
        trust: Trust::System,
        login: "me@example.com".into(),
        secret: Source::PasswordCommand(vec!["echo".into(), "secret".into()]),
        user: "alice".into(),
        folders: vec!["INBOX".into()],
        store: true,
        after: After::Leave,
        only_new: true,
        interval: Duration::from_secs(300),
        idle: Duration::from_secs(240),
        max_size: 100 << 20,
    }
}
