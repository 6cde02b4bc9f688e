//! Where a message came from: the way, the envelope sender and the session. Trace fields and events say it.

/// How a message entered a Maildir.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// SMTP or submission.
    Smtp,
    /// LMTP (RFC 2033).
    Lmtp,
    /// `mailbell deliver`, or its `sendmail` form.
    Deliver,
    /// Fetched from another server.
    Poll,
    /// Another program's delivery into the Maildir.
    Maildir,
    /// A notice about a message that was sent from here.
    Bounce,
}

impl Via {
    const ALL: [(Via, &'static str); 6] = [
        (Via::Smtp, "smtp"),
        (Via::Lmtp, "lmtp"),
        (Via::Deliver, "deliver"),
        (Via::Poll, "poll"),
        (Via::Maildir, "maildir"),
        (Via::Bounce, "bounce"),
    ];

    /// Its name in the event.
    pub fn name(self) -> &'static str {
        Via::ALL[self as usize].1
    }

    /// The way with this name; `None` for an unknown name.
    pub fn of_name(name: &str) -> Option<Via> {
        Via::ALL.iter().find(|(_, known)| *known == name).map(|(via, _)| *via)
    }
}

/// Where a message came from: the envelope sender and the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// How it came.
    pub via: Via,
    /// Reverse-path without its angle brackets; `""` is the null path; `None` where there is no envelope.
    pub mail_from: Option<String>,
    /// The peer's IP address, without port.
    pub client: Option<String>,
    /// The name that the peer gave in HELO, EHLO or LHLO.
    pub helo: Option<String>,
    /// The account that authenticated.
    pub auth: Option<String>,
    /// Protocol version and cipher, for example `TLSv1.3 TLS_AES_256_GCM_SHA384`.
    pub tls: Option<String>,
    /// The name of the `[[remote]]` that it was fetched from.
    pub remote: Option<String>,
    /// The folder there; `None` for POP3.
    pub folder: Option<String>,
    /// `UIDVALIDITY.UID`, or POP3's unique-id.
    pub uid: Option<String>,
    /// Its `imap:` URI (RFC 5092). No trace field says it.
    pub uri: Option<String>,
}

impl Origin {
    /// A message without a known origin.
    pub fn unknown(via: Via) -> Origin {
        Origin {
            via,
            mail_from: None,
            client: None,
            helo: None,
            auth: None,
            tls: None,
            remote: None,
            folder: None,
            uid: None,
            uri: None,
        }
    }
}
