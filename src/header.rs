//! The header of a message: fields, unfolding, and RFC 2047 words decoded to UTF-8.

/// What the event says of a message's header. `None` where the message has no such field; the first of a repeated
/// field counts; values are unfolded, RFC 2047 words decoded, outer white space trimmed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// `Message-ID`, as written, with its angle brackets.
    pub message_id: Option<String>,
    /// `Date`.
    pub date: Option<String>,
    /// `From`.
    pub from: Option<String>,
    /// `Reply-To`.
    pub reply_to: Option<String>,
    /// `To`.
    pub to: Option<String>,
    /// `Subject`.
    pub subject: Option<String>,
    /// `MIME-Version`.
    pub mime_version: Option<String>,
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `Content-Transfer-Encoding`.
    pub content_transfer_encoding: Option<String>,
    /// `mid:` and the Message-ID, else `hdr:` and a digest over Date, From, To, Subject and the oldest Received.
    pub key: String,
}
