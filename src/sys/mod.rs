//! The operating system, where std and rustix have no safe call: signals, users and rights, inherited sockets, leases,
//! the C heap; and the two things that need care everywhere: folders of other users, and locks.
//!
//! This is the only room with `unsafe` code. Each such block says why it is sound, and its function is safe to call.
#![allow(unsafe_code)]

mod child;
pub mod folder;
pub mod landlock;
mod limits;
mod lock;
mod regular;
mod tcp_users;
mod unsent;
mod wake;

pub use child::{collect_orphans, collected, keep_capabilities, keep_descriptors, limit_open_files, spawn};
pub use limits::{drop_capabilities, forbid_core_dumps, original_nofile, raise_nofile, survive_file_size_limit};
pub use lock::{hold, lock};
pub use regular::read_regular;
pub use tcp_users::TcpUsers;
pub use unsent::unsent;
pub use wake::{Orders, Wake, poll};

use std::collections::HashMap;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicI32, Ordering};

/// Write end of the signal pipe; -1 before [`signals`].
static SIGNAL_PIPE: AtomicI32 = AtomicI32::new(-1);

extern "C" fn on_signal(number: libc::c_int) {
    let octet = number as u8;
    // SAFETY: write(2) is async-signal-safe; errno is saved because the interrupted code may be about to read it.
    unsafe {
        let errno = *libc::__errno_location();
        libc::write(SIGNAL_PIPE.load(Ordering::Relaxed), (&raw const octet).cast(), 1);
        *libc::__errno_location() = errno;
    }
}

/// Turns SIGTERM, SIGINT and SIGHUP into octets (the signal's number) on the returned pipe, which does not block.
///
/// # Errors
///
/// When the pipe cannot be made or a handler cannot be set.
pub fn signals() -> io::Result<OwnedFd> {
    use rustix::pipe::{PipeFlags, pipe_with};
    let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    SIGNAL_PIPE.store(write.as_raw_fd(), Ordering::Relaxed);
    // The handler may run until the process ends, so its end of the pipe stays open until then.
    std::mem::forget(write);
    for number in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        // SAFETY: the structure is plain data, for which all zeroes is valid; the handler is async-signal-safe.
        let done = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_signal as extern "C" fn(libc::c_int) as libc::sighandler_t;
            action.sa_flags = libc::SA_RESTART;
            libc::sigaction(number, &action, std::ptr::null_mut())
        };
        if done != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(read)
}

/// Numeric ids of a user, from the system's user database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// User id.
    pub uid: u32,
    /// The user's own group, or the group that was asked for.
    pub gid: u32,
}

/// Looks up `user`, and `group` where one is given; `Ok(None)` when the system knows no such user or group.
///
/// # Errors
///
/// When the user database cannot be read.
pub fn look_up(user: &str, group: Option<&str>) -> io::Result<Option<Ids>> {
    let (Some(user), Ok(group)) = (user_entry(&Key::Name(user))?, group.map(CString::new).transpose()) else {
        return Ok(None);
    };
    let mut ids = user.ids;
    let Some(group) = group else { return Ok(Some(ids)) };
    let mut buffer = vec![0_u8; ENTRY];
    // SAFETY: as in `user_entry`.
    unsafe {
        let mut entry: libc::group = std::mem::zeroed();
        let mut found = std::ptr::null_mut();
        match libc::getgrnam_r(group.as_ptr(), &mut entry, buffer.as_mut_ptr().cast(), buffer.len(), &mut found) {
            0 if found.is_null() => return Ok(None),
            0 => ids.gid = entry.gr_gid,
            errno => return Err(io::Error::from_raw_os_error(errno)),
        }
    }
    Ok(Some(ids))
}

/// The name of the user with this id; `None` where the user database has none.
pub fn user_name(uid: u32) -> Option<String> {
    user_entry(&Key::Uid(uid)).ok()??.name.into_string().ok()
}

/// The users in `/etc/passwd`, by id; of several with one id the first. Empty where it cannot be read.
pub fn users() -> HashMap<u32, String> {
    let text = read_regular(Path::new("/etc/passwd"), 4 << 20).unwrap_or_default();
    let mut users = HashMap::new();
    for line in String::from_utf8_lossy(&text).lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(Ok(uid))) = (fields.next(), fields.nth(1).map(str::parse)) {
            users.entry(uid).or_insert_with(|| name.to_owned());
        }
    }
    users
}

/// Octets that an entry of the user database may take.
const ENTRY: usize = 16 * 1024;

/// An entry of the user database.
struct User {
    ids: Ids,
    name: OsString,
    home: OsString,
}

/// Which entry is looked for.
enum Key<'a> {
    Name(&'a str),
    Uid(u32),
}

fn user_entry(key: &Key<'_>) -> io::Result<Option<User>> {
    let name = match key {
        Key::Name(name) => CString::new(*name),
        Key::Uid(_) => Ok(CString::default()),
    };
    let Ok(name) = name else { return Ok(None) };
    let mut buffer = vec![0_u8; ENTRY];
    let (space, length) = (buffer.as_mut_ptr().cast(), buffer.len());
    // SAFETY: the call writes only into the structure and the buffer that it is given with its true length, and the
    // results are read only when it says that it found something.
    unsafe {
        let mut entry: libc::passwd = std::mem::zeroed();
        let mut found = std::ptr::null_mut();
        let errno = match key {
            Key::Name(_) => libc::getpwnam_r(name.as_ptr(), &mut entry, space, length, &mut found),
            Key::Uid(uid) => libc::getpwuid_r(*uid, &mut entry, space, length, &mut found),
        };
        match errno {
            0 if found.is_null() => return Ok(None),
            0 => {}
            errno => return Err(io::Error::from_raw_os_error(errno)),
        }
        let text = |text: *const libc::c_char| OsStr::from_bytes(CStr::from_ptr(text).to_bytes()).to_owned();
        let ids = Ids { uid: entry.pw_uid, gid: entry.pw_gid };
        Ok(Some(User { ids, name: text(entry.pw_name), home: text(entry.pw_dir) }))
    }
}

/// Sets HOME, USER and LOGNAME to a user's, for the programs that this process will run. To be called before it has
/// threads. A user without an entry in the user database changes nothing.
///
/// # Errors
///
/// When the user database cannot be read.
pub fn take_environment_of(ids: Ids) -> io::Result<()> {
    let Some(user) = user_entry(&Key::Uid(ids.uid))? else { return Ok(()) };
    for (name, value) in [("HOME", &user.home), ("USER", &user.name), ("LOGNAME", &user.name)] {
        // SAFETY: this is the only thread, so that no other one reads the environment meanwhile.
        unsafe { std::env::set_var(name, value) };
    }
    Ok(())
}

/// Becomes another user permanently: no supplementary groups, then group, then user, in all threads.
///
/// # Errors
///
/// When the system refuses, or when the process could take the old rights back; the caller must end then.
pub fn become_user(ids: Ids) -> io::Result<()> {
    // SAFETY: the three calls take plain numbers and an empty list.
    let dropped = unsafe {
        libc::setgroups(0, std::ptr::null()) == 0 && libc::setgid(ids.gid) == 0 && libc::setuid(ids.uid) == 0
    };
    if !dropped {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: as above. If this succeeds, the change above was not permanent.
    if ids.uid != 0 && unsafe { libc::setuid(0) } == 0 {
        return Err(io::Error::other("root's rights could be taken back after the drop"));
    }
    Ok(())
}

/// Does the work with the rights of another user, in a thread of its own: on Linux each thread has its own rights.
///
/// # Errors
///
/// When the system refuses the change; the work is not done then.
pub fn as_user<T: Send>(ids: Ids, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    use rustix::fs::{Gid, Uid};
    use rustix::thread::{set_thread_gid, set_thread_groups, set_thread_uid};
    let with_their_rights = || {
        set_thread_groups(&[])?;
        set_thread_gid(Gid::from_raw(ids.gid))?;
        set_thread_uid(Uid::from_raw(ids.uid))?;
        Ok(work())
    };
    std::thread::scope(|scope| scope.spawn(with_their_rights).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Whether another process has a file open for writing that is open here for reading only. `None` when the system does not
/// tell: the file is another user's, or its file system has no leases.
///
/// The kernel gives a read lease (fcntl(2)) only on a file that no process writes. It is given back at once; a process that
/// opens the file meanwhile waits for that long.
pub fn has_writer(file: &impl AsRawFd) -> Option<bool> {
    // From linux/fcntl.h; libc has them for some targets only.
    const F_SETSIG: libc::c_int = 10;
    const F_SETLEASE: libc::c_int = 1024;
    let fd = file.as_raw_fd();
    // SAFETY: plain numbers, and a descriptor that its owner keeps open during the calls.
    unsafe {
        // When a process opens the file in that moment, the kernel sends us a signal: SIGURG, which is ignored, and not
        // SIGIO, which would end the process.
        if libc::fcntl(fd, F_SETSIG, libc::SIGURG) != 0 {
            return None;
        }
        if libc::fcntl(fd, F_SETLEASE, libc::F_RDLCK) == 0 {
            libc::fcntl(fd, F_SETLEASE, libc::F_UNLCK);
            return Some(false);
        }
    }
    (io::Error::last_os_error().raw_os_error() == Some(libc::EAGAIN)).then_some(true)
}

/// The sockets that systemd handed over (sd_listen_fds(3)), each with its name, `""` where it has none.
///
/// To be called once, before there are threads: the descriptors belong to the result.
pub fn inherited_sockets() -> Vec<(OwnedFd, String)> {
    const FIRST: RawFd = 3;
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<i32>().ok());
    if number("LISTEN_PID") != Some(std::process::id() as i32) {
        return Vec::new();
    }
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    (FIRST..FIRST.saturating_add(number("LISTEN_FDS").unwrap_or(0).clamp(0, 64)))
        .filter_map(|fd| {
            let name = names.next().unwrap_or_default().to_owned();
            // SAFETY: fcntl on any number is harmless. The descriptor is this process's, because LISTEN_PID names it, and
            // systemd has opened it before anything in this process opened a file.
            unsafe { (libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) == 0).then(|| (OwnedFd::from_raw_fd(fd), name)) }
        })
        .collect()
}

/// Tells the C heap that this process has many small threads: two arenas instead of eight a core.
///
/// Without this, glibc gives each thread that allocates an arena of its own, and idle sessions take several times the
/// memory.
pub fn tune_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt takes two numbers, and no other thread runs yet.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 64 * 1024);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 128 * 1024);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_known_and_nonsense_is_not() {
        assert_eq!(look_up("root", None).unwrap(), Some(Ids { uid: 0, gid: 0 }));
        assert_eq!(look_up("root", Some("daemon")).unwrap().map(|ids| ids.uid), Some(0));
        assert_eq!(look_up("no-such-user-here", None).unwrap(), None);
        assert_eq!(look_up("root", Some("no-such-group")).unwrap(), None);
        assert_eq!(look_up("ro\0ot", None).unwrap(), None);
        assert_eq!(users().get(&0).map(String::as_str), Some("root"));
    }

    #[test]
    fn a_writer_is_found_out_and_does_not_notice() {
        use std::fs::File;
        let path = std::env::temp_dir().join(format!("mailbell-writer-{}", std::process::id()));
        let writer = File::create(&path).unwrap();
        let reader = File::open(&path).unwrap();
        assert_eq!(has_writer(&reader), Some(true));
        drop(writer);
        assert_eq!(has_writer(&reader), Some(false));
        // A process that opens the file in the moment of the lease gets it, and no signal ends this one.
        std::thread::scope(|scope| {
            let opener =
                scope.spawn(|| (0..2_000).for_each(|_| drop(File::options().write(true).open(&path).unwrap())));
            while !opener.is_finished() {
                assert!(has_writer(&reader).is_some());
            }
        });
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_signal_becomes_an_octet() {
        use std::io::Read;
        let mut pipe = std::fs::File::from(signals().unwrap());
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::HUP).unwrap();
        let mut octet = [0];
        for _ in 0..100 {
            match pipe.read(&mut octet) {
                Ok(1) => break,
                _ => std::thread::sleep(std::time::Duration::from_millis(10)),
            }
        }
        assert_eq!(i32::from(octet[0]), libc::SIGHUP);
    }
}
