//! One session: from the secret to the goodbye. What comes before the server's first octet is done with all rights, the
//! rest in the sandbox.

use super::checkpoint::Checkpoint;
use super::end::{End, Kind};
use super::job::{Job, Outcome, Trusts, connect};
use super::status::{Doing, Status};
use super::{imap, pop3};
use crate::config::{Protocol, Remote};
use crate::delivery::Delivery;
use crate::message::dot::decode::LineEnds;
use crate::net::remote::conn::Signal;
use std::io::Write;
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
    // What is known is kept whatever happened.
    let outcome = job.save().and(outcome);
    match outcome.unwrap_or_else(|end| (end, None)) {
        (End { kind: Kind::Normal, why }, wait) if began.elapsed() < NORMAL => {
            (End { kind: Kind::Temporary, why }, wait)
        }
        outcome => outcome,
    }
}

/// One pass over each folder of a remote, one after the other, without a server.
pub fn once(
    remote: Remote,
    delivery: Arc<Delivery>,
    state: &std::path::Path,
    enter: Arc<dyn Fn() + Send + Sync>,
) -> Vec<(String, End)> {
    let remote = Arc::new(remote);
    let prepared = Checkpoint::open(state, &remote.name)
        .and_then(|checkpoint| Ok((Arc::new(Mutex::new(checkpoint)), Signal::new()?, Signal::new()?)));
    let (checkpoint, stop, look) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return vec![(remote.name.clone(), End::from(error))],
    };
    let folders: Vec<Option<String>> = match remote.protocol {
        Protocol::Imap => remote.folders.iter().cloned().map(Some).collect(),
        Protocol::Pop3 => vec![None],
    };
    let trusts = Arc::<Trusts>::default();
    let mut ends = Vec::new();
    for folder in folders {
        let job = Job {
            remote: remote.clone(),
            status: Status::new(&remote.name, folder.as_deref()),
            folder,
            delivery: delivery.clone(),
            checkpoint: checkpoint.clone(),
            trusts: trusts.clone(),
            stop: stop.clone(),
            is_connected: Arc::default(),
            look: look.clone(),
            without_apop: Arc::default(),
            once: true,
            on_pass: Arc::new(|| {}),
            enter: enter.clone(),
        };
        let label = job.label();
        // In a thread of its own, since it stays in the sandbox.
        let end = std::thread::scope(|scope| scope.spawn(|| twice(&job)).join());
        ends.push((label, end.unwrap_or_else(|_| End::new(Kind::Temporary, "the session panicked"))));
    }
    ends
}

/// Looks at each folder of a remote without changing anything: what is there, or why that cannot be told.
pub fn probe(remote: &Remote, delivery: &Arc<Delivery>) -> Vec<(String, Result<Vec<String>, End>)> {
    let folders: Vec<Option<String>> = match remote.protocol {
        Protocol::Imap => remote.folders.iter().cloned().map(Some).collect(),
        Protocol::Pop3 => vec![None],
    };
    let probe = |folder: Option<String>| {
        let job = Job::alone(remote, folder, delivery.clone(), Arc::new(|| {}))?;
        let probe = || {
            connect(&job).and_then(|connected| match job.remote.protocol {
                Protocol::Imap => imap::probe(&job, connected),
                Protocol::Pop3 => pop3::probe(&job, connected),
            })
        };
        match probe() {
            Err(end) if end.kind == Kind::Credentials && job.without_apop.load(Ordering::Relaxed) => probe(),
            probed => probed,
        }
    };
    folders.into_iter().map(|folder| (super::intake::label(remote, folder.as_deref()), probe(folder))).collect()
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
    enter: super::Enter,
    folder: Option<&str>,
    uid: &str,
    into: &std::fs::File,
) -> Result<(), End> {
    let job = Job::alone(remote, folder.map(str::to_owned), delivery.clone(), enter)?;
    let mut ends = LineEnds::new();
    let (mut block, mut failed) = (Vec::new(), None);
    let mut write = |octets: &[u8]| {
        let mut file = into;
        if let Err(error) = file.write_all(octets) {
            failed = Some(error);
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
    let mut fetch = || {
        let fetched = std::thread::scope(|scope| scope.spawn(&mut fetch).join());
        fetched.unwrap_or_else(|_| Err(End::new(Kind::Temporary, "the session panicked")))
    };
    match fetch() {
        Err(end) if end.kind == Kind::Credentials && job.without_apop.load(Ordering::Relaxed) => fetch()?,
        fetched => fetched?,
    }
    match failed {
        Some(error) => Err(End::new(Kind::Temporary, error)),
        None => Ok(()),
    }
}

/// A refused token is asked for once more; after a refused APOP comes USER.
fn twice(job: &Job) -> End {
    let run = || std::thread::scope(|scope| scope.spawn(|| run(job).0).join());
    match run() {
        Ok(end) if end.kind == Kind::Credentials && job.has_another_way() => {
            run().unwrap_or_else(|_| End::new(Kind::Temporary, "the session panicked"))
        }
        Ok(end) => end,
        Err(_) => End::new(Kind::Temporary, "the session panicked"),
    }
}
