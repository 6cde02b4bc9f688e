//! A POP3 session: one pass over the maildrop, then QUIT.

use super::checkpoint::now;
use super::end::{End, Kind};
use super::folder::{HOPELESS, REFUSED, Verdict};
use super::intake::{Intake, Names, Source};
use super::job::{Connected, Job, Outcome as Ended};
use super::maildrop::{self, Id, Maildrop};
use super::resync::{Counts, Judge};
use crate::config::{After, Encryption};
use crate::delivery::Failure as Unstored;
use crate::message::dot::decode::Decoder;
use crate::message::header::Summary;
use crate::net::remote::Error;
use crate::net::remote::conn::Conn;
use crate::pop3::client::{LINE, Outcome, Secret, Session, Settings, Step};
use crate::sasl::client::Failure;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// For the greeting, and for each reply.
const REPLY: Duration = Duration::from_secs(60);

/// For QUIT: the server deletes before it answers.
const QUIT: Duration = Duration::from_secs(300);

/// For a whole session.
const SESSION: Duration = Duration::from_secs(3_600);

/// What is known is written down after so many messages at the latest.
const CHECKPOINT: u32 = 100;

struct Talk<'j> {
    job: &'j Job,
    conn: Conn,
    session: Session,
    out: Vec<u8>,
    end: Instant,
}

/// A message of the listing.
struct Listed {
    number: u32,
    id: Id,
    unique_id: Vec<u8>,
}

/// A message-number and its unique-id.
type Numbered = (u32, Vec<u8>);

/// What became of one message.
enum One {
    /// True: stored here.
    Kept(bool),
    /// Points, and why.
    Failed(u32, String),
}

/// Runs a session to its end; gives also the least wait that the server asks for.
pub fn run(job: &Job, connected: Connected) -> Result<Ended, End> {
    let mut talk = login(job, connected)?;
    talk.warn_of_expiry();
    let wait = talk.session.login_delay().map(|seconds| Duration::from_secs(u64::from(seconds)));
    talk.pass()?;
    Ok((End::new(Kind::Passed, "done"), wait))
}

/// Looks at the maildrop without changing anything, and says what is there.
pub fn probe(job: &Job, connected: Connected) -> Result<Vec<String>, End> {
    let mut talk = login(job, connected)?;
    let step = talk.session.stat(&mut talk.out);
    let Step::Count(count) = talk.run(step, REPLY)? else { return Err(unexpected()) };
    let (has_uidl, _) = talk.unique_ids()?;
    let has_top = talk.session.has_top() && (count == 0 || talk.header(1)?.is_ok());
    let mut notes = vec![talk.conn.description()];
    let word = |has: bool, name: &str| format!("{}{name}", if has { "" } else { "no " });
    notes.push(format!("logged in; the server has {}, {}", word(has_uidl, "UIDL"), word(has_top, "TOP")));
    if !has_uidl && !has_top && job.remote.after != After::Delete {
        notes.push("without UIDL and TOP messages cannot be told apart: only after = \"delete\" works".into());
    }
    if let Some(seconds) = talk.session.login_delay() {
        notes.push(format!("the server wants {seconds} s between two logins (LOGIN-DELAY)"));
    }
    if let Some(days) = talk.session.expire() {
        notes.push(format!("the server itself deletes messages after {days} days (EXPIRE)"));
    }
    notes.push(super::intake::first_run(&job.remote, "the maildrop", count));
    let step = talk.session.quit(&mut talk.out);
    talk.run(step, QUIT)?;
    Ok(notes)
}

/// Hands over one message, if it is still there.
pub fn fetch_one(job: &Job, connected: Connected, unique_id: &[u8], take: &mut dyn FnMut(&[u8])) -> Result<(), End> {
    let mut talk = login(job, connected)?;
    let (_, all) = talk.unique_ids()?;
    let gone = || End::new(Kind::Folder, "the server has no such message any more");
    let (number, _) = all.into_iter().find(|(_, each)| each == unique_id).ok_or_else(gone)?;
    let step = talk.session.retr(number, &mut talk.out);
    match talk.data(step, take)? {
        Outcome::Ok => {}
        Outcome::Refused(text) => return Err(End::new(Kind::Weather, text)),
    }
    let step = talk.session.quit(&mut talk.out);
    talk.run(step, QUIT)?;
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
        implicit_tls: job.remote.encryption == Encryption::Implicit,
    });
    let mut talk = Talk { job, conn, session, out: Vec::new(), end: Instant::now() + SESSION };
    let (mut step, mut has_tried) = (Step::Line, false);
    loop {
        let next = talk.run(step, REPLY).inspect_err(|end| {
            // Several servers send a stamp and can do APOP for few accounts: the other way is next, on a connection of its own.
            if end.kind == Kind::Credentials {
                job.without_apop.store(has_tried, Ordering::Relaxed);
            }
        });
        let next = next.map_err(|end| end.without(secret.octets(), &job.remote))?;
        step = match next {
            Step::StartTls => {
                let client = tls.as_ref().ok_or_else(|| End::new(Kind::Weather, "no TLS"))?;
                talk.conn.start_tls(client, &job.remote.host)?;
                talk.session.secured(&mut talk.out)
            }
            Step::Credentials => {
                if job.without_apop.load(Ordering::Relaxed) {
                    talk.session.forget_apop();
                }
                has_tried = talk.session.has_apop();
                talk.session.credentials(secret.octets(), &mut talk.out)
            }
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
    fn run(&mut self, mut step: Step, patience: Duration) -> Result<Step, End> {
        let until = (Instant::now() + patience).min(self.end);
        loop {
            match step {
                Step::Line => {}
                Step::Failed(failure) => return Err(failure.into()),
                step => return Ok(step),
            }
            if !self.out.is_empty() {
                self.conn.send(&self.out)?;
                self.out.clear();
            }
            step = match self.conn.line(LINE, until, "a reply", &[])? {
                Some(line) => self.session.line(line, &mut self.out),
                None => self.session.line_too_long(),
            };
        }
    }

    fn simple(&mut self, step: Step) -> Result<Outcome, End> {
        match self.run(step, REPLY)? {
            Step::Done(outcome) => Ok(outcome),
            _ => Err(unexpected()),
        }
    }

    /// A server that deletes messages before `after` would.
    fn warn_of_expiry(&self) {
        if let (Some(days), After::Age(age)) = (self.session.expire(), &self.job.remote.after)
            && u64::from(days) * 86_400 < age.as_secs()
        {
            log::warn!("remote {}: the server itself deletes messages after {days} days (EXPIRE)", self.job.label());
        }
    }

    /// One look at the maildrop.
    fn pass(&mut self) -> Result<(), End> {
        let job = self.job;
        let step = self.session.stat(&mut self.out);
        let Step::Count(count) = self.run(step, REPLY)? else { return Err(unexpected()) };
        let listing = self.listing(count)?;
        if let Some(listed) = &listing {
            self.settle(listed)?;
            self.settle_deleted(listed)?;
        }
        // Without unique-ids and without TOP each message is new, and goes when it was stored.
        let listed = listing.unwrap_or_else(|| {
            let number = |number| Listed { number, id: maildrop::id(b"", number), unique_id: Vec::new() };
            (1..=count).map(number).collect()
        });
        let client = self.conn.peer().map(|address| address.ip().to_string());
        let names = Names::new(&job.remote, None, client, self.conn.tls_description());
        let mut deleted: Vec<Id> = Vec::new();
        let mut fetched = 0;
        for message in &listed {
            if job.stop.is_given() {
                return Err(Error::Interrupted.into());
            }
            let is_new = job.checkpoint().maildrop().is_to_fetch(message.id, &message.unique_id, now());
            // A number alone says nothing of an earlier session's message.
            let is_nameless = message.unique_id.is_empty();
            let mut may_go = !is_nameless;
            if is_new || is_nameless {
                may_go |= self.one(message, names.pop3(message.id, &message.unique_id))?;
                fetched += 1;
                if fetched % CHECKPOINT == 0 {
                    job.save()?;
                }
            }
            if may_go && self.is_due(message.id) {
                let step = self.session.dele(message.number, &mut self.out);
                match self.simple(step)? {
                    Outcome::Ok => deleted.push(message.id),
                    Outcome::Refused(text) => {
                        log::warn!("remote {}: DELE {} is refused: {text}", job.label(), message.number);
                    }
                }
            }
        }
        // What is stored is known before its copy goes.
        job.save()?;
        let step = self.session.quit(&mut self.out);
        let step = self.run(step, QUIT)?;
        let (parked, given_up) = {
            let mut checkpoint = job.checkpoint();
            let maildrop = checkpoint.maildrop();
            if step == (Step::Over { confirmed: true }) {
                for id in &deleted {
                    maildrop.known.entry(*id).and_modify(|known| known.deleted = true);
                }
            }
            let ids: Vec<Id> =
                listed.iter().filter(|message| !message.unique_id.is_empty()).map(|message| message.id).collect();
            maildrop.passed(&ids, now());
            (maildrop.parked(), maildrop.given_up)
        };
        job.save()?;
        job.passed(parked, given_up);
        Ok(())
    }

    /// Every message with its unique-id, or with its key where the server has no unique-ids; `None` where it has no TOP
    /// either.
    fn listing(&mut self, count: u32) -> Result<Option<Vec<Listed>>, End> {
        let (has_uidl, entries) = self.unique_ids()?;
        let (mut numbers, mut unique_ids): (Vec<u32>, Vec<Vec<u8>>) = entries.into_iter().unzip();
        for number in (1..=count).filter(|_| !has_uidl) {
            let Ok(header) = self.header(number)? else {
                return match self.job.remote.after == After::Delete && self.job.remote.store {
                    true => Ok(None),
                    false => Err(End::new(
                        Kind::Folder,
                        "the server has neither UIDL nor TOP, so messages cannot be told apart: only after = \"delete\" works",
                    )),
                };
            };
            numbers.push(number);
            unique_ids.push(Summary::parse(&header).key.into_bytes());
        }
        let ids = maildrop::ids(unique_ids.iter().map(Vec::as_slice));
        let listed = numbers.into_iter().zip(ids).zip(unique_ids);
        Ok(Some(listed.map(|((number, id), unique_id)| Listed { number, id, unique_id }).collect()))
    }

    /// What UIDL says: whether the server has it, and each message-number with its unique-id.
    fn unique_ids(&mut self) -> Result<(bool, Vec<Numbered>), End> {
        let mut all = Vec::new();
        let mut step = self.session.uidl(&mut self.out);
        loop {
            step = match self.run(step, REPLY)? {
                Step::Entry { number, unique_id } => {
                    all.push((number, unique_id));
                    Step::Line
                }
                Step::Done(outcome) => return Ok((outcome == Outcome::Ok, all)),
                _ => return Err(unexpected()),
            };
        }
    }

    /// What we deleted and is listed again: the server kept it, or gave its unique-id to another message, as servers do that
    /// make unique-ids of some header fields. Another message is new.
    fn settle_deleted(&mut self, listed: &[Listed]) -> Result<(), End> {
        let job = self.job;
        for message in listed {
            let is_deleted = job.checkpoint().maildrop().known.get(&message.id).is_some_and(|known| known.deleted);
            if !is_deleted {
                continue;
            }
            let header = self.header(message.number)?;
            let ledger = job.delivery.ledger();
            let has_key = |header: &[u8]| {
                ledger.is_some_and(|ledger| ledger.has_key(&job.remote.user, &Summary::parse(header).key))
            };
            let mut checkpoint = job.checkpoint();
            let maildrop = checkpoint.maildrop();
            match header {
                Ok(header) if !has_key(&header) => drop(maildrop.known.remove(&message.id)),
                Ok(_) => {}
                // It cannot be told; so it is not deleted a second time.
                Err(_) => maildrop.succeeded(message.id, 0),
            }
        }
        Ok(())
    }

    /// Compares the listing with what is known.
    fn settle(&mut self, listed: &[Listed]) -> Result<(), End> {
        let job = self.job;
        let ids: Vec<Id> = listed.iter().map(|message| message.id).collect();
        let (passed, first) = {
            let mut checkpoint = job.checkpoint();
            let maildrop = checkpoint.maildrop();
            if !maildrop.is_begun {
                maildrop.is_begun = true;
                if job.remote.only_new {
                    maildrop.first = now();
                    for message in listed
                        .iter()
                        .filter(|message| !maildrop.is_known(message.id, &message.unique_id))
                        .collect::<Vec<_>>()
                    {
                        maildrop.succeeded(message.id, 0);
                    }
                }
                drop(checkpoint);
                return job.save();
            }
            if !maildrop.is_worthless && !maildrop.has_new_ids(&ids) {
                return Ok(());
            }
            (maildrop.passed, maildrop.first)
        };
        let ledger = job.delivery.ledger().map(AsRef::as_ref);
        let judge = Judge { ledger, user: &job.remote.user, passed, first };
        let (mut counts, mut known) = (Counts::default(), Vec::new());
        for message in listed {
            if job.checkpoint().maildrop().is_known(message.id, &message.unique_id) {
                continue;
            }
            match self.header(message.number)? {
                Ok(header) if judge.is_new(&header, None, &mut counts) => {}
                Ok(_) => known.push(message.id),
                Err(_) => counts.new += 1,
            }
        }
        log::info!(
            "remote {}: the server's unique-ids changed; compared by key and date: {} known by key, {} by age, {} new",
            job.label(),
            counts.by_key,
            counts.by_age,
            counts.new
        );
        let mut checkpoint = job.checkpoint();
        let maildrop: &mut Maildrop = checkpoint.maildrop();
        maildrop.is_worthless = false;
        known.into_iter().for_each(|id| maildrop.succeeded(id, 0));
        // Those that vanished do not count a second time.
        maildrop.passed(&ids, passed);
        drop(checkpoint);
        job.save()
    }

    /// The header of a message; `Err` where the server refuses TOP.
    fn header(&mut self, number: u32) -> Result<Result<Vec<u8>, String>, End> {
        let mut into = Intake::Header(Vec::new());
        let step = self.session.top(number, &mut self.out);
        match (self.data(step, &mut |block| into.write(block))?, into) {
            (Outcome::Ok, Intake::Header(header)) => Ok(Ok(header)),
            (outcome, _) => Ok(Err(format!("{outcome:?}"))),
        }
    }

    /// Whether a message that is stored here is to be deleted there now.
    fn is_due(&self, id: Id) -> bool {
        let age = match &self.job.remote.after {
            After::Delete => 0,
            After::Age(age) => age.as_secs(),
            _ => return false,
        };
        let mut checkpoint = self.job.checkpoint();
        let known = checkpoint.maildrop().known.get(&id);
        known.is_some_and(|known| known.stored > 0 && known.stored.saturating_add(age) <= now())
    }

    /// One message. Whether it is stored or recorded.
    fn one(&mut self, message: &Listed, source: Source) -> Result<bool, End> {
        let job = self.job;
        let fetched = self.fetch(message, source);
        let mut checkpoint = job.checkpoint();
        let maildrop = checkpoint.maildrop();
        let verdict = match &fetched {
            Ok(One::Kept(is_stored)) => {
                maildrop.succeeded(message.id, if *is_stored { now() } else { 0 });
                job.status.count();
                None
            }
            Ok(One::Failed(points, why)) => Some((maildrop.failed(message.id, *points, now()), why.clone())),
            Err(_) => None,
        };
        checkpoint.end("");
        drop(checkpoint);
        let number = message.number;
        match verdict {
            Some((Verdict::ParkedNow, why)) => {
                log::warn!("remote {}: message {number} cannot be fetched ({why}); tried again daily", job.label());
            }
            Some((Verdict::GivenUp, why)) => log::warn!("remote {}: message {number} is given up: {why}", job.label()),
            Some((_, why)) => log::debug!("remote {}: message {number}: {why}", job.label()),
            None => {}
        }
        fetched.map(|one| matches!(one, One::Kept(_)))
    }

    fn fetch(&mut self, message: &Listed, source: Source) -> Result<One, End> {
        let job = self.job;
        let step = self.session.list(message.number, &mut self.out);
        let size = match self.run(step, REPLY)? {
            Step::Size(size) => Some(size),
            Step::Done(_) => None,
            _ => return Err(unexpected()),
        };
        let stores = job.remote.store && size.is_none_or(|size| size <= job.remote.max_size);
        let (mut into, step) = match stores {
            true => {
                (Intake::store(&job.delivery, &job.remote, &source), self.session.retr(message.number, &mut self.out))
            }
            false => (Intake::Header(Vec::new()), self.session.top(message.number, &mut self.out)),
        };
        match self.data(step, &mut |block| into.write(block))? {
            Outcome::Ok => {
                job.begin_message();
                match into.commit(&job.delivery, &job.remote, source, size.unwrap_or(0)) {
                    Ok(()) => Ok(One::Kept(stores)),
                    Err(Unstored::Loop) => Ok(One::Failed(HOPELESS, "more than 100 Received fields".into())),
                    Err(failure) => Err(failure.into()),
                }
            }
            Outcome::Refused(text) => Ok(One::Failed(REFUSED, text.to_string())),
        }
    }

    /// The answer to RETR or TOP.
    fn data(&mut self, step: Step, take: &mut dyn FnMut(&[u8])) -> Result<Outcome, End> {
        match self.run(step, REPLY)? {
            Step::Data => {}
            Step::Done(outcome) => return Ok(outcome),
            _ => return Err(unexpected()),
        }
        let (began, mut taken) = (Instant::now(), 0);
        let (mut decoder, mut block) = (Decoder::new(), Vec::new());
        loop {
            let octets = self.conn.data(began, taken)?;
            block.clear();
            let (count, has_ended) = decoder.decode(octets, &mut block);
            self.conn.consume(count);
            taken += count as u64;
            take(&block);
            if has_ended {
                break;
            }
        }
        match self.session.data_ended() {
            Step::Done(outcome) => Ok(outcome),
            _ => Err(unexpected()),
        }
    }
}
