//! The files of cursors: `STATE/cursors/`, and the second folder of version 0.1.0.
//!
//! Every file is opened below a descriptor of the folder and without following links: the process may be root's, and the
//! folder another user's.

use super::kept::Kept;
use rustix::fs::{AtFlags, FlockOperation, Gid, Mode, OFlags, Uid};
use rustix::fs::{fchown, flock, linkat, mkdirat, open, openat, renameat, statat, unlinkat};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// Longest file that is read, octets: more than a hook can have records begun.
const LONGEST: u64 = 64 * 1024;

/// A temporary file of this age is left from a process that was killed.
pub(super) const STALE: Duration = Duration::from_secs(60);

/// The folder of the cursors.
#[derive(Debug)]
pub(super) struct Folder {
    state: OwnedFd,
    pub(super) cursors: OwnedFd,
    /// The owner of the state folder. root gives its files to this user, which must read them at the next start.
    owner: Option<(Uid, Gid)>,
}

impl Folder {
    /// Without `create` it needs no right to list the state folder: where accounts lie in it, the workers' sandbox keeps
    /// them out of all but its subfolders.
    pub(super) fn open(state: &Path, create: bool) -> io::Result<Folder> {
        let how = if create { OFlags::empty() } else { OFlags::PATH };
        Folder::below(open(state, OFlags::DIRECTORY | OFlags::CLOEXEC | how, Mode::empty())?, create)
    }

    /// The folder at the same place, made again where it was removed.
    pub(super) fn again(&self) -> io::Result<Folder> {
        Folder::below(self.state.try_clone()?, true)
    }

    fn below(state: OwnedFd, create: bool) -> io::Result<Folder> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let metadata = rustix::fs::fstat(&state)?;
        let owner = (Uid::from_raw(metadata.st_uid), Gid::from_raw(metadata.st_gid));
        let owner = rustix::process::geteuid().is_root().then_some(owner);
        let below = |folder: &OwnedFd, name: &str| {
            if create && mkdirat(folder, name, Mode::from_raw_mode(0o750)).is_ok() {
                let made = openat(folder, name, flags | OFlags::NOFOLLOW, Mode::empty())?;
                if let Some((user, group)) = owner {
                    fchown(&made, Some(user), Some(group))?;
                }
                rustix::fs::fsync(folder)?;
            }
            openat(folder, name, flags | OFlags::NOFOLLOW, Mode::empty())
        };
        let cursors = below(&state, "cursors")?;
        Ok(Folder { state, cursors, owner })
    }

    /// Opens a cursor's file; `InvalidData` for what is no regular file.
    pub(super) fn open_file(&self, name: &str) -> io::Result<File> {
        open_regular(&self.cursors, &encode(name))
    }

    pub(super) fn is_in_place(&self, name: &str, file: &File) -> bool {
        let Ok(path) = statat(&self.cursors, encode(name), AtFlags::SYMLINK_NOFOLLOW) else { return false };
        file.metadata().is_ok_and(|file| (file.dev(), file.ino()) == (path.st_dev, path.st_ino))
    }

    /// What a cursor's file says. For a damaged file: what repeats most.
    pub(super) fn read(&self, name: &str, file: &File) -> io::Result<(Kept, Form)> {
        let mut text = Vec::new();
        file.take(LONGEST).read_to_end(&mut text)?;
        let mut form = Form::Current;
        let kept = Kept::parse(name, &text, || {
            form = Form::Old;
            self.tally(name)
        });
        Ok(kept.map_or_else(|damaged| (damaged, Form::Damaged), |kept| (kept, form)))
    }

    /// Renames something that has a cursor's name and is no regular file. A link is not followed. Later
    /// [`Folder::remove_stale`] removes it, unless it is a folder.
    pub(super) fn set_aside(&self, name: &str) -> io::Result<()> {
        Ok(renameat(&self.cursors, encode(name), &self.cursors, temporary_name())?)
    }

    /// The second file of a subscriber of version 0.1.0.
    fn tally(&self, name: &str) -> Option<Vec<u8>> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let folder = openat(&self.state, "tallies", flags, Mode::empty()).ok()?;
        let mut text = Vec::new();
        open_regular(&folder, &encode(name)).ok()?.take(LONGEST).read_to_end(&mut text).ok()?;
        Some(text)
    }

    /// Writes a damaged file, or one of version 0.1.0, in the form of this version; then the second file of that version
    /// goes.
    pub(super) fn take_over(&self, name: &str, kept: &Kept) -> io::Result<File> {
        let file = self.replace(name, &kept.text())?;
        rustix::fs::fsync(&self.cursors)?;
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        if let Ok(folder) = openat(&self.state, "tallies", flags, Mode::empty()) {
            let _ = unlinkat(&folder, encode(name), AtFlags::empty());
            // The last one takes the folder with it.
            let _ = unlinkat(&self.state, "tallies", AtFlags::REMOVEDIR);
        }
        Ok(file)
    }

    /// Makes a new cursor; `None` when another process has made it first.
    pub(super) fn create(&self, name: &str, kept: &Kept) -> io::Result<Option<File>> {
        let (temporary, file) = self.temporary(&kept.text())?;
        let made = linkat(&self.cursors, &temporary, &self.cursors, encode(name), AtFlags::empty());
        let _ = unlinkat(&self.cursors, &temporary, AtFlags::empty());
        match made {
            Ok(()) => {
                // Without its name it would begin at the journal's end again after a power cut.
                rustix::fs::fsync(&self.cursors)?;
                Ok(Some(file))
            }
            Err(Errno::EXIST) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Puts a new file in the place of the cursor's, locked, as the old one is. That the rename is not synced does not
    /// matter: after a power cut an older cursor only repeats.
    pub(super) fn replace(&self, name: &str, text: &str) -> io::Result<File> {
        let (temporary, file) = self.temporary(text)?;
        if let Err(error) = renameat(&self.cursors, &temporary, &self.cursors, encode(name)) {
            let _ = unlinkat(&self.cursors, &temporary, AtFlags::empty());
            return Err(error.into());
        }
        Ok(file)
    }

    /// A locked file of a name that no cursor has; its content is safe on disk.
    fn temporary(&self, text: &str) -> io::Result<(String, File)> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (name, mut file) = loop {
            let name = temporary_name();
            match openat(&self.cursors, &name, flags, Mode::from_raw_mode(0o640)) {
                // A process with the same number, in another container or before.
                Err(Errno::EXIST) => {}
                other => break (name, File::from(other?)),
            }
        };
        let written = (|| {
            flock(&file, FlockOperation::NonBlockingLockExclusive)?;
            if let Some((user, group)) = self.owner {
                fchown(&file, Some(user), Some(group))?;
            }
            file.write_all(text.as_bytes())?;
            file.sync_data()
        })();
        if let Err(error) = written {
            let _ = unlinkat(&self.cursors, &name, AtFlags::empty());
            return Err(error);
        }
        Ok((name, file))
    }
}

/// A name that no cursor has.
fn temporary_name() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    format!(".{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// The form of a cursor's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Current,
    /// As version 0.1.0 wrote it.
    Old,
    Damaged,
}

/// Opens a regular file to read it; anything else is `InvalidData`. It does not block, whatever is there.
fn open_regular(folder: &OwnedFd, name: &str) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let no_file = || io::Error::new(io::ErrorKind::InvalidData, "not a regular file");
    let file = match openat(folder, name, flags, Mode::empty()) {
        // A link, and a socket.
        Err(Errno::LOOP | Errno::NXIO) => return Err(no_file()),
        opened => File::from(opened?),
    };
    if file.metadata()?.is_file() { Ok(file) } else { Err(no_file()) }
}

/// Every cursor and what it says, without holding them; for `status`. One that cannot be read is logged and left out.
///
/// # Errors
///
/// When the folder is there and cannot be read.
pub fn cursors(state: &Path) -> io::Result<Vec<(String, Kept)>> {
    let folder = match Folder::open(state, false) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut found = Vec::new();
    for name in folder.names()? {
        match folder.open_file(&name).and_then(|file| folder.read(&name, &file)) {
            Ok((kept, _)) => found.push((name, kept)),
            // It may be replaced between the look and the opening.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => log::warn!("cursor {name}: {error}"),
        }
    }
    found.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(found)
}

impl Folder {
    /// The names of the cursors.
    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.cursors)? {
            let entry = entry?;
            if let Ok(name) = entry.file_name().to_str()
                && !name.starts_with('.')
            {
                names.push(decode(name));
            }
        }
        Ok(names)
    }

    /// Removes temporary files that a killed process left.
    pub(super) fn remove_stale(&self) {
        let Ok(entries) = rustix::fs::Dir::read_from(&self.cursors) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let is_temporary = name.to_bytes().starts_with(b".") && ![c".", c".."].contains(&name);
            let is_stale = || {
                let modified = statat(&self.cursors, name, AtFlags::SYMLINK_NOFOLLOW).ok()?.st_mtime;
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
                Some(now.saturating_sub(u64::try_from(modified).ok()?) > STALE.as_secs())
            };
            if is_temporary && is_stale().unwrap_or(false) {
                let _ = unlinkat(&self.cursors, name, AtFlags::empty());
            }
        }
    }
}

/// Any name as a file name: octets that are not known to be harmless become `%XX`.
pub fn encode(name: &str) -> String {
    let mut text = String::new();
    for octet in name.bytes() {
        if octet.is_ascii_alphanumeric() || b"_-+@:".contains(&octet) || (octet == b'.' && !text.is_empty()) {
            text.push(octet.into());
        } else {
            text += &format!("%{octet:02X}");
        }
    }
    text
}

fn decode(text: &str) -> String {
    let mut octets = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        let hex = |digit: &u8| char::from(*digit).to_digit(16);
        match tail {
            [high, low, after @ ..] if *first == b'%' && hex(high).is_some() && hex(low).is_some() => {
                octets.push((hex(high).unwrap_or(0) * 16 + hex(low).unwrap_or(0)) as u8);
                rest = after;
            }
            _ => octets.push(*first),
        }
    }
    String::from_utf8_lossy(&octets).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_and_stay_in_their_folder() {
        for name in ["pipe:/run/mail/notify", "..", ".hidden", "ä b", "100%", "a%2Fb", ""] {
            let encoded = encode(name);
            assert!(!encoded.contains('/') && !encoded.starts_with('.'), "{encoded}");
            assert_eq!(decode(&encoded), name);
        }
    }
}
