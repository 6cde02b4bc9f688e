//! The client's side of a login, shared by IMAP, POP3 and SMTP: the strings of PLAIN, XOAUTH2 and OAUTHBEARER, what a refusal
//! means, and why a session with a remote server ends. Pure: no I/O, no clock.

use crate::message::base64;
use std::fmt;

/// How much of a server's text is kept for the log, characters.
const TEXT: usize = 200;

/// A mechanism by which mailbell logs in on another server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientMechanism {
    /// RFC 4616.
    Plain,
    /// Google's and Microsoft's predecessor of OAUTHBEARER.
    Xoauth2,
    /// RFC 7628.
    OauthBearer,
}

impl ClientMechanism {
    /// Its name in AUTH and in capabilities.
    pub fn name(self) -> &'static str {
        match self {
            ClientMechanism::Plain => "PLAIN",
            ClientMechanism::Xoauth2 => "XOAUTH2",
            ClientMechanism::OauthBearer => "OAUTHBEARER",
        }
    }

    /// The first and only response, in base64. `secret` is the password or the access token.
    pub fn response(self, login: &str, host: &str, port: u16, secret: &[u8]) -> String {
        let mut octets = Vec::new();
        match self {
            ClientMechanism::Plain => {
                octets.extend_from_slice(format!("\0{login}\0").as_bytes());
                octets.extend_from_slice(secret);
            }
            ClientMechanism::Xoauth2 => {
                octets.extend_from_slice(format!("user={login}\x01auth=Bearer ").as_bytes());
                octets.extend_from_slice(secret);
                octets.extend_from_slice(b"\x01\x01");
            }
            ClientMechanism::OauthBearer => {
                // RFC 5801 section 4: `,` and `=` in the name are written =2C and =3D.
                let login = login.replace('=', "=3D").replace(',', "=2C");
                octets.extend_from_slice(
                    format!("n,a={login},\x01host={host}\x01port={port}\x01auth=Bearer ").as_bytes(),
                );
                octets.extend_from_slice(secret);
                octets.extend_from_slice(b"\x01\x01");
            }
        }
        base64::encode(&octets)
    }

    /// What a client answers to the challenge that carries a refusal, before the server says so in a reply (RFC 7628
    /// section 3.2.3). PLAIN has no such challenge, so the exchange is cancelled.
    pub fn acknowledgement(self) -> &'static str {
        match self {
            ClientMechanism::Plain => "*",
            ClientMechanism::Xoauth2 => "",
            ClientMechanism::OauthBearer => "AQ==",
        }
    }
}

/// What kind of secret an account has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secret {
    /// A password.
    Password,
    /// An OAuth2 access token.
    Token,
}

/// An account on another server.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its name there.
    pub login: String,
    /// The server's name, for OAUTHBEARER.
    pub host: String,
    /// The server's port, for OAUTHBEARER.
    pub port: u16,
    /// What the driver will bring.
    pub secret: Secret,
}

impl Account {
    /// The response of a mechanism.
    pub fn response(&self, mechanism: ClientMechanism, secret: &[u8]) -> String {
        mechanism.response(&self.login, &self.host, self.port, secret)
    }

    /// Whether a server's words repeat the secret, as some servers quote the command.
    pub fn is_repeated(&self, words: &str, secret: &[u8]) -> bool {
        let plain = String::from_utf8_lossy(secret);
        let mechanisms = [ClientMechanism::Plain, ClientMechanism::Xoauth2, ClientMechanism::OauthBearer];
        let mut forms = mechanisms.map(|mechanism| self.response(mechanism, secret)).to_vec();
        forms.extend([plain.escape_debug().to_string(), base64::encode(secret), plain.into_owned()]);
        // The words may be cut, so the beginning of a long secret is enough. A short one must be a word.
        forms.iter().any(|form| match form.char_indices().nth(8) {
            Some((at, _)) => words.contains(&form[..at]),
            None => {
                let is_in = |mut words: std::str::Split<'_, fn(char) -> bool>| words.any(|word| word == form);
                !form.is_empty()
                    && (is_in(words.split(|letter| letter.is_whitespace() || matches!(letter, '"' | ':')))
                        || is_in(words.split(|letter| !letter.is_alphanumeric())))
            }
        })
    }
}

/// The mechanism for a token, if the server has one.
///
/// # Errors
///
/// It has none.
pub fn token_mechanism(has: impl Fn(&str) -> bool) -> Result<ClientMechanism, Failure> {
    let all = [ClientMechanism::Xoauth2, ClientMechanism::OauthBearer];
    let first = all.into_iter().find(|mechanism| has(mechanism.name()));
    first.ok_or(Failure::NoMechanism("neither XOAUTH2 nor OAUTHBEARER is advertised"))
}

/// Refuses a secret with a line end in it, which would make a command of what follows it.
///
/// # Errors
///
/// For such a secret.
pub fn is_one_line(secret: &[u8]) -> Result<(), Failure> {
    match secret.iter().any(|octet| matches!(octet, b'\r' | b'\n' | 0)) {
        true => Err(Failure::NoMechanism("the secret has a line end in it")),
        false => Ok(()),
    }
}

/// The `status` of a refusal's JSON, which comes as a challenge in base64. Nothing else of it is kept: the rest may
/// repeat what the client sent.
pub fn refusal_status(challenge: &[u8]) -> Option<String> {
    let json = base64::decode_lax(challenge.trim_ascii())?;
    let text = String::from_utf8_lossy(&json);
    let (_, rest) = text.split_once("\"status\"")?;
    let value = rest.trim_start().strip_prefix(':')?.trim_start().trim_start_matches('"');
    let status: String =
        value.chars().take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '_').take(32).collect();
    (!status.is_empty()).then_some(status)
}

/// Why a session with a remote server ends, as far as the protocol tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The server refused name and password, or the token.
    Refused(Text),
    /// The server refused for a reason that passes by itself: too many connections, a maintenance, a lock.
    Temporary(Text),
    /// IMAP: the server said BYE.
    Bye(Text),
    /// The server offers no way to log in that fits the secret.
    NoMechanism(&'static str),
    /// The server refused STARTTLS or STLS, or the connection cannot be encrypted any more.
    NoTls(Text),
    /// The folder cannot be opened.
    NoFolder(Text),
    /// The server broke the protocol.
    Protocol(&'static str),
    /// The server sent more than any server needs to.
    Flood(&'static str),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Refused(text) => write!(f, "login refused: {text}"),
            Failure::Temporary(text) => write!(f, "refused for now: {text}"),
            Failure::Bye(text) => write!(f, "the server ended the session: {text}"),
            Failure::NoMechanism(what) => write!(f, "the server offers no login that fits: {what}"),
            Failure::NoTls(text) => write!(f, "the server does not start TLS: {text}"),
            Failure::NoFolder(text) => write!(f, "the folder cannot be opened: {text}"),
            Failure::Protocol(what) => write!(f, "the server broke the protocol: {what}"),
            Failure::Flood(what) => write!(f, "the server sent too much: {what}"),
        }
    }
}

/// A server's own words, cut to a length and harmless in a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text(String);

impl Text {
    /// Of what a server said.
    pub fn new(octets: &[u8]) -> Text {
        Text(String::from_utf8_lossy(octets).trim().chars().take(TEXT).collect())
    }

    /// Without control characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_debug())
    }
}

/// What a refused login means: [`Failure::Temporary`] where the server says that it passes, else [`Failure::Refused`].
/// `text` is what follows NO, BAD or -ERR, with the response code in its brackets.
pub fn refused_login(text: &[u8]) -> Failure {
    let kept = Text::new(text);
    if is_temporary(text) { Failure::Temporary(kept) } else { Failure::Refused(kept) }
}

/// Whether a refusal passes by itself (RFC 5530, RFC 2449, RFC 3206, and what servers say without a code).
pub fn is_temporary(text: &[u8]) -> bool {
    const SIGNS: [&str; 9] = [
        "[UNAVAILABLE]",
        "[INUSE]",
        "[LIMIT]",
        "[IN-USE]",
        "[LOGIN-DELAY",
        "[SYS/TEMP]",
        "TOO MANY SIMULTANEOUS CONNECTIONS",
        "USER IS AUTHENTICATED BUT NOT CONNECTED",
        "[SERVERBUG]",
    ];
    let upper = String::from_utf8_lossy(text).to_ascii_uppercase();
    SIGNS.iter().any(|sign| upper.contains(sign))
}

/// Exchange's answer where the mailbox cannot be opened, which can mean a missing right.
pub fn is_not_connected(text: &str) -> bool {
    text.to_ascii_lowercase().contains("authenticated but not connected")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(text: &str) -> String {
        String::from_utf8(base64::decode(text.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn strings_of_the_mechanisms() {
        let response = |mechanism: ClientMechanism| decoded(&mechanism.response("a,b=c@d", "h.example", 993, b"tok"));
        assert_eq!(response(ClientMechanism::Plain), "\0a,b=c@d\0tok");
        assert_eq!(response(ClientMechanism::Xoauth2), "user=a,b=c@d\x01auth=Bearer tok\x01\x01");
        assert_eq!(
            response(ClientMechanism::OauthBearer),
            "n,a=a=2Cb=3Dc@d,\x01host=h.example\x01port=993\x01auth=Bearer tok\x01\x01"
        );
        // Microsoft's own example of the protocol.
        let example = ClientMechanism::Xoauth2.response(
            "test@contoso.onmicrosoft.com",
            "",
            0,
            b"EwBAAl3BAAUFFpUAo7J3Ve0bjLBWZWCclRC3EoAA",
        );
        assert_eq!(
            example,
            "dXNlcj10ZXN0QGNvbnRvc28ub25taWNyb3NvZnQuY29tAWF1dGg9QmVhcmVyIEV3QkFBbDNCQUFVRkZwVUFvN0ozVmUwYmpMQldaV0NjbFJDM0VvQUEBAQ=="
        );
    }

    #[test]
    fn of_a_refusal_only_the_status_is_kept() {
        for (json, status) in [
            (r#"{"status":"400","schemes":"Bearer","scope":"https://mail.google.com/"}"#, Some("400")),
            (r#"{ "schemes" : "x", "status" : "invalid_token" }"#, Some("invalid_token")),
            (r#"{"status":401}"#, Some("401")),
            (r#"{"status":""}"#, None),
            (r#"{"token":"secret"}"#, None),
            ("", None),
        ] {
            let challenge = base64::encode(json.as_bytes());
            assert_eq!(refusal_status(challenge.as_bytes()).as_deref(), status, "{json}");
        }
        assert_eq!(refusal_status(b"!!"), None);
    }

    #[test]
    fn refusals_that_pass_are_told_apart() {
        for (text, temporary) in [
            ("[UNAVAILABLE] Temporary authentication failure.", true),
            ("[AUTHENTICATIONFAILED] Authentication failed.", false),
            ("[IN-USE] maildrop already locked", true),
            ("[LOGIN-DELAY] minimum time between mail checks violation", true),
            ("[ALERT] Too many simultaneous connections. (Failure)", true),
            ("User is authenticated but not connected.", true),
            ("LOGIN failed.", false),
            ("[AUTH] Invalid credentials", false),
        ] {
            let failure = refused_login(text.as_bytes());
            assert_eq!(matches!(failure, Failure::Temporary(_)), temporary, "{text}");
        }
    }

    #[test]
    fn a_server_s_words_are_cut_and_escaped() {
        let text = Text::new(&[b"a\x1b[31m\r\nb".as_slice(), &[b'x'; 1_000]].concat());
        let shown = text.to_string();
        assert!(shown.starts_with("\"a\\u{1b}[31m\\r\\nbxxx") && shown.len() < 260, "{shown}");
    }
}
