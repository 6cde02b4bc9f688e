//! The kinds of listeners.

use std::fmt;

/// What a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerKind {
    /// `smtp.listen`.
    Smtp,
    /// `submission.listen`.
    Submission,
    /// `tls.smtps`: submission inside TLS.
    Smtps,
    /// `lmtp.listen`.
    Lmtp,
    /// `pop3.listen`.
    Pop3,
    /// `tls.pop3s`.
    Pop3s,
    /// `metrics.listen`.
    Metrics,
    /// `http.listen`.
    Http,
    /// The socket in the state folder that `mailbell status` asks.
    Control,
    /// The socket for `sendmail` of local users: SMTP.
    Local,
}

impl ListenerKind {
    /// The kinds that a configuration, or systemd, can have.
    const PUBLIC: [ListenerKind; 8] = [
        ListenerKind::Smtp,
        ListenerKind::Submission,
        ListenerKind::Smtps,
        ListenerKind::Lmtp,
        ListenerKind::Pop3,
        ListenerKind::Pop3s,
        ListenerKind::Metrics,
        ListenerKind::Http,
    ];

    /// The kind of this name.
    pub fn named(name: &str) -> Option<ListenerKind> {
        ListenerKind::PUBLIC.into_iter().find(|kind| kind.name() == name)
    }

    /// Its name, in the ready line, in the log, and as systemd's `FileDescriptorName`.
    pub fn name(self) -> &'static str {
        match self {
            ListenerKind::Smtp => "smtp",
            ListenerKind::Submission => "submission",
            ListenerKind::Smtps => "smtps",
            ListenerKind::Lmtp => "lmtp",
            ListenerKind::Pop3 => "pop3",
            ListenerKind::Pop3s => "pop3s",
            ListenerKind::Metrics => "metrics",
            ListenerKind::Http => "http",
            ListenerKind::Control => "control",
            ListenerKind::Local => "local",
        }
    }

    /// A configuration, or systemd, can have it.
    pub fn is_public(self) -> bool {
        ListenerKind::PUBLIC.contains(&self)
    }

    /// Clients log in here: POP3 and submission.
    pub fn is_for_users(self) -> bool {
        use ListenerKind::{Pop3, Pop3s, Smtps, Submission};
        matches!(self, Submission | Smtps | Pop3 | Pop3s)
    }

    /// TLS begins with the connection.
    pub fn is_implicit_tls(self) -> bool {
        matches!(self, ListenerKind::Smtps | ListenerKind::Pop3s)
    }
}

impl fmt::Display for ListenerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
