//! The start, in an order that matters: folders and lock, sockets while there may be root's rights, then the drop, then
//! what must work without those rights, then threads.

use super::doors::{Doors, Kind};
use super::{StartError, reload};
use crate::arrivals::Arrivals;
use crate::config::{Config, Place, Users};
use crate::delivery::Delivery;
use crate::journal::{Held, Lock};
use crate::ledger::{Keep, Ledger};
use crate::notify::{PipeSettings, Subscribers};
use crate::server::listener::Listener;
use crate::server::monitor;
use crate::server::pool::Pool;
use crate::server::sandbox::Places;
use crate::service::{Door, Service};
use crate::sys::{self, Ids};
use mio::Waker;
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid, chownat, fstat, mkfifoat, open};
use rustix::io::Errno;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the loop goes on with.
pub struct Started {
    pub service: Arc<Service>,
    pub doors: Doors,
    pub arrivals: Arrivals,
    pub lock: Lock,
}

/// Does everything up to the ready line.
///
/// # Errors
///
/// Says what is in the way.
pub fn prepare(config: Config, waker: Waker) -> Result<Started, StartError> {
    rustix::process::umask(Mode::from_raw_mode(0o027));
    let inherited = sys::inherited_sockets();
    let become_user = ids(&config)?;
    folders(&config, become_user)?;
    let lock = lock(&config.state, become_user)?;
    let mut listeners = listeners(&config, inherited, become_user)?;
    if let (Some(ids), Some(user)) = (become_user, &config.user) {
        sys::become_user(ids)
            .and_then(|()| sys::take_environment_of(user))
            .map_err(|error| StartError::io("becoming another user", &error))?;
    }

    let live = reload::live(&config).map_err(|problems| StartError::Configuration(problems.join("\n")))?;
    let watched = reload::watched(&config, &config.watches, &live.accounts);
    let state = |error: io::Error| StartError::io(config.state.display(), &error);
    let keep = Keep { age: config.journal_keep, size: config.journal_max_size };
    let ledger = Ledger::open(&config.state, keep).map_err(state)?;
    ledger.start().map_err(state)?;
    let delivery = Arc::new(Delivery::new(&config, Some(ledger.clone())));
    delivery.on_record(Box::new(move || drop(waker.wake())));
    // Subscribers before arrivals: a new pipe or hook begins at the journal's end as it was at the last stop.
    let subscribers = Subscribers::start(&config.state, &config.pipes, &config.hooks).map_err(StartError::Temporary)?;
    let arrivals =
        Arrivals::start(delivery.clone(), watched).map_err(|error| StartError::io("watching the Maildirs", &error))?;

    let control = Listener::bind(&Place::Unix(monitor::control_socket(&config.state))).map_err(state)?;
    listeners.push((Kind::Control, control));
    let pool = pool(&config, &config.users);
    let service = Arc::new(Service::new(config, live, delivery, ledger, subscribers));
    let doors = Doors::new(listeners, service.clone(), pool);
    Ok(Started { service, doors, arrivals, lock })
}

/// Whom to become: nobody else when started without root's rights or without `user`.
fn ids(config: &Config) -> Result<Option<Ids>, StartError> {
    let Some(user) = &config.user else { return Ok(None) };
    let unknown = || {
        let group = config.group.as_ref().map(|group| format!(" or group {group:?}")).unwrap_or_default();
        StartError::Configuration(format!("the system knows no user {user:?}{group}"))
    };
    let ids = sys::look_up(user, config.group.as_deref())
        .map_err(|error| StartError::io("the user database", &error))?
        .ok_or_else(unknown)?;
    Ok(rustix::process::geteuid().is_root().then_some(ids))
}

/// Makes the folders of state and mail where they do not exist, as the user that will own them.
pub fn store_folders(config: &Config, owner: Option<Ids>) -> Result<(), StartError> {
    make_folder(&config.state, 0o750, owner)?;
    make_folder(&config.mail.root, 0o750, owner)
}

/// Makes what does not exist, as the user that will own it.
fn folders(config: &Config, owner: Option<Ids>) -> Result<(), StartError> {
    store_folders(config, owner)?;
    for pipe in &config.pipes {
        if let Some(folder) = pipe.path.parent() {
            // Others may look for the pipe in it; the pipe's own mode says who reads.
            make_folder(folder, 0o755, owner)?;
        }
        make_pipe(pipe, owner).map_err(|error| StartError::io(pipe.path.display(), &error))?;
        // As `check` says: only another path helps, or whoever put it there.
        if !std::fs::metadata(&pipe.path).is_ok_and(|there| there.file_type().is_fifo()) {
            let message = format!("{}: there is something here that is no FIFO", pipe.path.display());
            return Err(StartError::Configuration(message));
        }
    }
    Ok(())
}

/// Makes the pipe where there is nothing, while there are the rights to do so in any folder. What is there is looked at
/// by who opens it.
fn make_pipe(pipe: &PipeSettings, owner: Option<Ids>) -> io::Result<()> {
    let umask = rustix::process::umask(Mode::empty());
    let made = mkfifoat(CWD, &pipe.path, Mode::from_raw_mode(pipe.mode));
    rustix::process::umask(umask);
    match (made, owner) {
        (Err(Errno::EXIST), _) | (Ok(()), None) => return Ok(()),
        (Err(error), _) => return Err(error.into()),
        (Ok(()), Some(_)) => {}
    }
    // Who may write into the folder may have put something else there by now; a FIFO may be anybody's.
    let fifo = open(&pipe.path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    if FileType::from_raw_mode(fstat(&fifo)?.st_mode) != FileType::Fifo {
        return Err(io::Error::other("another process put something in the pipe's place"));
    }
    let (uid, gid) = owner.map(|ids| (Uid::from_raw(ids.uid), Gid::from_raw(ids.gid))).unzip();
    Ok(chownat(&fifo, "", uid, gid, AtFlags::EMPTY_PATH)?)
}

fn make_folder(path: &Path, mode: u32, owner: Option<Ids>) -> Result<(), StartError> {
    if path.is_dir() {
        return Ok(());
    }
    let failed = |error: io::Error| StartError::io(path.display(), &error);
    if let Some(parent) = path.parent()
        && !parent.as_os_str().is_empty()
    {
        DirBuilder::new().recursive(true).mode(0o755).create(parent).map_err(failed)?;
    }
    DirBuilder::new().mode(mode).create(path).map_err(failed)?;
    rustix::fs::chmod(path, Mode::from_raw_mode(mode)).map_err(|error| failed(error.into()))?;
    give(path, owner).map_err(failed)
}

fn give(path: &Path, owner: Option<Ids>) -> io::Result<()> {
    match owner {
        Some(ids) => std::os::unix::fs::chown(path, Some(ids.uid), Some(ids.gid)),
        None => Ok(()),
    }
}

fn lock(state: &Path, owner: Option<Ids>) -> Result<Lock, StartError> {
    let lock = Lock::for_server(state).map_err(|held| match held {
        Held::Io(error) => StartError::io(state.join("lock").display(), &error),
        held => StartError::Temporary(format!("{}: {held}", state.display())),
    })?;
    give(&state.join("lock"), owner).map_err(|error| StartError::io(state.join("lock").display(), &error))?;
    Ok(lock)
}

/// Binds what the configuration names, and takes over what systemd bound. A door that systemd opened is not bound again.
fn listeners(
    config: &Config,
    inherited: Vec<(std::os::fd::OwnedFd, String)>,
    owner: Option<Ids>,
) -> Result<Vec<(Kind, Listener)>, StartError> {
    let metrics: Vec<Place> = config.metrics.iter().cloned().collect();
    let doors: [(Door, &[Place]); 7] = [
        (Door::Smtp, &config.smtp.listen),
        (Door::Submission, &config.submission),
        (Door::Smtps, &config.tls.smtps),
        (Door::Lmtp, &config.lmtp),
        (Door::Pop3, &config.pop3.listen),
        (Door::Pop3s, &config.tls.pop3s),
        (Door::Metrics, &metrics),
    ];
    let mut listeners = Vec::new();
    for (socket, name) in inherited {
        let Some((door, _)) = doors.iter().find(|(door, _)| door.name() == name) else {
            let message =
                format!("systemd handed over a socket named {name:?}; FileDescriptorName= must be a protocol");
            return Err(StartError::Configuration(message));
        };
        let listener = Listener::inherit(socket).map_err(|error| StartError::io(format!("socket {name}"), &error))?;
        listeners.push((Kind::Door(*door), listener));
    }
    let opened: Vec<Kind> = listeners.iter().map(|(kind, _)| *kind).collect();
    for (door, places) in doors {
        for place in places.iter().filter(|_| !opened.contains(&Kind::Door(door))) {
            let listener = Listener::bind(place).map_err(|error| bind_failed(door, place, &error))?;
            if let Place::Unix(path) = place {
                give(path, owner).map_err(|error| StartError::io(path.display(), &error))?;
                // Postfix's client keeps no supplementary group; who may not come is kept out by the folder, as with Dovecot's.
                if door == Door::Lmtp {
                    rustix::fs::chmod(path, Mode::from_raw_mode(0o666))
                        .map_err(|error| StartError::io(path.display(), &error.into()))?;
                }
            }
            listeners.push((Kind::Door(door), listener));
        }
    }
    for (kind, listener) in &listeners {
        let timeout = match kind {
            Kind::Door(Door::Pop3 | Door::Pop3s) => config.pop3.command_timeout,
            _ => config.limits.command_timeout,
        };
        listener.set_timeouts(timeout).map_err(|error| StartError::io(listener.place(), &error))?;
    }
    Ok(listeners)
}

fn bind_failed(door: Door, place: &Place, error: &io::Error) -> StartError {
    match (error.kind(), place) {
        (io::ErrorKind::PermissionDenied, Place::Tcp(address)) if address.port() < 1024 => {
            StartError::Permission(format!(
                "{door} cannot listen on {place}: {error}. Ports below 1024 need root, or `setcap \
                 cap_net_bind_service=+ep` on the binary, or systemd's sockets"
            ))
        }
        (io::ErrorKind::AddrInUse, _) => {
            StartError::Temporary(format!("{door} cannot listen on {place}: another program does already"))
        }
        _ => StartError::io(format!("{door} cannot listen on {place}"), error),
    }
}

/// Device and inode of the folders that [`pool`] lets workers reach; `None` for what is not there.
pub fn folders_in_reach(config: &Config, users: &Users) -> Vec<Option<(u64, u64)>> {
    let beside = [&users.file, &users.aliases].into_iter().filter_map(|file| file.parent());
    let places = [config.state.as_path(), &config.mail.root].into_iter().chain(beside).map(Path::to_owned);
    let identity = |place: PathBuf| std::fs::metadata(place).ok().map(|found| (found.dev(), found.ino()));
    places.chain(links(&config.mail.root)).map(identity).collect()
}

/// Links in place of users' Maildirs.
fn links(root: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink())).map(|link| link.path())
}

/// Workers, each in a sandbox where the kernel has one: they talk to strangers. A reload may bring other account files,
/// and links in place of users' Maildirs, but no other mail. What fails here makes nothing worse.
pub fn pool(config: &Config, users: &Users) -> Pool {
    let mut places = Places::new();
    places.write(&config.state);
    places.write(&config.mail.root);
    links(&config.mail.root).for_each(|link| places.write(&link));
    [&users.file, &users.aliases].into_iter().for_each(|file| places.read_beside(file));
    match places.enclose() {
        Ok(Some(sandbox)) => {
            return Pool::beginning_with(move || {
                if let Err(error) = sandbox.enter() {
                    log::warn!("landlock: {error}");
                }
            });
        }
        Ok(None) => log::info!("landlock: this kernel has none that is new enough"),
        Err(error) => log::warn!("landlock: {error}"),
    }
    Pool::default()
}
