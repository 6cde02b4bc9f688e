//! The start. The order matters: first what only root may do (folders in root's folders, pipes, sockets), then the
//! change of user, then everything else, and threads at the end.

use super::acceptor::Acceptor;
use super::{StartError, owner, reload, sandbox};
use crate::arrivals::Arrivals;
use crate::config::ListenerKind;
use crate::config::{Config, Http, Place};
use crate::delivery::Delivery;
use crate::journal::{Held, Lock};
use crate::ledger::{Keep, Ledger};
use crate::notify::{PipeSettings, Subscribers};
use crate::server::listener::{self, Listener};
use crate::server::{local, monitor};
use crate::service::Service;
use crate::sys::folder::{Folder, make_folder};
use crate::sys::{self, Ids};
use rustix::fs::{FileType, Mode, mkfifoat};
use rustix::io::Errno;
use rustix::process::umask;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;

/// Other users get no rights on new files, unless a file's own mode gives them.
const UMASK: u32 = 0o027;

/// What the event loop needs.
pub struct Started {
    pub service: Arc<Service>,
    pub acceptor: Acceptor,
    pub arrivals: Arrivals,
    pub lock: Lock,
}

/// Does everything up to the ready line.
///
/// # Errors
///
/// Says why the server cannot start.
pub fn prepare(config: Config) -> Result<Started, StartError> {
    umask(Mode::from_raw_mode(UMASK));
    sys::raise_nofile();
    let inherited = sys::inherited_sockets();
    let become_user = owner::configured(&config)?.filter(|_| rustix::process::geteuid().is_root());
    if let Some(ids) = become_user {
        folders(&config, Some(ids))?;
    }
    let lock = first_as_user(become_user, || {
        folders(&config, None)?;
        lock(&config.state)
    })?;
    let mut listeners = without_umask(|| listeners(&config, inherited, become_user))?;
    become_user.map_or(Ok(()), owner::become_user)?;
    if rustix::process::geteuid().is_root() {
        warn_of_other_owner(&config);
    } else {
        // A service manager may have given the right to bind ports below 1024; neither the server nor a hook needs it now.
        sys::drop_capabilities()
            .unwrap_or_else(|error| log::warn!("capset(2): the right to bind low ports cannot be given up: {error}"));
    }
    let control = control(&config.state)?;
    listeners.push((ListenerKind::Control, control));
    pipes_are_fifos(&config)?;

    for name in ["cursors", "sizes", "given_up"] {
        let folder = config.state.join(name);
        make_folder(&folder, 0o750, None).map_err(|error| StartError::io(folder.display(), &error))?;
    }
    // Before the sandbox, in which nothing can be reached that is not there yet.
    #[cfg(feature = "relay")]
    let queue = crate::queue::Queue::open(&config.state)
        .map(Arc::new)
        .map_err(|error| StartError::io(config.state.join("queue").display(), &error))?;
    let live = reload::live(&config).map_err(|problems| StartError::Configuration(problems.join("\n")))?;
    let watched = reload::watched(&config, &config.watches, &live.accounts);
    let ledger = ledger(&config)?;
    let delivery = Arc::new(Delivery::new(&config, Some(ledger.clone())));
    #[cfg(feature = "relay")]
    if config.relays() {
        delivery.send_by(queue.clone());
    }
    // Subscribers start before arrivals, so that a new pipe or hook begins at the end of the journal at the last stop.
    let told = Some(ledger.told());
    let wanted = reload::subscribers(&config, &live);
    let subscribers = Subscribers::start_inside(&config.state, told, sandbox::enter(&config), wanted)
        .map_err(StartError::Temporary)?;
    let arrivals =
        Arrivals::start(delivery.clone(), watched).map_err(|error| StartError::io("watching the Maildirs", &error))?;

    #[cfg(feature = "http")]
    if listeners.iter().any(|(kind, _)| *kind == ListenerKind::Http) {
        crate::httpd::prepare();
    }
    let pool = sandbox::pool(&config);
    let service = Arc::new(Service::new(
        config,
        live,
        delivery,
        ledger,
        subscribers,
        #[cfg(feature = "relay")]
        queue,
    ));
    #[cfg(feature = "remote")]
    super::remotes::start(&service).map_err(|error| StartError::io("remotes", &error))?;
    let acceptor = Acceptor::new(listeners, service.clone(), pool);
    Ok(Started { service, acceptor, arrivals, lock })
}

/// A server that root starts without `user` stays root, and what it makes is root's.
fn warn_of_other_owner(config: &Config) {
    if let Ok(Some(owner)) = owner::of_state(config) {
        let (state, uid) = (config.state.display(), owner.uid);
        log::warn!("{state} belongs to user {uid}, and this server runs as root; set `user`, or start it as that user");
    }
}

/// Does the work so that what is made has its whole mode from the beginning. To be called before there are threads.
fn without_umask<T>(work: impl FnOnce() -> T) -> T {
    let before = umask(Mode::empty());
    let done = work();
    umask(before);
    done
}

/// Does the work with the rights that the server will have.
fn first_as_user<T: Send>(
    user: Option<Ids>,
    work: impl FnOnce() -> Result<T, StartError> + Send,
) -> Result<T, StartError> {
    match user {
        None => work(),
        Some(ids) => sys::as_user(ids, work).map_err(|error| StartError::io("becoming another user", &error))?,
    }
}

/// Makes the folders and pipes that do not exist. With `owner` this is root's part: what the owner cannot make itself.
fn folders(config: &Config, owner: Option<Ids>) -> Result<(), StartError> {
    owner::store_folders(config, owner)?;
    for pipe in &config.pipes {
        let failed = |error: io::Error| StartError::io(pipe.path.display(), &error);
        if let Some(folder) = pipe.path.parent() {
            // Other users may look for the pipe in this folder; the pipe's own mode says which users may read it.
            make_folder(folder, 0o755, owner).map_err(failed)?;
        }
        if let Some(owner) = owner {
            make_pipe(pipe, owner).map_err(failed)?;
        }
    }
    Ok(())
}

/// Makes a pipe for its owner, because that user may lack the right to make one in this folder. A pipe that exists stays as it is.
fn make_pipe(pipe: &PipeSettings, owner: Ids) -> io::Result<()> {
    // In a folder that root does not reach, the owner makes the pipe.
    let Ok((folder, name)) = Folder::of(&pipe.path) else { return Ok(()) };
    match without_umask(|| mkfifoat(&folder, name, Mode::from_raw_mode(pipe.mode))) {
        Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
        Ok(()) => folder.give(name, FileType::Fifo, owner),
    }
}

/// A file in the place of a pipe: it has to be removed, or the pipe needs another path.
fn pipes_are_fifos(config: &Config) -> Result<(), StartError> {
    for pipe in &config.pipes {
        if std::fs::metadata(&pipe.path).is_ok_and(|found| !found.file_type().is_fifo()) {
            let path = pipe.path.display();
            let message = format!("{path}: exists and is not a FIFO; remove it, or set another `path` for this pipe");
            return Err(StartError::Configuration(message));
        }
    }
    Ok(())
}

/// Opens the ledger, and starts its thread.
pub(super) fn ledger(config: &Config) -> Result<Arc<Ledger>, StartError> {
    let failed = |error: io::Error| StartError::io(config.state.display(), &error);
    let keep = Keep { age: config.journal_keep, size: config.journal_max_size };
    let ledger = Ledger::open(&config.state, keep).map_err(failed)?;
    ledger.start().map_err(failed)?;
    Ok(ledger)
}

/// The lock of the server, which only one process has.
pub(super) fn lock(state: &Path) -> Result<Lock, StartError> {
    Lock::for_server(state).map_err(|held| match held {
        Held::Io(error) => StartError::io(state.join("lock").display(), &error),
        held => StartError::Temporary(format!("{}: {held}", state.display())),
    })
}

/// The socket of `mailbell status`: only the server's user and group may ask.
fn control(state: &Path) -> Result<Listener, StartError> {
    let path = monitor::control_socket(state);
    let control = without_umask(|| Listener::bind_unix(&path, 0o660, None));
    control.map_err(|error| StartError::io(path.display(), &error))
}

/// Binds the addresses of the configuration, and takes over the sockets that systemd has bound. Where systemd has bound one
/// for a protocol, the addresses of that protocol are not bound.
fn listeners(
    config: &Config,
    inherited: Vec<(std::os::fd::OwnedFd, String)>,
    owner: Option<Ids>,
) -> Result<Vec<(ListenerKind, Listener)>, StartError> {
    let mut listeners = Vec::new();
    for (socket, name) in inherited {
        let Some(kind) = ListenerKind::named(&name) else {
            let message = format!(
                "systemd handed over a socket named {name:?}; write a protocol, such as smtp, into FileDescriptorName="
            );
            return Err(StartError::Configuration(message));
        };
        let listener = Listener::inherit(socket).map_err(|error| StartError::io(format!("socket {name}"), &error))?;
        if kind == ListenerKind::Http && config.http.token_file.is_none() && Http::needs_token(listener.place()) {
            let message = format!(
                "systemd handed over {} for http, which other machines can reach; set `http.token_file`",
                listener.place()
            );
            return Err(StartError::Configuration(message));
        }
        listeners.push((kind, listener));
    }
    let opened: Vec<ListenerKind> = listeners.iter().map(|(kind, _)| *kind).collect();
    for (kind, _, place) in config.listeners().into_iter().filter(|(kind, ..)| !opened.contains(kind)) {
        let listener = match place {
            Place::Tcp(address) => Listener::bind_tcp(*address),
            // Postfix's client keeps no supplementary group; the folder keeps others out, as with Dovecot's socket.
            Place::Unix(path) => {
                Listener::bind_unix(path, if kind == ListenerKind::Lmtp { 0o666 } else { 0o660 }, owner)
            }
        };
        let listener = match listener {
            Err(error) if kind == ListenerKind::Http && config.file.is_none() => {
                log::warn!("the page is left out: http cannot listen on {place}: {error}");
                continue;
            }
            Err(_) if may_be_left_out(config, kind, place) => {
                log::warn!("{kind}: not listening on {place}: {}", listener::NO_FAMILY);
                continue;
            }
            listener => listener.map_err(|error| bind_failed(kind, place, &error))?,
        };
        listeners.push((kind, listener));
    }
    match local::listen(&config.state) {
        Ok(listener) => listeners.push((ListenerKind::Local, listener)),
        Err(error) => log::warn!("the socket for sendmail of local users is not there: {error}; they use smtp.listen"),
    }
    Ok(listeners)
}

/// A default address for which the kernel has no address family.
fn may_be_left_out(config: &Config, kind: ListenerKind, place: &Place) -> bool {
    let Place::Tcp(address) = place else { return false };
    let has_default = matches!(kind, ListenerKind::Smtp | ListenerKind::Pop3);
    has_default && config.is_default(&format!("{}.listen", kind.name())) && listener::has_no_family(*address)
}

fn bind_failed(kind: ListenerKind, place: &Place, error: &io::Error) -> StartError {
    match (error.kind(), place) {
        (_, Place::Tcp(address)) if listener::has_no_family(*address) => StartError::Configuration(format!(
            "{kind} cannot listen on {place}: {}; take it out of the configuration",
            listener::NO_FAMILY
        )),
        (io::ErrorKind::PermissionDenied, Place::Tcp(address)) if address.port() < 1024 => {
            StartError::Permission(format!(
                "{kind} cannot listen on {place}: {error}. Ports below 1024 need root, or `setcap \
                 cap_net_bind_service=+ep` on the binary, or systemd's sockets"
            ))
        }
        (io::ErrorKind::AddrInUse, _) => StartError::Temporary(format!(
            "{kind} cannot listen on {place}: another program listens there; stop it, or choose another port"
        )),
        _ => StartError::io(format!("{kind} cannot listen on {place}"), error),
    }
}
