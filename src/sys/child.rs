//! Starting programs: what they inherit, and how processes without a waiting parent are collected.

use super::limits::clear_ambient;
use super::lock;
use rustix::process::{Pid, Resource, Rlimit, WaitOptions, setrlimit, waitpid};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// How long to wait for a change that may come without a notice: processes of other programs begin and end too.
const LOOK: Duration = Duration::from_secs(60);

/// The children that a thread of this process waits for. PID 1 alone keeps this list.
static OURS: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// `OURS` has changed.
static CHANGED: Condvar = Condvar::new();

fn ours() -> MutexGuard<'static, Vec<u32>> {
    lock(&OURS)
}

fn is_init() -> bool {
    std::process::id() == 1
}

/// Starts a program. After its end was waited for, [`collected`] must be called.
///
/// # Errors
///
/// When it cannot be started.
pub fn spawn(command: &mut Command) -> io::Result<Child> {
    // The list is locked meanwhile, so that a child that ends at once is on it before another thread reads it.
    let mut ours = is_init().then(ours);
    let child = command.spawn()?;
    if let Some(ours) = &mut ours {
        ours.push(child.id());
        CHANGED.notify_all();
    }
    Ok(child)
}

/// The end of this child was waited for.
pub fn collected(child: &Child) {
    if is_init() {
        ours().retain(|pid| *pid != child.id());
        CHANGED.notify_all();
    }
}

/// Collects, in a thread, the processes that became children of this one because their parent has ended, where this is
/// PID 1 (in a container). Elsewhere it does nothing. To be called once.
///
/// # Errors
///
/// When there is no thread left.
pub fn collect_orphans() -> io::Result<()> {
    if is_init() {
        std::thread::Builder::new().name("orphans".into()).stack_size(64 * 1024).spawn(|| {
            loop {
                collect_next();
            }
        })?;
    }
    Ok(())
}

fn collect_next() {
    match next_zombie() {
        Ok(pid) => {
            let ours = ours();
            if ours.contains(&(pid as u32)) {
                // Its own thread collects it, and says so.
                drop(CHANGED.wait_timeout(ours, LOOK));
            } else {
                let _ = waitpid(Pid::from_raw(pid), WaitOptions::NOHANG);
            }
        }
        // No children: wait for the first one.
        Err(_) => drop(CHANGED.wait_timeout(ours(), LOOK)),
    }
}

/// Waits for the end of any child, without collecting it.
fn next_zombie() -> io::Result<i32> {
    // SAFETY: the structure is plain data, for which all zeroes is valid; the call writes into it and nowhere else, and
    // its number is read only after success, when it is one of a child.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        match libc::waitid(libc::P_ALL, 0, &mut info, libc::WEXITED | libc::WNOWAIT) {
            0 => Ok(info.si_pid()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Gives a program another limit of open files than this process has.
pub fn limit_open_files(command: &mut Command, limit: Rlimit) {
    // SAFETY: between fork(2) and exec(2) only setrlimit(2) is called, which is async-signal-safe; nothing is allocated.
    unsafe { command.pre_exec(move || Ok(setrlimit(Resource::Nofile, limit)?)) };
}

/// Descriptors that this process was started with are closed in the programs that it starts; its own are anyway.
pub fn keep_descriptors() {
    const FIRST: libc::c_uint = 3;
    // From linux/close_range.h; libc has it for some targets only.
    const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;
    // SAFETY: plain numbers; the flag is set on descriptors, and none is closed. Kernels before 5.11 refuse it.
    unsafe { libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, CLOSE_RANGE_CLOEXEC) };
}

/// Programs that this thread starts get none of its capabilities, such as the one that systemd gives for port 25.
///
/// # Errors
///
/// When the kernel has capabilities and refuses.
pub fn keep_capabilities() -> io::Result<()> {
    clear_ambient()?;
    let sets = capabilities(None)?;
    if !sets.inheritable.is_empty() {
        set_capabilities(None, CapabilitySets { inheritable: CapabilitySet::empty(), ..sets })?;
    }
    Ok(())
}
