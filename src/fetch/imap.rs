//! An IMAP session: does what the steps of `imap::Session` say, folder by folder's connection.

use super::checkpoint::now;
use super::end::{End, Kind};
use super::folder::{CUT_OFF, HOPELESS, REFUSED, Verdict};
use super::intake::{Intake, Names, Source};
use super::resync::{Counts, Judge};
use super::session::{Connected, Job};
use super::status::Doing;
use crate::config::{After, Encryption};
use crate::delivery::Failure as Unstored;
use crate::imap::{Body, Failure, Fetched, Folder, LINE, Outcome, Secret, Session, Settings, Step};
use crate::limits;
use crate::message::dot::decode::LineEnds;
use crate::net::remote::Error;
use crate::net::remote::conn::{Conn, Signal};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// For the greeting, and for each reply.
const REPLY: Duration = Duration::from_secs(60);

/// For SELECT: a large folder may have to be indexed first.
const SELECT: Duration = Duration::from_secs(300);

/// For the end of IDLE.
const IDLE_END: Duration = Duration::from_secs(30);

/// For LOGOUT.
const GOODBYE: Duration = Duration::from_secs(2);

/// For a whole session.
const SESSION: Duration = Duration::from_secs(24 * 3_600);

/// What is known is written down after so many messages at the latest.
const CHECKPOINT: u32 = 100;

struct Talk<'j> {
    job: &'j Job,
    conn: Conn,
    session: Session,
    out: Vec<u8>,
    end: Instant,
    /// UIDVALIDITY of the open folder.
    validity: u32,
    /// Messages that this session has fetched.
    fetched: u32,
}

/// What became of one message.
enum One {
    Kept,
    /// Points, and why.
    Failed(u32, String),
}

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
    let name = job.folder.as_deref().unwrap_or("INBOX");
    let step = talk.session.select(name, true, &mut talk.out);
    let Step::Selected(folder) = talk.run(step, SELECT)? else { return Err(unexpected()) };
    talk.goodbye();
    let mut notes = vec![talk.conn.description(), format!("logged in; the server has {}", known.join(", "))];
    let uids = match (folder.uid_validity, folder.uid_next) {
        (0, _) => "; it has no UIDVALIDITY, so messages are told apart by key and date",
        (_, None) => "; it has no UIDNEXT",
        _ => "",
    };
    notes.push(super::intake::first_run(&job.remote, &name.escape_debug().to_string(), folder.exists) + uids);
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
    let name = job.folder.as_deref().unwrap_or("INBOX");
    let step = talk.session.select(name, true, &mut talk.out);
    let Step::Selected(folder) = talk.run(step, SELECT)? else { return Err(unexpected()) };
    if folder.uid_validity != validity {
        return Err(End::new(Kind::Folder, "the server's ids changed, so the message cannot be told any more"));
    }
    let mut step = talk.session.fetch(uid, false, &mut talk.out);
    let mut has_come = false;
    loop {
        step = match talk.run(step, REPLY)? {
            Step::Literal { octets, .. } => {
                has_come = true;
                talk.literal(octets, take)?;
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

/// Comes to a session that takes commands.
fn login(job: &Job, connected: Connected) -> Result<Talk<'_>, End> {
    let Connected { conn, secret, tls } = connected;
    let session = Session::new(Settings {
        login: job.remote.login.clone(),
        host: job.remote.host.clone(),
        port: job.remote.port,
        secret: if job.remote.secret.is_token() { Secret::Token } else { Secret::Password },
        starttls: job.remote.encryption == Encryption::StartTls,
    });
    let end = Instant::now() + SESSION;
    let mut talk = Talk { job, conn, session, out: Vec::new(), end, validity: 0, fetched: 0 };
    let mut step = Step::Line;
    loop {
        step = match talk.run(step, REPLY)? {
            Step::StartTls => {
                let client = tls.as_ref().ok_or_else(|| End::new(Kind::Weather, "no TLS"))?;
                talk.conn.start_tls(client, &job.remote.host)?;
                talk.session.secured(&mut talk.out)
            }
            Step::Credentials => talk.session.credentials(secret.octets(), &mut talk.out),
            Step::Ready => return Ok(talk),
            _ => return Err(unexpected()),
        };
    }
}

fn unexpected() -> End {
    Failure::Protocol("a reply that was not asked for").into()
}

impl Talk<'_> {
    /// Goes on until the driver has something else to do than to read lines.
    fn run(&mut self, step: Step, patience: Duration) -> Result<Step, End> {
        self.run_heeding(step, Instant::now() + patience, &[])
    }

    fn run_heeding(&mut self, mut step: Step, until: Instant, also: &[&Signal]) -> Result<Step, End> {
        loop {
            match step {
                Step::Line => {}
                Step::Literal { octets, is_body: false } => self.small_literal(octets)?,
                Step::Failed(failure) => return Err(failure.into()),
                step => return Ok(step),
            }
            if !self.out.is_empty() {
                self.conn.send(&self.out)?;
                self.out.clear();
            }
            let line = self.conn.line(LINE, until.min(self.end), "a reply", also)?;
            step = match line {
                Some(line) => self.session.line(line, &mut self.out),
                None => self.session.line_too_long(),
            };
        }
    }

    fn small_literal(&mut self, octets: u64) -> Result<(), End> {
        let (began, mut taken) = (Instant::now(), 0);
        while taken < octets {
            let block = self.conn.data(began, taken)?;
            let count = block.len().min((octets - taken) as usize);
            self.session.octets(&block[..count]);
            self.conn.consume(count);
            taken += count as u64;
        }
        Ok(())
    }

    /// A command that gives no items.
    fn simple(&mut self, step: Step) -> Result<Outcome, End> {
        let mut step = self.run(step, REPLY)?;
        loop {
            step = match step {
                Step::Done(outcome) => return Ok(outcome),
                Step::Item(_) => self.run(Step::Line, REPLY)?,
                _ => return Err(unexpected()),
            };
        }
    }

    /// Opens the folder, then looks and waits until something ends it.
    fn watch(&mut self) -> Result<End, End> {
        let job = self.job;
        let name = job.folder.as_deref().unwrap_or("INBOX");
        let step = self.session.select(name, job.remote.after == After::Leave, &mut self.out);
        let Step::Selected(folder) = self.run(step, SELECT)? else { return Err(unexpected()) };
        self.validity = folder.uid_validity;
        self.settle(name, folder)?;
        let mut is_empty = folder.exists == 0;
        let mut has_idle = self.session.has_idle();
        let mut is_first = true;
        loop {
            job.status.enter(Doing::Fetching);
            job.look.take();
            // Servers may show what came only after a command that asks for it.
            if !std::mem::take(&mut is_first) {
                let step = self.session.noop(&mut self.out);
                self.simple(step)?;
            }
            self.catch_up(name, is_empty && !self.session.has_changed())?;
            is_empty = false;
            if job.once {
                self.goodbye();
                return Ok(End::new(Kind::Passed, "done"));
            }
            if Instant::now() >= self.end {
                self.goodbye();
                return Ok(End::new(Kind::Normal, "a session lasts a day at most"));
            }
            job.status.enter(Doing::Idle);
            if has_idle {
                has_idle = self.idle()?;
            } else {
                Signal::wait_any(&[&job.stop, &job.look], Some(job.remote.interval));
                if job.stop.is_given() {
                    return Err(Error::Interrupted.into());
                }
            }
        }
    }

    /// Waits for news, for the time of `idle` at most. False: the server does not do it.
    fn idle(&mut self) -> Result<bool, End> {
        let look = self.job.look.clone();
        let step = self.session.idle(&mut self.out);
        match self.run(step, REPLY)? {
            Step::Idling => {}
            Step::Done(Outcome::Ok) => return Ok(true),
            Step::Done(_) => {
                log::info!("remote {}: the server refuses IDLE; it is asked every `interval`", self.job.label());
                return Ok(false);
            }
            _ => return Err(unexpected()),
        }
        let until = Instant::now() + self.job.remote.idle;
        while !self.session.has_changed() {
            match self.run_heeding(Step::Line, until, &[&look]) {
                Ok(Step::Idling) => {}
                Ok(Step::Done(_)) => return Ok(true),
                Ok(_) => return Err(unexpected()),
                Err(end) if end.kind == Kind::Stopped && look.is_given() && !self.job.stop.is_given() => break,
                // The time is up.
                Err(_) if Instant::now() >= until && Instant::now() < self.end => break,
                Err(end) => return Err(end),
            }
        }
        let step = self.session.done(&mut self.out);
        // What was under way comes first.
        let until = Instant::now() + IDLE_END;
        let mut step = self.run_heeding(step, until, &[])?;
        while matches!(step, Step::Idling | Step::Item(_)) {
            step = self.run_heeding(Step::Line, until, &[])?;
        }
        if matches!(step, Step::Done(_)) { Ok(true) } else { Err(unexpected()) }
    }

    /// Says goodbye, for a moment.
    fn goodbye(&mut self) {
        // A stop was given, and must not end this, too.
        let Ok(never) = Signal::new() else { return };
        self.conn.heed(never);
        self.end = Instant::now() + GOODBYE;
        let step = match self.session.is_idle() {
            true => {
                let step = self.session.done(&mut self.out);
                self.run(step, GOODBYE)
            }
            false => Ok(Step::Done(Outcome::Ok)),
        };
        if let Ok(Step::Done(_)) = step {
            let step = self.session.logout(&mut self.out);
            let _ = self.run(step, GOODBYE);
        }
    }

    /// Compares the open folder with what is known of it.
    fn settle(&mut self, name: &str, opened: Folder) -> Result<(), End> {
        let only_new = self.job.remote.only_new;
        if !self.job.checkpoint().has_folder(name) {
            let last = match opened.uid_next {
                _ if !only_new => 0,
                Some(next) => next.saturating_sub(1),
                None if opened.exists == 0 => 0,
                None => self.list(1)?.keys().next_back().copied().unwrap_or(0),
            };
            let mut checkpoint = self.job.checkpoint();
            let folder = checkpoint.folder(name);
            (folder.validity, folder.last) = (opened.uid_validity, last);
            folder.first = if only_new { now() } else { 0 };
        } else {
            let is_worthless = {
                let mut checkpoint = self.job.checkpoint();
                let folder = checkpoint.folder(name);
                let is_back = opened.uid_next.is_some_and(|next| next <= folder.last);
                let is_other = folder.validity != opened.uid_validity || opened.uid_validity == 0;
                folder.is_worthless || is_other || is_back
            };
            if is_worthless {
                self.resync(name, opened)?;
            }
        }
        self.job.save()
    }

    /// The server's ids are worthless: what is new is told by keys and dates.
    fn resync(&mut self, name: &str, opened: Folder) -> Result<(), End> {
        let job = self.job;
        let (passed, first) = {
            let mut checkpoint = job.checkpoint();
            let folder = checkpoint.folder(name);
            (folder.passed, folder.first)
        };
        let ledger = job.delivery.ledger().map(AsRef::as_ref);
        let judge = Judge { ledger, user: &job.remote.user, passed, first };
        let (mut counts, mut new, mut last) = (Counts::default(), Vec::new(), 0);
        if opened.exists > 0 {
            let mut step = self.session.list_headers(1, &mut self.out);
            let mut header = Vec::new();
            loop {
                step = match self.run(step, REPLY)? {
                    Step::Literal { octets, .. } => {
                        header.clear();
                        self.literal(octets, &mut |block| {
                            let room = limits::HEADER_OCTETS - header.len();
                            header.extend_from_slice(&block[..block.len().min(room)]);
                        })?;
                        Step::Line
                    }
                    Step::Item(Fetched { uid: Some(uid), date, body, .. }) => {
                        if let Body::Quoted(octets) = body {
                            header = octets;
                        }
                        if judge.is_new(&header, date.as_deref(), &mut counts) {
                            new.push(uid);
                        }
                        header.clear();
                        last = last.max(uid);
                        Step::Line
                    }
                    Step::Item(_) => Step::Line,
                    Step::Done(Outcome::Ok) => break,
                    Step::Done(Outcome::Refused(text)) => return Err(Failure::Temporary(text).into()),
                    _ => return Err(unexpected()),
                };
            }
        }
        log::info!(
            "remote {}: the server's ids changed; compared by key and date: {} known by key, {} by age, {} new",
            job.label(),
            counts.by_key,
            counts.by_age,
            counts.new
        );
        let mut checkpoint = job.checkpoint();
        let folder = checkpoint.folder(name);
        (folder.validity, folder.last, folder.is_worthless) = (opened.uid_validity, last, false);
        folder.done.clear();
        folder.pending.clear();
        folder.failing = new.into_iter().map(|uid| (uid, Default::default())).collect();
        Ok(())
    }

    /// UIDs from `first` on, with their sizes.
    fn list(&mut self, first: u32) -> Result<BTreeMap<u32, u64>, End> {
        let mut listed = BTreeMap::new();
        let mut step = self.session.list(first, &mut self.out);
        loop {
            step = match self.run(step, REPLY)? {
                Step::Item(Fetched { uid: Some(uid), size, .. }) if uid >= first => {
                    listed.insert(uid, size.unwrap_or(0));
                    Step::Line
                }
                // The last one, whatever was asked for.
                Step::Item(_) => Step::Line,
                // Some servers refuse to list an empty folder.
                Step::Done(_) => return Ok(listed),
                _ => return Err(unexpected()),
            };
        }
    }

    /// Fetches what is new and what is due, and does what is to be done with it on the server.
    fn catch_up(&mut self, name: &str, is_empty: bool) -> Result<(), End> {
        let job = self.job;
        let first = job.checkpoint().folder(name).last.saturating_add(1);
        let listed = if is_empty { BTreeMap::new() } else { self.list(first)? };
        let uids: Vec<u32> = listed.keys().copied().collect();
        let queue = job.checkpoint().folder(name).to_fetch(&uids, now());
        let client = self.conn.peer().map(|address| address.ip().to_string());
        let names = Names::new(&job.remote, Some(name), client, self.conn.tls_description());
        for (index, uid) in (0_u32..).zip(queue) {
            if job.stop.is_given() {
                return Err(Error::Interrupted.into());
            }
            let source = names.imap(self.validity, uid);
            self.one(name, uid, listed.get(&uid).copied(), source)?;
            if index % CHECKPOINT == CHECKPOINT - 1 {
                job.save()?;
            }
        }
        self.act(name)?;
        let (parked, given_up) = {
            let mut checkpoint = job.checkpoint();
            let folder = checkpoint.folder(name);
            folder.passed(uids.last().copied().unwrap_or(0), now());
            (folder.parked(), folder.given_up)
        };
        job.save()?;
        job.passed(parked, given_up);
        Ok(())
    }

    /// One message, and what became of it.
    fn one(&mut self, name: &str, uid: u32, size: Option<u64>, source: Source) -> Result<(), End> {
        let job = self.job;
        let stores = job.remote.store && size.is_none_or(|size| size <= job.remote.max_size);
        let fetched = self.fetch(uid, size, stores, source);
        let mut checkpoint = job.checkpoint();
        let is_first = self.fetched == 0;
        self.fetched += 1;
        let folder = checkpoint.folder(name);
        let verdict = match &fetched {
            Ok((One::Kept, is_stored)) => {
                folder.succeeded(uid);
                if *is_stored && job.remote.after != After::Leave {
                    folder.pending.insert(uid, now());
                }
                job.status.count();
                None
            }
            Ok((One::Failed(points, why), _)) => Some((folder.failed(uid, *points, now()), why.clone())),
            // A connection that ends at the same message again and again has its reason in it.
            Err(end) if is_first && matches!(end.kind, Kind::Weather | Kind::Normal) => {
                Some((folder.failed(uid, CUT_OFF, now()), end.why.clone()))
            }
            Err(_) => None,
        };
        checkpoint.end(name);
        drop(checkpoint);
        match verdict {
            Some((Verdict::ParkedNow, why)) => {
                log::warn!("remote {}: message {uid} cannot be fetched ({why}); tried again daily", job.label());
            }
            Some((Verdict::GivenUp, why)) => log::warn!("remote {}: message {uid} is given up: {why}", job.label()),
            Some((_, why)) => log::debug!("remote {}: message {uid}: {why}", job.label()),
            None => {}
        }
        let (one, _) = fetched?;
        if matches!(one, One::Kept) && !matches!(job.remote.after, After::Leave | After::Age(_)) {
            self.act(name)?;
        }
        Ok(())
    }

    /// Fetches one message and commits it. Gives also whether it is stored here.
    fn fetch(&mut self, uid: u32, size: Option<u64>, stores: bool, source: Source) -> Result<(One, bool), End> {
        let job = self.job;
        let new = |stores: bool| match stores {
            true => Intake::store(&job.delivery, &job.remote, &source),
            false => Intake::Header(Vec::new()),
        };
        let mut step = self.session.fetch(uid, !stores, &mut self.out);
        // The message, whether it is to be stored, its UID as told, and its size as the server says.
        let (mut intake, mut is_stored, mut told, mut size) = (None, stores, None, size);
        let outcome = loop {
            step = match self.run(step, REPLY)? {
                Step::Literal { octets, .. } => {
                    // The size that was listed may have been a guess.
                    is_stored &= octets <= job.remote.max_size;
                    let mut into = new(is_stored);
                    let (mut ends, mut block) = (LineEnds::new(), Vec::new());
                    self.literal(octets, &mut |octets| {
                        block.clear();
                        ends.decode(octets, &mut block);
                        into.write(&block);
                    })?;
                    block.clear();
                    ends.finish(&mut block);
                    into.write(&block);
                    intake = (octets > 0).then_some(into);
                    Step::Line
                }
                Step::Item(item) if item.has_body() || item.uid == Some(uid) => {
                    if let Body::Quoted(octets) = &item.body
                        && item.has_body()
                    {
                        let (mut ends, mut block, mut into) = (LineEnds::new(), Vec::new(), new(stores));
                        ends.decode(octets, &mut block);
                        ends.finish(&mut block);
                        into.write(&block);
                        intake = Some(into);
                    }
                    told = item.uid.or(told);
                    size = item.size.or(size);
                    Step::Line
                }
                Step::Item(_) => Step::Line,
                Step::Done(outcome) => break outcome,
                _ => return Err(unexpected()),
            };
        };
        let failed = |points, why: &str| Ok((One::Failed(points, why.to_owned()), false));
        match (outcome, intake) {
            (Outcome::Ok, Some(intake)) if told == Some(uid) => {
                job.begin_message();
                match intake.commit(&job.delivery, &job.remote, source, size.unwrap_or(0)) {
                    Ok(()) => Ok((One::Kept, is_stored)),
                    Err(Unstored::Loop) => failed(HOPELESS, "more than 100 Received fields"),
                    Err(failure) => Err(failure.into()),
                }
            }
            (Outcome::Ok, Some(_)) => failed(REFUSED, "the server gave another message"),
            (Outcome::Ok, None) => failed(REFUSED, "the server gave no message"),
            (outcome, _) => failed(REFUSED, &format!("{outcome:?}")),
        }
    }

    /// Reads the octets of a message's section.
    fn literal(&mut self, octets: u64, take: &mut dyn FnMut(&[u8])) -> Result<(), End> {
        let (began, mut taken) = (Instant::now(), 0);
        while taken < octets {
            let block = self.conn.data(began, taken)?;
            let count = block.len().min(usize::try_from(octets - taken).unwrap_or(usize::MAX));
            take(&block[..count]);
            self.conn.consume(count);
            taken += count as u64;
        }
        Ok(())
    }

    /// Does on the server what is due with messages that are stored here.
    fn act(&mut self, name: &str) -> Result<(), End> {
        let job = self.job;
        let due: Vec<u32> = {
            let mut checkpoint = job.checkpoint();
            let folder = checkpoint.folder(name);
            let age = match &job.remote.after {
                After::Leave => return Ok(folder.pending.clear()),
                After::Age(age) => age.as_secs(),
                _ => 0,
            };
            let is_due = |stored: u64| stored.saturating_add(age) <= now();
            folder.pending.iter().filter(|(_, stored)| is_due(**stored)).map(|(uid, _)| *uid).collect()
        };
        for uid in due {
            let step = match &job.remote.after {
                After::Leave => return Ok(()),
                After::Seen => self.session.mark_seen(uid, &mut self.out),
                After::Move(folder) => self.session.move_to(uid, folder, &mut self.out),
                After::Delete | After::Age(_) => self.session.delete(uid, &mut self.out),
            };
            match self.simple(step)? {
                Outcome::Ok => drop(job.checkpoint().folder(name).pending.remove(&uid)),
                Outcome::Refused(text) => {
                    log::warn!("remote {}: message {uid}: `after` is refused: {text}; tried again", job.label());
                    // The next ones will be refused, too.
                    return Ok(());
                }
                Outcome::LeftMarked => {
                    log::info!(
                        "remote {}: message {uid} is marked as deleted and not expunged: other messages are marked, too, and \
                         the server lacks UIDPLUS",
                        job.label()
                    );
                    job.checkpoint().folder(name).pending.remove(&uid);
                }
            }
        }
        Ok(())
    }
}
