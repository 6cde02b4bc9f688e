//! `[[remote]]`: mailboxes on other servers.

use super::endpoint::{Encryption, encryption, host, login, off_is_private, secret, trust};
use super::section::Section;
use super::subscribers::once;
use super::value::{choice, one_of, some_size, some_time, user_name};
use crate::net::remote::secret::Source;
use crate::net::remote::tls::Trust;
use crate::sasl::client::Account;
use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

/// Most folders of one remote: each has a connection of its own.
const FOLDERS: usize = 8;

/// Longest `name`.
const NAME: usize = 32;

/// `remote.protocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// With IDLE where the server has it.
    Imap,
    /// Looked at from time to time.
    Pop3,
}

/// `remote.after`: what becomes of a message on its server once it is stored here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum After {
    /// Nothing.
    Leave,
    /// It is deleted.
    Delete,
    /// It is marked as seen.
    Seen,
    /// It is moved to this folder.
    Move(String),
    /// It is deleted so long after it was stored here.
    Age(Duration),
}

/// `[[remote]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// 1 to 32 of `a-z 0-9 -`.
    pub name: String,
    /// IMAP or POP3.
    pub protocol: Protocol,
    /// A name or an address.
    pub host: String,
    /// TCP.
    pub port: u16,
    /// How the connection is encrypted.
    pub encryption: Encryption,
    /// Which certificates are trusted.
    pub trust: Trust,
    /// The account's name there.
    pub login: String,
    /// Where password or token come from.
    pub secret: Source,
    /// The user here that gets the mail and its events.
    pub user: String,
    /// IMAP: at least one.
    pub folders: Vec<String>,
    /// False: the mail stays there, and only its event is made.
    pub store: bool,
    /// What becomes of a stored message there.
    pub after: After,
    /// At the first run nothing is fetched that is there already.
    pub only_new: bool,
    /// Between two looks of POP3, or at a server without IDLE.
    pub interval: Duration,
    /// IDLE is said anew after this time.
    pub idle: Duration,
    /// A larger message makes an event and is not stored. Octets.
    pub max_size: u64,
}

impl Remote {
    /// The account there.
    pub fn account(&self) -> Account {
        Account { login: self.login.clone(), host: self.host.clone(), port: self.port, secret: self.secret.kind() }
    }

    /// What each session is for: a folder, or `None` for POP3.
    pub fn places(&self) -> Vec<Option<String>> {
        match self.protocol {
            Protocol::Imap => self.folders.iter().cloned().map(Some).collect(),
            Protocol::Pop3 => vec![None],
        }
    }
}

/// Reads all of them.
pub(super) fn remotes(top: &mut Section<'_, '_>, base: &Path) -> Vec<Remote> {
    let mut names = HashSet::new();
    top.sections("remote").into_iter().flatten().filter_map(|section| remote(section, base, &mut names)).collect()
}

fn remote(mut section: Section<'_, '_>, base: &Path, names: &mut HashSet<String>) -> Option<Remote> {
    let name = section.needed("name", "\"work\"", remote_name);
    once(&section, "name", &name, names, "is another remote's name too; it tells remotes apart");
    let protocol = |text: &str| choice(text, &[("imap", Protocol::Imap), ("pop3", Protocol::Pop3)]);
    let protocol = section.text("protocol", "\"imap\" or \"pop3\"", protocol).unwrap_or(Protocol::Imap);
    let host = section.needed("host", "\"imap.example.com\"", host);
    let encryption = section.text("tls", "\"implicit\"", encryption).unwrap_or(Encryption::Implicit);
    let port = section.count("port", 1..=65_535).map_or_else(|| default_port(protocol, encryption), |port| port as u16);
    off_is_private(&section, encryption, host.as_deref());
    let trust = trust(&mut section, base);
    let login = section.needed("login", "\"me@example.com\"", login);
    let secret = secret(&mut section, base);
    let user = section.needed("user", "\"alice\"", user_name);
    let folders = folders(&mut section, protocol);
    let store = section.flag("store").unwrap_or(true);
    let after = section.text("after", "\"leave\"", after).unwrap_or(After::Leave);
    if protocol == Protocol::Pop3 && matches!(after, After::Seen | After::Move(_)) {
        section.wrong("after", "POP3 knows neither flags nor folders: write \"leave\", \"delete\" or an age");
    } else if !store && after != After::Leave {
        section.wrong("after", "with `store = false` nothing is stored here, so nothing is deleted there: \"leave\"");
    }
    let only_new = section.flag("only_new").unwrap_or(true);
    let interval = section.text("interval", "\"5m\"", interval).unwrap_or(Duration::from_secs(300));
    let idle = section.text("idle", "\"4m\"", some_time).unwrap_or(Duration::from_secs(240));
    let max_size = |text: &str| some_size(text, "would store nothing; `store = false` says that");
    let max_size = section.text("max_size", "\"100MiB\"", max_size).unwrap_or(100 << 20);
    section.finish();
    Some(Remote {
        name: name?,
        protocol,
        host: host?,
        port,
        encryption,
        trust,
        login: login?,
        secret: secret?,
        user: user?,
        folders,
        store,
        after,
        only_new,
        interval,
        idle,
        max_size,
    })
}

fn default_port(protocol: Protocol, encryption: Encryption) -> u16 {
    match (protocol, encryption) {
        (Protocol::Imap, Encryption::Implicit) => 993,
        (Protocol::Imap, _) => 143,
        (Protocol::Pop3, Encryption::Implicit) => 995,
        (Protocol::Pop3, _) => 110,
    }
}

fn folders(section: &mut Section<'_, '_>, protocol: Protocol) -> Vec<String> {
    let Some(folders) = section.list("folders", "\"INBOX\"", folder) else { return vec!["INBOX".into()] };
    let twice = (1..folders.len()).find(|&index| folders[..index].contains(&folders[index]));
    if protocol == Protocol::Pop3 {
        section.wrong("folders", "POP3 knows no folders: leave the key out");
    } else if !matches!(folders.len(), 1..=FOLDERS) {
        section.wrong("folders", "1 to 8 folders, since each has a connection of its own");
    } else if let Some(twice) = twice {
        section.wrong("folders", format!("{:?} is there twice", folders[twice]));
    }
    folders
}

fn folder(text: &str) -> Result<String, String> {
    match text.is_empty() || text.len() > 1_000 || text.chars().any(char::is_control) {
        true => Err(format!("{text:?} is not a folder's name, such as \"INBOX\"")),
        // RFC 3501 section 5.1: this one name is the same in any case.
        false if text.eq_ignore_ascii_case("INBOX") => Ok("INBOX".into()),
        false => Ok(text.to_owned()),
    }
}

fn remote_name(text: &str) -> Result<String, String> {
    let plain = |octet: u8| matches!(octet, b'a'..=b'z' | b'0'..=b'9' | b'-');
    match matches!(text.len(), 1..=NAME) && text.bytes().all(plain) {
        true => Ok(text.to_owned()),
        false => Err(format!("{text:?} is not a remote's name: 1 to 32 of a-z 0-9 -")),
    }
}

fn after(text: &str) -> Result<After, String> {
    match text {
        "leave" => Ok(After::Leave),
        "delete" => Ok(After::Delete),
        "seen" => Ok(After::Seen),
        age if age.starts_with(|letter: char| letter.is_ascii_digit()) => some_time(age).map(After::Age),
        _ => match text.strip_prefix("move:") {
            Some("") => Err("\"move:\" needs a folder, such as \"move:Archive\"".into()),
            Some(name) => folder(name).map(After::Move),
            None => Err(one_of(text, &["leave", "delete", "seen", "move:FOLDER", "14d"])),
        },
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = some_time(text)?;
    match interval < Duration::from_secs(60) {
        true => Err(format!("{text:?} is less than the least, \"1m\"; providers lock out clients that ask more often")),
        false => Ok(interval),
    }
}
