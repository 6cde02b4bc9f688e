//! The three system calls of landlock(7), for which neither libc nor rustix has a wrapper. The numbers are those of the
//! kernel's `include/uapi/linux/landlock.h`.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// ABI 2 allows renames and links between folders; a delivery needs them.
const OLDEST: i64 = 2;
/// ABI 3 knows truncation.
const TRUNCATE: i64 = 3;
/// ABI 4 knows TCP.
const TCP: i64 = 4;

mod right {
    pub const EXECUTE: u64 = 1 << 0;
    pub const TRUNCATE: u64 = 1 << 14;
    /// Everything of ABI 2: bits 0 to 13.
    pub const ABI_2: u64 = (1 << 14) - 1;
    /// Bind and connect.
    pub const TCP: u64 = 0b11;
}

#[repr(C)]
struct RulesetAttr {
    handled_access_fs: u64,
    handled_access_net: u64,
}

#[repr(C, packed)]
struct PathBeneathAttr {
    allowed_access: u64,
    parent_fd: i32,
}

/// A set of rules, before and after a thread is held to them.
#[derive(Debug)]
pub struct Ruleset {
    fd: OwnedFd,
    handled: u64,
}

fn abi() -> i64 {
    const VERSION: libc::c_uint = 1;
    // SAFETY: with this flag the call reads no memory and answers with a number.
    unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0_usize, VERSION) as i64 }
}

/// Whether the rules forbid TCP sockets too.
#[cfg(test)]
pub fn holds_tcp() -> bool {
    abi() >= TCP
}

fn checked(result: libc::c_long) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

impl Ruleset {
    /// Rules that allow nothing; `None` where the kernel has no Landlock, or one that is too old.
    ///
    /// # Errors
    ///
    /// As landlock_create_ruleset(2) says.
    pub fn new() -> io::Result<Option<Ruleset>> {
        let abi = abi();
        if abi < OLDEST {
            return Ok(None);
        }
        let handled = right::ABI_2 | if abi >= TRUNCATE { right::TRUNCATE } else { 0 };
        let attr =
            RulesetAttr { handled_access_fs: handled, handled_access_net: if abi >= TCP { right::TCP } else { 0 } };
        // Older kernels know a shorter structure.
        let size = if abi >= TCP { size_of::<RulesetAttr>() } else { size_of::<u64>() };
        // SAFETY: the structure outlives the call and is as long as `size` says; the result is a descriptor that this process owns.
        unsafe {
            let fd = checked(libc::syscall(libc::SYS_landlock_create_ruleset, &raw const attr, size, 0_u32))?;
            Ok(Some(Ruleset { fd: OwnedFd::from_raw_fd(fd), handled }))
        }
    }

    /// Allows everything but execution in a folder and below it.
    ///
    /// # Errors
    ///
    /// When the path cannot be opened, or as landlock_add_rule(2) says.
    pub fn allow(&self, folder: &Path) -> io::Result<()> {
        const PATH_BENEATH: libc::c_int = 1;
        let file = OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(folder)?;
        let attr = PathBeneathAttr { allowed_access: self.handled & !right::EXECUTE, parent_fd: file.as_raw_fd() };
        // SAFETY: the structure and both descriptors outlive the call.
        unsafe {
            checked(libc::syscall(
                libc::SYS_landlock_add_rule,
                self.fd.as_raw_fd(),
                PATH_BENEATH,
                &raw const attr,
                0_u32,
            ))
        }
        .map(drop)
    }

    /// Holds the calling thread, and every thread and process that it starts from now on, to the rules. It cannot be undone.
    ///
    /// # Errors
    ///
    /// As prctl(2) and landlock_restrict_self(2) say.
    pub fn restrict_self(&self) -> io::Result<()> {
        // SAFETY: both calls take numbers and a descriptor that this process owns.
        unsafe {
            if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 {
                return Err(io::Error::last_os_error());
            }
            checked(libc::syscall(libc::SYS_landlock_restrict_self, self.fd.as_raw_fd(), 0_u32)).map(drop)
        }
    }
}
