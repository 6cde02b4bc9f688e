//! Every reply of the server, named once: its code (RFC 5321 section 4.2), its enhanced code (RFC 3463) where the
//! commands that may have one (RFC 2034 section 4), and a sentence.

pub(super) const BYE: &str = "221 2.0.0 Bye";
pub(super) const OK: &str = "250 2.0.0 Ok";
pub(super) const RESET: &str = "250 2.0.0 Reset";
pub(super) const NOT_VERIFIED: &str = "252 2.0.0 Addresses are not verified; send the message to try";

pub(super) const TIMEOUT: &str = "421 4.4.2 Timed out, closing";
pub(super) const STOPPING: &str = "421 4.3.2 The server needs to close this connection, try again later";
pub(super) const TOO_MANY_ERRORS: &str = "421 4.7.0 Too many errors, closing";
pub(super) const TALKS_EARLY: &str = "554 5.5.1 Data came before the greeting, closing";
pub(super) const HTTP: &str = "554 5.5.1 This is a mail server, closing";

pub(super) const UNKNOWN_COMMAND: &str = "500 5.5.2 Unknown command";
pub(super) const LINE_TOO_LONG: &str = "500 5.5.2 Line too long";
pub(super) const CONTROL_CHARACTER: &str = "500 5.5.2 A command has no control characters";
pub(super) const NOT_OFFERED: &str = "502 5.5.1 This command is not offered";
pub(super) const NO_ARGUMENT: &str = "501 5.5.4 This command takes no argument";
pub(super) const NOT_UTF8: &str = "501 5.5.2 The command is not in UTF-8";
pub(super) const NAME_NEEDED: &str = "501 5.5.4 This command needs the name of the client";
pub(super) const NAME_TOO_LONG: &str = "501 5.5.4 The name is longer than 255 octets";
pub(super) const LHLO_ONLY: &str = "500 5.5.1 This is LMTP, say LHLO";
pub(super) const NO_LMTP: &str = "500 5.5.1 This is SMTP, say EHLO";
pub(super) const HELLO_FIRST: &str = "503 5.5.1 Say HELO or EHLO first";
pub(super) const VRFY_SYNTAX: &str = "501 5.5.4 VRFY needs an address";

pub(super) const SENDER_OK: &str = "250 2.1.0 Sender ok";
pub(super) const MAIL_SYNTAX: &str = "501 5.5.4 The syntax is MAIL FROM:<address>";
pub(super) const NESTED_MAIL: &str = "503 5.5.1 A transaction is open already";
pub(super) const SIZE_SYNTAX: &str = "501 5.5.4 SIZE needs a number of octets";
pub(super) const BODY_SYNTAX: &str = "501 5.5.4 BODY is 7BIT or 8BITMIME";
pub(super) const SMTPUTF8_SYNTAX: &str = "501 5.5.4 SMTPUTF8 has no value";
pub(super) const AUTH_PARAMETER_SYNTAX: &str = "501 5.5.4 AUTH needs an address in xtext";
pub(super) const RET_SYNTAX: &str = "501 5.5.4 RET is FULL or HDRS, and is given once";
pub(super) const ENVID_SYNTAX: &str = "501 5.5.4 ENVID needs 1 to 100 octets of xtext, and is given once";
pub(super) const NOTIFY_SYNTAX: &str =
    "501 5.5.4 NOTIFY is NEVER, or a list of SUCCESS, FAILURE and DELAY, and is given once";
pub(super) const ORCPT_SYNTAX: &str = "501 5.5.4 ORCPT needs a type, `;` and an address in xtext, and is given once";
pub(super) const UNKNOWN_PARAMETER: &str = "555 5.5.4 This parameter is not offered";
pub(super) const SMTPUTF8_NEEDED: &str = "553 5.6.7 Such an address needs SMTPUTF8 in MAIL";
pub(super) const NOT_YOUR_ADDRESS: &str = "553 5.7.1 You may not send as this address";
pub(super) const NO_ROOM: &str = "452 4.3.1 No room for messages now, try again later";
pub(super) const TOO_OFTEN: &str = "450 4.7.1 Too many messages from your address, try again later";

pub(super) const RECIPIENT_OK: &str = "250 2.1.5 Recipient ok";
pub(super) const RCPT_SYNTAX: &str = "501 5.5.4 The syntax is RCPT TO:<address>";
pub(super) const MAIL_FIRST: &str = "503 5.5.1 Say MAIL first";
pub(super) const CHUNKS_BEGUN: &str = "503 5.5.1 Only BDAT, RSET and QUIT may follow BDAT";
pub(super) const NO_SUCH_USER: &str = "550 5.1.1 No such user here";
pub(super) const NO_RELAY: &str = "550 5.7.1 This server takes mail for its own domains only and relays nothing";
pub(super) const NO_RELAY_FOR_YOU: &str =
    "550 5.7.1 This server sends mail to other domains only for clients that log in";
pub(super) const TOO_MANY_WAITING: &str = "452 4.3.1 Too many of your messages wait to be sent, try again later";
pub(super) const TOO_MANY_SENT: &str =
    "450 4.7.1 You have sent to too many recipients in the last hour, try again later";
pub(super) const MAILBOX_UNAVAILABLE: &str = "450 4.2.0 The mailbox cannot be written now, try again later";
pub(super) const MAILBOX_FULL: &str = "552 5.2.2 The mailbox is full";
pub(super) const TOO_MANY_RECIPIENTS: &str = "452 4.5.3 Too many recipients, send the rest in another transaction";

pub(super) const SEND_DATA: &str = "354 End data with <CR><LF>.<CR><LF>";
pub(super) const RCPT_FIRST: &str = "503 5.5.1 Say RCPT first";
pub(super) const NO_VALID_RECIPIENTS: &str = "554 5.5.1 No valid recipients";
pub(super) const BDAT_SYNTAX: &str =
    "501 5.5.4 The syntax is BDAT octets [LAST]; closing, as data cannot be told from commands";
pub(super) const TOO_LARGE: &str = "552 5.3.4 The message is larger than this server takes";
pub(super) const LOOP: &str =
    "554 5.4.6 Too many Received fields, or too many of this server: the mail loops between servers";
pub(super) const SYSTEM: &str = "451 4.3.0 The message could not be stored, try again later";

pub(super) const BEGIN_TLS: &str = "220 2.0.0 Begin TLS now";
pub(super) const TLS_ACTIVE: &str = "503 5.5.1 TLS is active already";
pub(super) const TLS_FIRST: &str = "530 5.7.0 Say STARTTLS first";

pub(super) const LOGGED_IN: &str = "235 2.7.0 Authentication successful";
pub(super) const AUTH_FIRST: &str = "530 5.7.0 Authentication required";
pub(super) const AUTH_SYNTAX: &str = "501 5.5.4 The syntax is AUTH mechanism [initial-response]";
pub(super) const AUTH_ONCE: &str = "503 5.5.1 You are authenticated already";
pub(super) const AUTH_IN_TRANSACTION: &str = "503 5.5.1 AUTH must come before MAIL";
pub(super) const UNKNOWN_MECHANISM: &str = "504 5.5.4 This mechanism is not offered";
pub(super) const ENCRYPTION_NEEDED: &str = "538 5.7.11 This mechanism needs TLS first";
pub(super) const NO_INITIAL_RESPONSE: &str = "501 5.5.4 This mechanism has no initial response";
pub(super) const AUTH_CANCELLED: &str = "501 5.7.0 Authentication cancelled";
pub(super) const BAD_BASE64: &str = "501 5.5.2 This is not base64";
pub(super) const AUTH_LINE_TOO_LONG: &str = "500 5.5.6 The response is too long";
/// The same for every failed login, so that it does not tell which names exist.
pub(super) const AUTH_FAILED: &str = "535 5.7.8 Authentication failed";

/// What the log says of a reply to a client that must log in and has not, or cannot without TLS. Such a device says nothing
/// of it to its owner.
pub fn login_trouble(reply: &[u8]) -> Option<&'static str> {
    let begins = |text: &str| reply.starts_with(text.as_bytes());
    match () {
        () if begins(ENCRYPTION_NEEDED) || begins(TLS_FIRST) => Some("login-needs-tls"),
        () if begins(AUTH_FIRST) => Some("no-login"),
        () => None,
    }
}

/// Appends a reply of one line.
pub(super) fn line(out: &mut Vec<u8>, reply: &str) {
    out.extend_from_slice(reply.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Appends a reply of several lines that share a code; `lines` is not empty.
pub(super) fn lines(out: &mut Vec<u8>, code: &str, lines: &[impl AsRef<str>]) {
    for (index, text) in lines.iter().enumerate() {
        out.extend_from_slice(code.as_bytes());
        out.push(if index + 1 < lines.len() { b'-' } else { b' ' });
        line(out, text.as_ref());
    }
}
