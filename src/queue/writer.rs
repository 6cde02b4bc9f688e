//! A message on its way into the queue: one file, with the envelope at its head, written in `tmp/`, fsynced, renamed into
//! `waiting/`, and that folder fsynced.

use super::envelope::LONGEST;
use super::{Envelope, Error, Head, Queue, QueueId};
use crate::maildir::failpoint;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;

/// A message of up to this many octets is written with one write(2), a larger one in blocks of this size.
const BLOCK: usize = 32 * 1024;

/// A message that comes in. It takes octets as they are stored in Maildirs: LF line ends, dots removed. Dropping it leaves
/// nothing.
#[derive(Debug)]
pub struct Writer<'a> {
    queue: &'a Queue,
    id: QueueId,
    envelope: Envelope,
    file: File,
    path: Temporary,
    /// The head, the envelope, and what is not written yet of the message.
    buffer: Vec<u8>,
    /// Something was written, so the head must be set right in its place.
    has_written: bool,
    head: Head,
    last: Option<u8>,
}

/// A file in `tmp/`, removed again unless it was published.
#[derive(Debug)]
struct Temporary(Option<PathBuf>);

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = fs::remove_file(path);
        }
    }
}

impl<'a> Writer<'a> {
    pub(super) fn new(queue: &'a Queue, id: QueueId, envelope: Envelope) -> Result<Writer<'a>, Error> {
        let path = queue.tmp().join(id.as_str());
        let line = envelope.to_line();
        if line.len() > LONGEST {
            return Err(Error::System(io::Error::other("the envelope has too many recipients for the queue")));
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let mut buffer = Head::default().to_line();
        buffer.extend_from_slice(&line);
        let path = Temporary(Some(path));
        let (head, has_written) = (Head::default(), false);
        Ok(Writer { queue, id, envelope, file, path, buffer, has_written, head, last: None })
    }

    /// The message's id: log lines about it have it.
    pub fn id(&self) -> &QueueId {
        &self.id
    }

    /// Octets so far, with CRLF line ends.
    pub fn size(&self) -> u64 {
        self.head.octets + self.head.lines
    }

    /// [`Writer::stage`] and [`Staged::publish`] in one.
    ///
    /// # Errors
    ///
    /// Nothing is left then.
    pub fn commit(self) -> Result<QueueId, Error> {
        self.stage()?.publish()
    }

    /// Makes message and envelope safe on disk. They do not wait to be sent before [`Staged::publish`].
    ///
    /// # Errors
    ///
    /// Nothing is left then.
    pub fn stage(mut self) -> Result<Staged<'a>, Error> {
        if self.last.is_some_and(|last| last != b'\n') {
            self.write_all(b"\n")?;
        }
        let head = self.head.to_line();
        if self.has_written {
            self.put()?;
            self.file.write_all_at(&head, 0)?;
        } else {
            self.buffer[..head.len()].copy_from_slice(&head);
            self.put()?;
        }
        self.file.sync_all()?;
        failpoint::reach("queue-synced");
        Ok(Staged { queue: self.queue, id: self.id, user: self.envelope.user, path: self.path })
    }

    fn put(&mut self) -> io::Result<()> {
        self.file.write_all(&self.buffer)?;
        self.has_written = true;
        self.buffer.clear();
        Ok(())
    }
}

impl Write for Writer<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        if self.buffer.len() + octets.len() > BLOCK {
            self.put()?;
            failpoint::reach("queue-written");
        }
        self.buffer.extend_from_slice(octets);
        self.head.octets += octets.len() as u64;
        self.head.lines += memchr::memchr_iter(b'\n', octets).count() as u64;
        self.head.eight_bit |= !octets.is_ascii();
        self.last = octets.last().copied().or(self.last);
        Ok(octets.len())
    }

    /// Does nothing: [`Writer::stage`] writes what is left.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A message that is safe in `tmp/`. Dropping it leaves nothing.
#[derive(Debug)]
pub struct Staged<'a> {
    queue: &'a Queue,
    id: QueueId,
    user: Option<String>,
    path: Temporary,
}

impl Staged<'_> {
    /// Lets it wait to be sent. A power cut or `kill -9` loses it no more.
    ///
    /// # Errors
    ///
    /// Of rename(2) and fsync(2). Nothing is left then.
    pub fn publish(mut self) -> Result<QueueId, Error> {
        let target = self.queue.waiting_folder().join(self.id.as_str());
        if let Some(path) = &self.path.0 {
            fs::rename(path, &target)?;
            self.path.0 = Some(target);
        }
        failpoint::reach("queue-renamed");
        File::open(self.queue.waiting_folder())?.sync_all()?;
        failpoint::reach("queue-committed");
        self.path.0 = None;
        self.queue.learn(&self.id, self.user.take());
        Ok(self.id)
    }
}
