//! The test message in its Maildir: looked at, fetched by POP3, removed.

use super::talk::Talk;
use super::timeline::Timeline;
use super::{exit, listener};
use crate::config::Config;
use crate::journal::Record;
use crate::maildir::name::Name;
use serde_json::Value;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Whether each record's file holds the message.
pub fn stored(timeline: &mut Timeline, records: &[Record], count: usize, message_id: &str) {
    let mut is_whole = records.len() == count;
    for record in records {
        match place(record).and_then(|path| fs::read(&path).map(|text| (path, text))) {
            Ok((path, text)) if holds(&text, message_id) => {
                timeline.ok("stored", &format!("{}, {} octets", path.display(), text.len()));
            }
            Ok((path, _)) => {
                is_whole = false;
                let what = format!("{}: does not hold the message that was sent", path.display());
                timeline.fail("stored", &what, exit::IO, "does another program change the mail?");
            }
            Err(error) => {
                is_whole = false;
                let what = format!("{}: {error}", record.path);
                timeline.fail("stored", &what, exit::IO, "did another program take the message away?");
            }
        }
    }
    if !is_whole && records.is_empty() {
        timeline.skip("stored", "without an event it is not known where");
    }
}

fn holds(text: &[u8], message_id: &str) -> bool {
    memchr::memmem::find(text, message_id.as_bytes()).is_some()
}

/// Where the message is by now: a mail program may have moved it from new/ to cur/.
fn place(record: &Record) -> io::Result<PathBuf> {
    let path = Path::new(&record.path);
    if path.is_file() {
        return Ok(path.to_owned());
    }
    let cur = path.parent().and_then(Path::parent).map(|maildir| maildir.join("cur")).unwrap_or_default();
    for entry in fs::read_dir(cur)? {
        let entry = entry?;
        if Name::parse(entry.file_name().as_bytes()).id == record.id.as_bytes() {
            return Ok(entry.path());
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

/// Fetches the message of this record by POP3, and deletes it there.
pub fn fetch(
    timeline: &mut Timeline,
    config: &Config,
    status: &Value,
    record: &Record,
    password: &str,
    message_id: &str,
    patience: Duration,
) {
    let Some(address) = listener(status, "pop3") else {
        return timeline.skip("pop3", "the server has no POP3 listener without TLS");
    };
    let fetched =
        Talk::tcp(address, config, patience).and_then(|mut talk| session(&mut talk, record, password, message_id));
    match fetched {
        Ok(Ok(octets)) => timeline.ok("pop3", &format!("fetched {octets} octets as {}, and deleted", record.user)),
        Ok(Err((command, reply))) => {
            let is_login = matches!(command, "USER" | "PASS");
            let is_wrong = is_login && !reply.contains("[IN-USE]") && !reply.contains("[SYS/TEMP]");
            let hint = match is_wrong {
                true => "is it this user's password? A new one: mailbell user passwd NAME",
                false => "the server's log may say more",
            };
            let code = if is_wrong { exit::NO_PERMISSION } else { exit::TEMPORARY };
            timeline.fail("pop3", &format!("{command} is refused for {}: {reply}", record.user), code, hint);
        }
        Err(error) => timeline.fail("pop3", &format!("{address}: {error}"), exit::TEMPORARY, ""),
    }
}

/// Octets of the message; else the command that was refused, and the reply.
fn session(
    talk: &mut Talk,
    record: &Record,
    password: &str,
    message_id: &str,
) -> io::Result<Result<usize, (&'static str, String)>> {
    macro_rules! ask {
        ($name:literal, $reply:expr) => {
            if let Err(reply) = $reply? {
                return Ok(Err(($name, reply)));
            }
        };
    }
    ask!("the connection", talk.status());
    ask!("USER", talk.pop3(&format!("USER {}", record.user)));
    ask!("PASS", talk.pop3(&format!("PASS {password}")));
    ask!("UIDL", talk.pop3("UIDL"));
    let listed = talk.lines()?;
    let number = listed.iter().find_map(|line| line.split_once(' ').filter(|(_, id)| *id == record.id));
    let Some((number, _)) = number else { return Ok(Err(("UIDL", format!("no message {}", record.id)))) };
    ask!("RETR", talk.pop3(&format!("RETR {number}")));
    let lines = talk.lines()?;
    if !lines.iter().any(|line| line.contains(message_id)) {
        return Ok(Err(("RETR", "another message came".to_owned())));
    }
    ask!("DELE", talk.pop3(&format!("DELE {number}")));
    ask!("QUIT", talk.pop3("QUIT"));
    Ok(Ok(lines.iter().map(|line| line.len() + 2).sum()))
}

/// Removes what is left of the message.
pub fn remove(timeline: &mut Timeline, records: &[Record]) {
    let mut removed = 0;
    for record in records {
        match place(record).and_then(fs::remove_file) {
            Ok(()) => removed += 1,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let what = format!("{}: {error}", record.path);
                timeline.fail("removed", &what, exit::NO_PERMISSION, "remove the message by hand");
            }
        }
    }
    let files = if removed == 1 { "file" } else { "files" };
    timeline.ok("removed", &format!("{removed} {files}"));
}
