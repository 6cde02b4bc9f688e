//! One thread that begins sessions when they are due, and answers `mailbell fetch`. It reads nothing from remotes.

use super::answer::{Answer, Waiter, socket};
use super::checkpoint::{Checkpoint, now};
use super::end::{BackOff, End, Kind};
use super::job::{Enter, Job, Outcome, Trusts};
use super::session::run;
use super::slot::Slot;
use super::status::{Entry, Status};
use crate::config::Remote;
use crate::delivery::Delivery;
use crate::limits;
use crate::sys::{Orders, lock, poll};
use rustix::event::{PollFd, PollFlags};
use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a stop waits for sessions that are connected to say goodbye.
const STOP: Duration = Duration::from_secs(5);

/// What could not be opened is tried again so soon.
const REOPEN: Duration = Duration::from_secs(60);

/// How long `mailbell fetch` may take to say what it wants.
const ASKING: Duration = Duration::from_secs(2);

#[derive(Debug)]
enum Order {
    Ended(u64, Outcome),
    Passed(u64),
    Replace(Vec<Remote>),
    Stop,
}

/// All remotes of a server.
pub struct Remotes {
    orders: Arc<Orders<Order>>,
    all: Arc<Mutex<Vec<Status>>>,
    remotes: Arc<Mutex<Vec<Remote>>>,
    enter: Arc<Mutex<Enter>>,
    thread: Option<JoinHandle<()>>,
}

impl Remotes {
    /// Starts the thread. It begins after the first look at the Maildirs.
    ///
    /// # Errors
    ///
    /// When the system has no descriptor or thread left.
    pub fn start(state: &Path, remotes: Vec<Remote>, delivery: Arc<Delivery>, enter: Enter) -> io::Result<Remotes> {
        let known = Arc::new(Mutex::new(remotes.clone()));
        let orders = Arc::new(Orders::new()?);
        orders.give(Order::Replace(remotes));
        let (all, enter) = (Arc::<Mutex<Vec<Status>>>::default(), Arc::new(Mutex::new(enter)));
        let path = socket(state);
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path)?;
        listener.set_nonblocking(true)?;
        let supervisor = Supervisor {
            state: state.to_owned(),
            delivery,
            orders: orders.clone(),
            all: all.clone(),
            enter: enter.clone(),
            listener,
            trusts: Arc::default(),
            wanted: Vec::new(),
            slots: Vec::new(),
            ids: 0,
            reopen_at: None,
            stop_by: None,
        };
        let thread = std::thread::Builder::new()
            .name("remotes".into())
            .stack_size(limits::WORKER_STACK)
            .spawn(move || supervisor.run())?;
        Ok(Remotes { orders, all, remotes: known, enter, thread: Some(thread) })
    }

    /// These from now on. Those that did not change go on undisturbed.
    pub fn replace(&self, remotes: Vec<Remote>, enter: Enter) {
        *lock(&self.enter) = enter;
        lock(&self.remotes).clone_from(&remotes);
        self.orders.give(Order::Replace(remotes));
    }

    /// The next sessions enter this sandbox.
    pub fn enter_by(&self, enter: Enter) {
        *lock(&self.enter) = enter;
    }

    /// Tells all sessions to end; does not wait.
    pub fn begin_stop(&self) {
        self.orders.give(Order::Stop);
    }

    /// Waits for the end of all sessions, for some seconds at most.
    pub fn stop(mut self) {
        self.begin_stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the thread that watches the remotes has panicked");
        }
    }

    /// The remote of this name.
    pub fn named(&self, name: &str) -> Option<Remote> {
        lock(&self.remotes).iter().find(|remote| remote.name == name).cloned()
    }

    /// Every remote's folders, in the configuration's order.
    pub fn status(&self) -> Vec<Entry> {
        lock(&self.all).iter().map(Status::entry).collect()
    }
}

impl fmt::Debug for Remotes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remotes").field("all", &self.all).finish_non_exhaustive()
    }
}

struct Supervisor {
    state: PathBuf,
    delivery: Arc<Delivery>,
    orders: Arc<Orders<Order>>,
    all: Arc<Mutex<Vec<Status>>>,
    enter: Arc<Mutex<Enter>>,
    listener: UnixListener,
    trusts: Arc<Trusts>,
    wanted: Vec<Remote>,
    slots: Vec<Slot>,
    ids: u64,
    /// When what could not be opened is tried again.
    reopen_at: Option<Instant>,
    stop_by: Option<Instant>,
}

impl Supervisor {
    fn run(mut self) {
        // A message that is in its Maildir and has no safe record yet would be fetched again.
        self.delivery.first_look().wait();
        self.delivery.ledger().inspect(|ledger| ledger.tick());
        while !self.is_over() {
            self.wait();
            for order in self.orders.take() {
                match order {
                    Order::Ended(id, outcome) => self.on_end(id, outcome),
                    Order::Passed(id) => self.on_pass(id),
                    Order::Replace(remotes) => self.replace(remotes),
                    Order::Stop => self.begin_stop(),
                }
            }
            while let Ok((stream, _)) = self.listener.accept() {
                self.ask(stream);
            }
            if self.stop_by.is_none() {
                if self.reopen_at.is_some_and(|at| at <= Instant::now()) {
                    self.open_wanted();
                }
                self.begin_due();
            }
        }
        let _ = std::fs::remove_file(socket(&self.state));
    }

    fn is_over(&self) -> bool {
        let has_goodbyes = self.slots.iter().any(Slot::is_connected);
        self.stop_by.is_some_and(|by| !has_goodbyes || Instant::now() >= by)
    }

    fn wait(&self) {
        let dues = self.slots.iter().filter_map(|slot| slot.due).filter(|_| self.stop_by.is_none());
        let next = dues.chain(self.reopen_at).chain(self.stop_by).min();
        let timeout = next.map(|at| at.saturating_duration_since(Instant::now()));
        let both = [self.orders.as_fd(), self.listener.as_fd()];
        let _ = poll(&mut both.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)), timeout);
    }

    fn begin_stop(&mut self) {
        if self.stop_by.is_none() {
            self.stop_by = Some(Instant::now() + STOP);
            self.slots.iter().for_each(|slot| slot.job.stop.give());
        }
    }

    /// Takes changed remotes over.
    fn replace(&mut self, remotes: Vec<Remote>) {
        // What is trusted may have been replaced under its name.
        self.trusts = Arc::default();
        self.wanted = remotes;
        for slot in &mut self.slots {
            if !self.wanted.iter().any(|wanted| *wanted == *slot.job.remote) {
                slot.is_gone = true;
                slot.job.stop.give();
            } else {
                slot.job.trusts = self.trusts.clone();
                slot.back_off.reset();
                slot.due = slot.due.map(|due| due.min(Instant::now() + slot.job.remote.interval));
                // What failed is tried at once.
                if slot.complained.is_some() {
                    slot.due = slot.due.map(|_| Instant::now());
                }
            }
        }
        self.slots.retain(|slot| !(slot.is_gone && slot.due.is_some()));
        self.open_wanted();
    }

    /// Makes slots of the remotes that have none. A remote that changed waits until its old sessions have ended.
    fn open_wanted(&mut self) {
        self.reopen_at = None;
        for remote in self.wanted.clone() {
            if self.slots.iter().any(|slot| slot.job.remote.name == remote.name) {
                continue;
            }
            if let Err(error) = self.open(remote.clone()) {
                log::error!("remote {}: what is known of it cannot be read: {error}", remote.name);
                self.reopen_at = Some(Instant::now() + REOPEN);
            }
        }
        // In the configuration's order.
        let mut all = Vec::new();
        for wanted in &self.wanted {
            all.extend(
                self.slots
                    .iter()
                    .filter(|slot| slot.job.remote.name == wanted.name)
                    .map(|slot| slot.job.status.clone()),
            );
        }
        *lock(&self.all) = all;
    }

    fn open(&mut self, remote: Remote) -> io::Result<()> {
        let checkpoint = Arc::new(Mutex::new(Checkpoint::open(&self.state, &remote.name)?));
        let remote = Arc::new(remote);
        let enter = self.enter.clone();
        let enter: Enter = Arc::new(move || {
            let enter = lock(&enter).clone();
            enter();
        });
        for folder in remote.places() {
            self.ids += 1;
            let (id, orders) = (self.ids, self.orders.clone());
            self.slots.push(Slot {
                id,
                job: Job {
                    checkpoint: checkpoint.clone(),
                    trusts: self.trusts.clone(),
                    once: false,
                    on_pass: Arc::new(move || orders.give(Order::Passed(id))),
                    ..Job::new(&remote, folder, &self.delivery, &enter)?
                },
                back_off: BackOff::default(),
                due: Some(Instant::now()),
                has_retried: false,
                is_gone: false,
                waiters: Vec::new(),
                complained: None,
            });
        }
        Ok(())
    }

    fn begin_due(&mut self) {
        let now = Instant::now();
        for slot in self.slots.iter_mut().filter(|slot| slot.due.is_some_and(|due| due <= now)) {
            let (id, job, orders) = (slot.id, slot.job.clone(), self.orders.clone());
            let spawned =
                std::thread::Builder::new().name("remote".into()).stack_size(limits::WORKER_STACK).spawn(move || {
                    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&job)));
                    let panicked =
                        |_| (End::new(Kind::Temporary, "the session panicked; this is a fault of mailbell"), None);
                    orders.give(Order::Ended(id, outcome.unwrap_or_else(panicked)));
                });
            match spawned {
                Ok(_) => slot.due = None,
                Err(error) => {
                    log::error!("remote {}: no thread: {error}", slot.job.label());
                    slot.due = Some(now + REOPEN);
                }
            }
        }
    }

    fn on_pass(&mut self, id: u64) {
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.id == id) else { return };
        slot.back_off.reset();
        slot.has_retried = false;
        slot.complained = None;
        // A look that was asked for since the pass began has another one to wait for.
        if !slot.job.look.is_given() {
            slot.answer(&Answer::Done);
        }
    }

    fn on_end(&mut self, id: u64, (end, wait): Outcome) {
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.id == id) else { return };
        let remote = slot.job.remote.clone();
        let mut delay = match end.kind {
            Kind::Passed => wait.unwrap_or_default().max(remote.interval),
            Kind::Credentials if slot.job.has_another_way() && !std::mem::replace(&mut slot.has_retried, true) => {
                Duration::ZERO
            }
            kind => slot.back_off.next(kind),
        };
        slot.complain(&end);
        if slot.job.look.is_given() {
            // It was asked for after this session began, so the next one answers.
            delay = Duration::ZERO;
        } else if !delay.is_zero() || end.kind != Kind::Credentials {
            slot.answer(&Answer::of(&end));
        }
        slot.due = Some(Instant::now() + delay);
        slot.job.status.ended(&end, now() + delay.as_secs());
        if slot.is_gone {
            self.slots.retain(|slot| slot.id != id);
            if self.stop_by.is_none() {
                self.open_wanted();
            }
        }
    }

    /// Somebody asks for a look.
    fn ask(&mut self, stream: UnixStream) {
        let asked = stream.set_nonblocking(false).and_then(|()| stream.set_read_timeout(Some(ASKING))).and_then(|()| {
            let mut line = String::new();
            BufReader::new((&stream).take(100)).read_line(&mut line).map(|_| line)
        });
        let Some(name) = asked.as_deref().ok().and_then(|line| line.trim_end().strip_prefix("look ")) else { return };
        let waiter = Arc::new(Mutex::new(Waiter { stream, left: 0, worst: Answer::Done }));
        for slot in self.slots.iter_mut().filter(|slot| slot.job.remote.name == name && !slot.is_gone) {
            lock(&waiter).left += 1;
            slot.waiters.push(waiter.clone());
            slot.back_off.reset();
            match slot.due {
                Some(_) => slot.due = Some(Instant::now()),
                None => slot.job.look.give(),
            }
        }
        let mut waiter = lock(&waiter);
        if waiter.left == 0 {
            let _ = waiter.stream.write_all(Answer::Unknown.line().as_bytes());
        }
    }
}
