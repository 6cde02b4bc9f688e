//! One session: from the secret to the goodbye. What comes before the server's first octet is done with all rights, the
//! rest in the sandbox.

use super::checkpoint::Checkpoint;
use super::end::{End, Kind};
use super::intake::label;
use super::job::{Enter, Job, Outcome, Trusts, connect};
use super::status::Doing;
use super::{imap, pop3};
use crate::config::{Protocol, Remote};
use crate::delivery::Delivery;
use crate::message::dot::decode::LineEnds;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// That a server ends a session after so long is normal.
const NORMAL: Duration = Duration::from_secs(60);

/// Runs one session in this thread, which is in the sandbox afterwards.
pub fn run(job: &Job) -> Outcome {
    let began = Instant::now();
    job.status.enter(Doing::Fetching);
    job.look.take();
    job.is_connected.store(false, Ordering::Relaxed);
    job.checkpoint().belong_to(&job.remote.host, &job.remote.login);
    let outcome = connect(job).and_then(|connected| match job.remote.protocol {
        Protocol::Imap => imap::run(job, connected).map(|end| (end, None)),
        Protocol::Pop3 => pop3::run(job, connected),
    });
    // What is known is saved after a failure, too.
    let outcome = job.save().and(outcome);
    match outcome.unwrap_or_else(|end| (end, None)) {
        (End { kind: Kind::Normal, why }, wait) if began.elapsed() < NORMAL => {
            (End { kind: Kind::Temporary, why }, wait)
        }
        outcome => outcome,
    }
}

/// One pass over each folder of a remote, one after the other, without a server.
pub fn once(remote: Remote, delivery: &Arc<Delivery>, state: &Path, enter: &Enter) -> Vec<(String, End)> {
    let remote = Arc::new(remote);
    let checkpoint = match Checkpoint::open(state, &remote.name) {
        Ok(checkpoint) => Arc::new(Mutex::new(checkpoint)),
        Err(error) => return vec![(remote.name.clone(), error.into())],
    };
    let trusts = Arc::<Trusts>::default();
    let one = |folder: Option<String>| {
        let label = label(&remote, folder.as_deref());
        let end = Job::new(&remote, folder, delivery, enter).map_err(End::from).and_then(|job| {
            let job = Job { checkpoint: checkpoint.clone(), trusts: trusts.clone(), ..job };
            twice(&job, || apart(|| Err(run(&job).0)))
        });
        (label, end.err().unwrap_or_else(|| End::new(Kind::Passed, "done")))
    };
    remote.places().into_iter().map(one).collect()
}

/// Looks at each folder of a remote without changing anything: what is there, or why the look failed.
pub fn probe(remote: &Remote, delivery: &Arc<Delivery>) -> Vec<(String, Result<Vec<String>, End>)> {
    let remote = Arc::new(remote.clone());
    let enter: Enter = Arc::new(|| {});
    let probe = |folder: Option<String>| {
        let job = Job::new(&remote, folder, delivery, &enter)?;
        twice(&job, || {
            connect(&job).and_then(|connected| match job.remote.protocol {
                Protocol::Imap => imap::probe(&job, connected),
                Protocol::Pop3 => pop3::probe(&job, connected),
            })
        })
    };
    remote.places().into_iter().map(|folder| (label(&remote, folder.as_deref()), probe(folder))).collect()
}

/// Writes a message that stays on its server into a file: `folder` and `uid` are those of its record. The server's octets
/// are read in a thread of its own, which enters the sandbox.
///
/// # Errors
///
/// Why it cannot be had.
pub fn message(
    remote: &Remote,
    delivery: &Arc<Delivery>,
    enter: &Enter,
    folder: Option<&str>,
    uid: &str,
    mut into: &File,
) -> Result<(), End> {
    let job = Job::new(&Arc::new(remote.clone()), folder.map(str::to_owned), delivery, enter)?;
    let mut ends = LineEnds::new();
    let (mut block, mut written) = (Vec::new(), Ok(()));
    let mut write = |octets: &[u8]| {
        if written.is_ok() {
            written = into.write_all(octets);
        }
    };
    let mut fetch = || {
        let connected = connect(&job)?;
        match job.remote.protocol {
            Protocol::Imap => {
                let numbers =
                    uid.split_once('.').and_then(|(validity, uid)| Some((validity.parse().ok()?, uid.parse().ok()?)));
                let (validity, uid) = numbers.ok_or_else(|| End::new(Kind::Folder, "no UIDVALIDITY.UID"))?;
                imap::fetch_one(&job, connected, validity, uid, &mut |octets| {
                    block.clear();
                    ends.decode(octets, &mut block);
                    write(&block);
                })
            }
            Protocol::Pop3 => pop3::fetch_one(&job, connected, uid.as_bytes(), &mut write),
        }
    };
    twice(&job, || apart(&mut fetch))?;
    written.map_err(|error| End::new(Kind::Temporary, error))
}

/// A refused token is asked for once more; after a refused APOP comes USER.
fn twice<T>(job: &Job, mut attempt: impl FnMut() -> Result<T, End>) -> Result<T, End> {
    match attempt() {
        Err(end) if end.kind == Kind::Credentials && job.has_another_way() => attempt(),
        outcome => outcome,
    }
}

/// Does it in a thread of its own, since a thread stays in the sandbox.
fn apart(work: impl FnOnce() -> Result<(), End> + Send) -> Result<(), End> {
    let done = std::thread::scope(|scope| scope.spawn(work).join());
    done.unwrap_or_else(|_| Err(End::new(Kind::Temporary, "the session panicked")))
}
