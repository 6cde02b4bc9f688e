//! Every fixed limit on what a peer or a file can cause, each with its reason.
//!
//! Limits that an administrator may want to change are in the configuration; these need no change.

use std::time::Duration;

/// Longest SMTP command line, octets with its line end. RFC 5321 section 4.5.3.1.4 asks for 512, extensions add to it
/// (SMTPUTF8, SIZE, AUTH=); 2,048 is what Postfix takes.
pub const SMTP_COMMAND_LINE: usize = 2_048;

/// Longest line of a SASL exchange, octets with its line end (RFC 4954 section 4: 12,288).
pub const SASL_LINE: usize = 12_288;

/// Longest POP3 command line, octets with its line end (RFC 2449 section 4: 255; room for UTF-8 names, RFC 6856).
pub const POP3_COMMAND_LINE: usize = 1_024;

/// More `Received:` fields than this are a loop (RFC 5321 section 6.3 wants at least 100).
pub const RECEIVED_FIELDS: usize = 100;

/// Errors that one session may make before it is closed with 421.
pub const SESSION_ERRORS: u32 = 20;

/// How long a TLS handshake may take. No RFC says; the slowest radio link does it in less, and nothing else can happen on
/// the connection meanwhile.
pub const TLS_HANDSHAKE: Duration = Duration::from_secs(30);

/// How long a POP3 client may be silent while places are few. RFC 1939 section 3 wants 10 minutes: that is the
/// limit while there are enough places.
pub const CROWDED_COMMAND: Duration = Duration::from_secs(30);

/// How long an SMTP client may be silent while places are few. RFC 5321 section 4.5.3.2.7 wants 5 minutes: that is
/// the limit while there are enough places.
pub const CROWDED_SMTP_COMMAND: Duration = Duration::from_secs(10);

/// Longest users or aliases file, octets: some 100,000 users.
pub const ACCOUNTS_FILE: u64 = 16 * 1024 * 1024;

/// Unknown recipients that one SMTP session may name before each further one makes it wait. Postfix's
/// `smtpd_soft_error_limit` is the same.
pub const UNKNOWN_RECIPIENTS: u32 = 10;

/// Longest wait for one more unknown recipient: each takes a second more than the last, up to this.
pub const UNKNOWN_RECIPIENT_PAUSE: Duration = Duration::from_secs(5);

/// How much of a message's header is read for its event, octets.
pub const HEADER_OCTETS: usize = 64 * 1024;

/// Longest value of a header field in a record, octets, with the `...` that marks a cut.
pub const FIELD: usize = 2_048;

/// Further header fields that `event.headers` may name: with all values cut, they still fit in a line on a pipe.
pub const EVENT_HEADERS: usize = 32;

/// Longest name of one, octets.
pub const EVENT_HEADER_NAME: usize = 64;

/// Longest line on a pipe, octets with its newline: PIPE_BUF, so that one write(2) is never torn (pipe(7)).
pub const PIPE_LINE: usize = 4_096;

/// Longest id of a message, octets (RFC 1939 section 7: a unique-id has 1 to 70 characters in 0x21 to 0x7E).
pub const UNIQUE_ID: usize = 70;

/// How long an idle worker thread waits for the next connection before it leaves.
pub const IDLE_THREAD: Duration = Duration::from_secs(10);

/// Stack of a worker thread, octets. Message data lives on the heap; the deepest path is a TLS handshake.
pub const WORKER_STACK: usize = 256 * 1024;

/// Pending connections that the kernel holds for a listener. 128 hung 67 of 500 clients in a measurement.
pub const LISTEN_BACKLOG: i32 = 1_024;

/// Streams of events that are open over HTTP at the most. Each takes a place of `limits.connections`, a thread and three
/// descriptors.
pub const HTTP_STREAMS: usize = 64;

/// Room in the kernel for what a client of a stream has not read, octets (the kernel takes twice as much).
pub const STREAM_ROOM: usize = 64 * 1024;

/// Memory for the listings of maildrops that are kept from one POP3 session to the next, octets: one maildrop of
/// 100,000 messages takes some 7 MB.
pub const LISTINGS: usize = 12 * 1024 * 1024;
