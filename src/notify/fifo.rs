//! The writer's side of a FIFO in the file system: it is made or opened, written without blocking, measured and emptied,
//! and its removal is noticed. Which lines are in it is not known here.
//!
//! Two descriptors are held, one to read and one to write, both non-blocking: the first keeps what was written from being
//! lost while there is no reader, the second keeps `cat` from seeing an end of file. While the first is closed for a
//! moment, poll(2) on the second tells whether another process has it open to read (pipe(7)).

use super::command::SPAWNING;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, inotify, mkfifoat, open};
use rustix::io::{Errno, ioctl_fionread};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, tee};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

/// What a pipe may hold, octets: the most that the kernel gives without privilege (pipe(7), pipe-max-size). A pipe that
/// has it and is not new was held open by a reader since an earlier server made it so: a new one has 64 KiB.
const CAPACITY: usize = 1024 * 1024;

/// An open FIFO.
#[derive(Debug)]
pub(super) struct Fifo {
    path: PathBuf,
    /// `None` only while [`Fifo::has_reader`] looks.
    read: Option<File>,
    write: File,
    identity: (u64, u64),
    /// Tells when a process read, closed, moved or removed the FIFO. `None` without inotify: then ask now and then.
    events: Option<OwnedFd>,
}

/// What [`Fifo::drain_events`] saw.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// A process read or closed it.
    pub(super) read: bool,
    /// It may not be where it was.
    pub(super) moved: bool,
}

/// What was in a FIFO when it was opened.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// No process held it, so nothing is left of its last writer.
    New,
    /// A reader has held it since the last writer, and has not read this yet. `None` when it cannot be looked at.
    Old(Option<Vec<u8>>),
}

impl Fifo {
    /// Opens the FIFO at `path`, and makes it with `mode` where there is none; its folder too. One that is there is taken
    /// as it is.
    ///
    /// # Errors
    ///
    /// When it cannot be made or opened, or when something else is there.
    pub(super) fn open(path: &Path, mode: u32) -> io::Result<(Fifo, Found)> {
        let made = make(path)?;
        // Before it is opened: opening a device has effects.
        if !fs::metadata(path)?.file_type().is_fifo() {
            return Err(io::Error::other("there is something here that is no FIFO"));
        }
        let read = open_end(path, OFlags::RDONLY)?;
        if made {
            // mkfifo(3) applied the umask.
            read.set_permissions(fs::Permissions::from_mode(mode))?;
        }
        let write = open_end(path, OFlags::WRONLY)?;
        let identity = identity(&write.metadata()?);
        let survived = fcntl_getpipe_size(&read)? == CAPACITY || ioctl_fionread(&read)? > 0;
        let found = if survived { Found::Old(peek(&read).ok()) } else { Found::New };
        // If the kernel refuses, the pipe is smaller and holds fewer lines.
        let _ = fcntl_setpipe_size(&write, CAPACITY);
        Ok((Fifo { path: path.to_owned(), read: Some(read), write, identity, events: watch(path) }, found))
    }

    /// Readable when [`Fifo::drain_events`] will have seen something.
    pub(super) fn events(&self) -> Option<BorrowedFd<'_>> {
        self.events.as_ref().map(AsFd::as_fd)
    }

    /// Takes what [`Fifo::events`] holds.
    pub(super) fn drain_events(&self) -> Seen {
        let Some(fd) = &self.events else { return Seen { read: true, moved: true } };
        let mut seen = Seen::default();
        let mut space = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(fd, &mut space);
        while let Ok(event) = events.next() {
            let read = inotify::ReadFlags::ACCESS | inotify::ReadFlags::CLOSE_NOWRITE | inotify::ReadFlags::CLOSE_WRITE;
            seen.read |= event.events().intersects(read);
            seen.moved |= !event.events().difference(read).is_empty();
            // What is in the buffer is taken; another read(2) would nearly always say that there is no more.
            if events.is_buffer_empty() {
                break;
            }
        }
        seen
    }

    /// To be polled for room.
    pub(super) fn write_end(&self) -> BorrowedFd<'_> {
        self.write.as_fd()
    }

    /// What keeps its readers from seeing an end of file, for as long as it lives.
    pub(super) fn into_write_end(self) -> File {
        self.write
    }

    /// Octets that are not read yet.
    ///
    /// # Errors
    ///
    /// As FIONREAD says.
    pub(super) fn left(&self) -> io::Result<u64> {
        Ok(ioctl_fionread(&self.write)?)
    }

    /// Writes a line of at most PIPE_BUF octets, whole; false when there is no room for it.
    ///
    /// # Errors
    ///
    /// As write(2) says.
    pub(super) fn write(&mut self, line: &[u8]) -> io::Result<bool> {
        match self.write.write(line) {
            Ok(count) if count == line.len() => Ok(true),
            Ok(_) => Err(io::Error::other("the pipe took part of a line")),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Takes everything out in one read(2), so that no other reader gets a part of it.
    ///
    /// # Errors
    ///
    /// As read(2) says.
    pub(super) fn take_out(&mut self) -> io::Result<Vec<u8>> {
        let mut octets = vec![0; fcntl_getpipe_size(&self.write)?.max(CAPACITY)];
        let count = match self.read.as_mut().map_or(Ok(0), |read| read.read(&mut octets)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            other => other?,
        };
        octets.truncate(count);
        Ok(octets)
    }

    /// Whether another process has it open to read.
    ///
    /// # Errors
    ///
    /// When our own end cannot be opened again, because the FIFO was removed; this one cannot be used any more then.
    pub(super) fn has_reader(&mut self) -> io::Result<bool> {
        // A program that is being started at this moment would have a copy of our end.
        let lock = SPAWNING.write().unwrap_or_else(PoisonError::into_inner);
        self.read = None;
        let mut fds = [PollFd::new(&self.write, PollFlags::empty())];
        let polled = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        let alone = fds[0].revents().contains(PollFlags::ERR);
        drop(lock);
        let read = open_end(&self.path, OFlags::RDONLY)?;
        if identity(&read.metadata()?) != self.identity {
            return Err(io::Error::other("the FIFO was replaced"));
        }
        self.read = Some(read);
        polled?;
        Ok(!alone)
    }

    /// Whether the path still leads to this FIFO.
    pub(super) fn is_in_place(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|metadata| identity(&metadata) == self.identity)
    }
}

/// What is in a FIFO, without taking it out.
fn peek(fifo: &File) -> io::Result<Vec<u8>> {
    let (copy_read, copy_write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    fcntl_setpipe_size(&copy_write, fcntl_getpipe_size(fifo)?)?;
    let count = match tee(fifo, &copy_write, CAPACITY, SpliceFlags::NONBLOCK) {
        Err(Errno::AGAIN) => 0,
        other => other?,
    };
    let mut octets = vec![0; count];
    File::from(copy_read).read_exact(&mut octets)?;
    Ok(octets)
}

/// Device and inode.
fn identity(metadata: &fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// Makes the FIFO; false when something is there already.
fn make(path: &Path) -> io::Result<bool> {
    let mut again = true;
    loop {
        // Others get no rights before it has its mode.
        match mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR) {
            Ok(()) => return Ok(true),
            Err(Errno::EXIST) => return Ok(false),
            Err(Errno::NOENT) if std::mem::take(&mut again) => {
                let folder = path.parent().unwrap_or(Path::new("."));
                DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn open_end(path: &Path, end: OFlags) -> io::Result<File> {
    Ok(open(path, end | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY, Mode::empty())?.into())
}

fn watch(path: &Path) -> Option<OwnedFd> {
    let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).ok()?;
    let flags = inotify::WatchFlags::ACCESS
        | inotify::WatchFlags::CLOSE
        | inotify::WatchFlags::ATTRIB
        | inotify::WatchFlags::MOVE_SELF;
    inotify::add_watch(&fd, path, flags).ok()?;
    Some(fd)
}
