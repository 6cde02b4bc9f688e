//! An IMAP session: does what the steps of [`crate::imap::Session`] say.

mod pass;
mod settle;
mod talk;
mod watch;

use super::end::{End, Kind};
use super::job::{Connected, Job};
use crate::imap::{Body, Fetched, Outcome, Step};
use talk::{REPLY, login, unexpected};

/// Runs a session to its end.
pub fn run(job: &Job, connected: Connected) -> Result<End, End> {
    let mut talk = login(job, connected)?;
    let end = talk.watch();
    if matches!(&end, Err(end) if end.kind == Kind::Stopped) {
        talk.goodbye();
    }
    end
}

/// Looks at a folder without changing anything, and says what is there.
pub fn probe(job: &Job, connected: Connected) -> Result<Vec<String>, End> {
    let mut talk = login(job, connected)?;
    let known = ["IDLE", "UIDPLUS", "MOVE", "ID"].map(|name| {
        let has = talk.session.capabilities().iter().any(|known| known == name);
        format!("{}{name}", if has { "" } else { "no " })
    });
    let folder = talk.select(true)?;
    talk.goodbye();
    let mut notes = vec![talk.conn.description(), format!("logged in; the server has {}", known.join(", "))];
    let uids = match (folder.uid_validity, folder.uid_next) {
        (0, _) => "; it has no UIDVALIDITY, so messages are told apart by key and date",
        (_, None) => "; it has no UIDNEXT",
        _ => "",
    };
    notes.push(
        super::intake::first_run(&job.remote, &job.folder_name().escape_debug().to_string(), folder.exists) + uids,
    );
    Ok(notes)
}

/// Hands over one message, if it is still there under this UIDVALIDITY.
pub fn fetch_one(
    job: &Job,
    connected: Connected,
    validity: u32,
    uid: u32,
    take: &mut dyn FnMut(&[u8]),
) -> Result<(), End> {
    let mut talk = login(job, connected)?;
    let folder = talk.select(true)?;
    if folder.uid_validity != validity {
        return Err(End::new(Kind::Folder, "the server's ids changed, so the message cannot be told any more"));
    }
    let mut step = talk.session.fetch(uid, false, &mut talk.out);
    let mut has_come = false;
    loop {
        step = match talk.run(step, REPLY)? {
            Step::Literal { octets, .. } => {
                has_come = true;
                talk.conn.exactly(octets, take)?;
                Step::Line
            }
            Step::Item(Fetched { body: Body::Quoted(octets), .. }) => {
                has_come = true;
                take(&octets);
                Step::Line
            }
            Step::Item(_) => Step::Line,
            Step::Done(Outcome::Ok) if has_come => break,
            Step::Done(_) => return Err(End::new(Kind::Folder, "the server has no such message any more")),
            _ => return Err(unexpected()),
        };
    }
    talk.goodbye();
    Ok(())
}
