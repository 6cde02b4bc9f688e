//! The operating system where std and rustix have no safe call: signals, privileges, inherited sockets, leases, C heap.
//!
//! The only room with `unsafe` in it. Everything here is small, says why it is sound, and offers a safe face.
#![allow(unsafe_code)]

mod child;
pub mod landlock;
mod limits;
mod wake;

pub use child::{collect_orphans, collected, keep_capabilities, keep_descriptors, limit_open_files, spawn};
pub use limits::{drop_capabilities, original_nofile, raise_nofile, survive_file_size_limit};
pub use wake::Wake;

use std::ffi::{CStr, CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
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
    /// The user's own group, or the group asked for.
    pub gid: u32,
}

/// Looks `user` up, and `group` where given; `Ok(None)` when the system knows no such user or group.
///
/// # Errors
///
/// When the user database cannot be read.
pub fn look_up(user: &str, group: Option<&str>) -> io::Result<Option<Ids>> {
    let (Some((mut ids, _)), Ok(group)) = (user_entry(user)?, group.map(CString::new).transpose()) else {
        return Ok(None);
    };
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

/// Octets that an entry of the user database may take.
const ENTRY: usize = 16 * 1024;

/// A user's ids and home.
fn user_entry(user: &str) -> io::Result<Option<(Ids, OsString)>> {
    let Ok(user) = CString::new(user) else { return Ok(None) };
    let mut buffer = vec![0_u8; ENTRY];
    // SAFETY: the call writes only into the structure and the buffer that it is given with its true length, and the
    // results are read only when it says that it found something.
    unsafe {
        let mut entry: libc::passwd = std::mem::zeroed();
        let mut found = std::ptr::null_mut();
        match libc::getpwnam_r(user.as_ptr(), &mut entry, buffer.as_mut_ptr().cast(), buffer.len(), &mut found) {
            0 if found.is_null() => return Ok(None),
            0 => {}
            errno => return Err(io::Error::from_raw_os_error(errno)),
        }
        let home = OsStr::from_bytes(CStr::from_ptr(entry.pw_dir).to_bytes()).to_owned();
        Ok(Some((Ids { uid: entry.pw_uid, gid: entry.pw_gid }, home)))
    }
}

/// Sets HOME, USER and LOGNAME to a user's, for the programs that this process will run. To be called before it has
/// threads.
///
/// # Errors
///
/// When the user database cannot be read.
pub fn take_environment_of(user: &str) -> io::Result<()> {
    let Some((_, home)) = user_entry(user)? else { return Ok(()) };
    for (name, value) in [("HOME", home.as_os_str()), ("USER", user.as_ref()), ("LOGNAME", user.as_ref())] {
        // SAFETY: this is the only thread, so that no other one reads the environment meanwhile.
        unsafe { std::env::set_var(name, value) };
    }
    Ok(())
}

/// Becomes another user for good: no supplementary groups, then group, then user, in all threads.
///
/// # Errors
///
/// When the system refuses, or when the old rights could be taken back, which must end the start.
pub fn become_user(ids: Ids) -> io::Result<()> {
    // SAFETY: the three calls take plain numbers and an empty list.
    let dropped = unsafe {
        libc::setgroups(0, std::ptr::null()) == 0 && libc::setgid(ids.gid) == 0 && libc::setuid(ids.uid) == 0
    };
    if !dropped {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: as above. Succeeding here would mean that the drop above was not final.
    if ids.uid != 0 && unsafe { libc::setuid(0) } == 0 {
        return Err(io::Error::other("root's rights could be taken back after the drop"));
    }
    // A process that changed its user is no longer dumpable, and then its own /proc entries belong to root.
    Ok(())
}

/// Whether anybody has a file open for writing that is open here for reading only. `None` where that cannot be known: the
/// file is another user's, or its file system knows no leases.
///
/// A read lease (fcntl(2)) is given on a file only while nobody writes it. It is given back at once; who opens the file
/// meanwhile waits for that long.
pub fn has_writer(file: &impl AsRawFd) -> Option<bool> {
    // From linux/fcntl.h; libc has them for some targets only.
    const F_SETSIG: libc::c_int = 10;
    const F_SETLEASE: libc::c_int = 1024;
    let fd = file.as_raw_fd();
    // SAFETY: plain numbers, and a descriptor that its owner keeps open during the calls.
    unsafe {
        // Who opens the file in that moment has a signal sent to us: not SIGIO, which would end the process, but one that
        // nobody notices.
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
/// Call it once, before any thread starts: it takes the descriptors over.
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
            // SAFETY: fcntl on any number is harmless; the descriptor is ours by the protocol that LISTEN_PID confirms,
            // and nothing in this process has opened files before this is called.
            unsafe { (libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) == 0).then(|| (OwnedFd::from_raw_fd(fd), name)) }
        })
        .collect()
}

/// Tells the C heap that this process has many small threads: two arenas instead of eight a core.
///
/// Without it, glibc gives each thread that allocates an arena of its own, and idle sessions cost several times more.
pub fn tune_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt takes two numbers, and no other thread runs yet.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 64 * 1024);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 128 * 1024);
    }
}

/// Gives the pages back that deeper calls of this thread have used, below what it uses now. A session that waits for its
/// client keeps what its log-in took of the stack otherwise, one or two pages for each of a thousand.
///
/// Only for threads with [`WORKER_STACK`](crate::limits::WORKER_STACK) or more that are not deep in it.
pub fn release_stack() {
    /// Below this frame: its red zone and the frame of madvise(2)'s wrapper, with room to spare.
    const SLACK: usize = 512;
    /// Deeper than this no call has gone that matters.
    const DEPTH: usize = 64 * 1024;
    let here = 0_u8;
    // SAFETY: sysconf takes a number. Linux always knows its page size.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(DEPTH);
    let end = ((&raw const here).addr() - SLACK) / page * page;
    // SAFETY: nothing lives below the stack pointer but the slack, the pages are this thread's own since its stack is
    // several times as large as what is used of it and DEPTH together, and they read as zeroes when they are used again.
    unsafe { libc::madvise((end - DEPTH) as *mut libc::c_void, DEPTH, libc::MADV_DONTNEED) };
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
    }

    #[test]
    fn a_thread_goes_on_after_it_released_its_stack() {
        /// Writes over some of the stack, and tells what it found.
        fn deep(levels: u64) -> u64 {
            let frame = std::hint::black_box([levels; 100]);
            if levels == 0 { frame[99] } else { frame[99] + deep(levels - 1) }
        }
        let thread = std::thread::Builder::new().stack_size(crate::limits::WORKER_STACK).spawn(|| {
            let before = std::hint::black_box([7_u8; 300]);
            for _ in 0..100 {
                assert_eq!(deep(50), 1275);
                release_stack();
            }
            before
        });
        assert_eq!(thread.unwrap().join().unwrap(), [7; 300]);
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
        // Whoever opens it in the moment of the lease gets it, and nobody is killed.
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
