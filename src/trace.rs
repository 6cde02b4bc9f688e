//! Who handed a message over, and the trace fields (RFC 5321 section 4.4) that say so at the top of the stored file.
//!
//! What `prefix` writes, `read_back` reads: a message that was stored but not yet recorded when the process died gets
//! its whole record from the file alone.

/// The way a message entered a Maildir of ours.
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
}

/// Who handed a message over: the envelope sender and the session it came through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// By which door.
    pub via: Via,
    /// Reverse-path without its angle brackets; `""` is the null path; `None` where there is no envelope.
    pub mail_from: Option<String>,
    /// The peer's IP address, without port.
    pub client: Option<String>,
    /// What the peer called itself in HELO, EHLO or LHLO.
    pub helo: Option<String>,
    /// The account that authenticated.
    pub auth: Option<String>,
    /// Protocol version and cipher, for example `TLSv1.3 TLS_AES_256_GCM_SHA384`.
    pub tls: Option<String>,
}
