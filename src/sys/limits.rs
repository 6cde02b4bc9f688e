//! What the system lets this process do: open files, file sizes, capabilities.

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, set_capabilities};
use std::io;
use std::sync::OnceLock;

static ORIGINAL_NOFILE: OnceLock<Rlimit> = OnceLock::new();

/// Raises the soft limit of open files to the hard one. Programs that are started later need [`original_nofile`]: many
/// old ones use select(2) and fail with descriptors above 1,023.
pub fn raise_nofile() {
    let limit = getrlimit(Resource::Nofile);
    let original = ORIGINAL_NOFILE.get_or_init(|| limit);
    if original.current != original.maximum {
        let raised = Rlimit { current: original.maximum, maximum: original.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            log::warn!("RLIMIT_NOFILE: the limit of open files cannot be raised: {error}");
        }
    }
}

/// The limit of open files before [`raise_nofile`], for the programs that this process starts; `None` when it was not
/// raised.
pub fn original_nofile() -> Option<Rlimit> {
    ORIGINAL_NOFILE.get().copied()
}

/// No core file of this process: its memory holds passwords, tokens and mail. Programs that it starts later inherit that.
pub fn forbid_core_dumps() {
    let none = Rlimit { current: Some(0), maximum: getrlimit(Resource::Core).maximum };
    if let Err(error) = setrlimit(Resource::Core, none) {
        log::warn!("RLIMIT_CORE: core files cannot be forbidden: {error}");
    }
}

extern "C" fn ignore(_: libc::c_int) {}

/// Makes a write beyond RLIMIT_FSIZE fail with EFBIG instead of ending the process. A handler does it and not SIG_IGN,
/// which the programs that this process starts would inherit.
///
/// # Errors
///
/// As sigaction(2) says.
pub fn survive_file_size_limit() -> io::Result<()> {
    // SAFETY: the handler does nothing, so it may run at any time, and it lives as long as the process.
    match unsafe { libc::signal(libc::SIGXFSZ, ignore as extern "C" fn(libc::c_int) as libc::sighandler_t) } {
        libc::SIG_ERR => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Programs that are started get no capability but those of their files.
pub(super) fn clear_ambient() -> io::Result<()> {
    match clear_ambient_capability_set() {
        // Kernels before 4.3 know no ambient set.
        Ok(()) | Err(Errno::INVAL | Errno::NOSYS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Gives up every capability, also those that programs started later would inherit. To be called before there are
/// threads: each has its own. The bounding set stays: without it a hook could not use sudo(8), which is for its operator
/// to forbid.
///
/// # Errors
///
/// As capset(2) and prctl(2) say.
pub fn drop_capabilities() -> io::Result<()> {
    let none = CapabilitySet::empty();
    let own = capabilities(None)?;
    if (own.effective | own.permitted | own.inheritable).is_empty() {
        return Ok(());
    }
    clear_ambient()?;
    Ok(set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?)
}
