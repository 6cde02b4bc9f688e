//! One record of the journal: the event of one stored message.

use crate::header::Summary;
use crate::trace::Origin;

/// One stored message, as the journal and every subscriber tell it (names after RFC 5423).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// 1, 2, 3 ... without gaps, over all users. The journal gives it; 0 before that.
    pub seq: u64,
    /// When the message was stored, microseconds since 1970 UTC; RFC 3339 in JSON.
    pub timestamp: u64,
    /// Whose Maildir.
    pub user: String,
    /// The Maildir base name up to the first `,` or `:`.
    pub id: String,
    /// The file's absolute path when it was stored.
    pub path: String,
    /// Octets with CRLF line ends.
    pub size: u64,
    /// Who handed it over.
    pub origin: Origin,
    /// The recipient as the sender typed it; `None` where there is no envelope.
    pub rcpt_to: Option<String>,
    /// The header fields and the key.
    pub summary: Summary,
    /// `seq` of the latest earlier event with the same user and key. The journal gives it.
    pub duplicate_of: Option<u64>,
}
