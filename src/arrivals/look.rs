//! One look at a file in `new/`: is it a whole message, and what is its record?
//!
//! A rename into `new/` brings a whole message. So does the close of a file that a program wrote there against the rules;
//! but a program that closes an empty file may have made no more than the name, and write the message next. link(2) tells
//! only that there is a name: then the file is whole if no process has it open for writing; where that cannot be known, it
//! is whole if it has another name, if its inode was changed after its content, as link(2) does, or if nothing was written
//! to it for a while.

use super::Watched;
use crate::journal::Record;
use crate::limits;
use crate::maildir::folder::{Folder, Refused};
use crate::maildir::name::{self, Name};
use crate::maildir::reader::{MessageReader, line_ends};
use crate::maildir::typed;
use crate::message::dot::encode::WireSize;
use crate::message::header::{EventSettings, Summary};
use crate::message::trace::{self, Origin, Via, Written};
use crate::sys;
use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A file to which nothing was written for this long is taken to be whole, where nothing else tells.
pub const QUIET: Duration = Duration::from_millis(500);

/// An empty file to which nothing was written for this long is taken for a message. Its event can wait, and a message
/// that a slow script may yet write has no other event.
const EMPTY: Duration = Duration::from_secs(60);

/// Octets of a message of which the line ends are counted.
const MEASURED: u64 = 64 * 1024 * 1024;

/// A larger size in a name is no measurement.
const LARGEST: u64 = 1 << 48;

/// How a name came to `new/`, the less certain first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// It is not known.
    Unknown,
    /// A program that had written the file has closed it.
    Closed,
    /// The file was written before.
    Renamed,
}

/// What a look found.
#[derive(Debug)]
pub enum Look {
    /// A message.
    Message(Box<Record>),
    /// Perhaps half a message: look again later.
    Unsure,
    /// No message: a folder, a link, a socket.
    Nothing,
    /// A file of another user.
    Refused(Refused),
    /// There is no such name.
    Missing,
}

/// Looks at the file `there` in a folder of a Maildir. `file_name` is the name by which it came to `new/`; where another
/// program has moved the file to `cur/` meanwhile, `there` has flags. The record says what `event` asks for.
///
/// # Errors
///
/// When the file cannot be read.
pub fn look(
    watched: &Watched,
    is_own: bool,
    folder: &Folder,
    there: &OsStr,
    file_name: &OsStr,
    way: Way,
    event: &EventSettings,
) -> io::Result<Look> {
    let file = match folder.message(there) {
        Ok((file, _)) => file,
        Err(Refused::NotAFile) => return Ok(Look::Nothing),
        Err(Refused::Io(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(Look::Missing),
        Err(Refused::Io(error)) => return Err(error),
        Err(refused) => return Ok(Look::Refused(refused)),
    };
    let Found { whole, head, typed, size, stored_at } = read(file, file_name, watched, is_own, way)?;
    if !whole {
        return Ok(Look::Unsure);
    }
    let ours = ours(&head, is_own, file_name);
    let (origin, rcpt_to) = ours.map_or((Origin::unknown(Via::Maildir), None), |ours| (ours.origin, ours.recipient));
    let path = watched.maildir.join("new").join(file_name);
    Ok(Look::Message(Box::new(Record {
        seq: 0,
        timestamp: stored_at,
        user: watched.user.clone(),
        id: name::text(Name::parse(file_name.as_bytes()).id).into_owned(),
        path: name::text(path.as_os_str().as_bytes()).into_owned(),
        size,
        summary: Summary::read(&head, event, origin.via),
        origin,
        rcpt_to: rcpt_to.or(typed),
        duplicate_of: None,
    })))
}

/// Our own trace fields. They are believed only below `mail.root`, and only in the file that they were written for: a copy
/// that another program made is that program's delivery.
fn ours<'a>(head: &'a [u8], is_own: bool, file_name: &OsStr) -> Option<Written<'a>> {
    let ours = trace::read_back(head).filter(|_| is_own)?;
    (ours.id.as_bytes() == Name::parse(file_name.as_bytes()).id).then_some(ours)
}

struct Found {
    whole: bool,
    head: Vec<u8>,
    /// The recipient as the sender typed it, where the header does not say it because there were several.
    typed: Option<String>,
    /// Octets with CRLF line ends.
    size: u64,
    /// Microseconds since 1970.
    stored_at: u64,
}

fn read(file: File, file_name: &OsStr, watched: &Watched, is_own: bool, way: Way) -> io::Result<Found> {
    let metadata = file.metadata()?;
    // Before it is read: a file that is written while it is read was not whole before.
    let whole = way == Way::Renamed || (way == Way::Closed && metadata.len() > 0) || is_whole(&file, &metadata);
    let typed = if is_own { typed::read(&file, &watched.user) } else { None };
    let mut reader = MessageReader::of(file, b"");
    let mut head = Vec::new();
    (&mut reader).take(limits::HEADER_OCTETS as u64).read_to_end(&mut head)?;
    let whole = whole || ours(&head, is_own, file_name).is_some();
    let size = match Name::parse(file_name.as_bytes()).wire.filter(|octets| *octets <= LARGEST) {
        Some(octets) => octets,
        None if !whole => 0,
        None => measure(file_name, &head, metadata.len(), &mut reader)?,
    };
    // The rename or link that brought it here is what changed its inode last, as a rule.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64;
    let changed = metadata.ctime().max(0) as u64 * 1_000_000 + metadata.ctime_nsec() as u64 / 1_000;
    Ok(Found { whole, head, typed, size, stored_at: changed.min(now) })
}

/// Whether no process is writing the file; as far as its times tell, where nothing else does.
fn is_whole(file: &File, metadata: &Metadata) -> bool {
    let quiet = |time| metadata.modified().is_ok_and(|modified| modified.elapsed().is_ok_and(|age| age >= time));
    let changed = (metadata.ctime(), metadata.ctime_nsec()) > (metadata.mtime(), metadata.mtime_nsec());
    match sys::has_writer(file) {
        Some(true) => false,
        _ if metadata.len() == 0 => quiet(EMPTY),
        Some(false) => true,
        None => metadata.nlink() > 1 || changed || quiet(QUIET),
    }
}

/// The size of a message of which the first octets were read, in a file of `on_disk` octets. Of what goes beyond
/// [`MEASURED`] the octets on disk are counted as they are: no mail is so large, and a hole or a gzip file that any user can
/// make may take hours to read, in which no other message would become an event.
fn measure(file_name: &OsStr, head: &[u8], on_disk: u64, reader: &mut MessageReader) -> io::Result<u64> {
    let mut size = WireSize::new(line_ends(file_name.as_bytes(), head));
    size.add(head);
    if head.len() < limits::HEADER_OCTETS {
        return Ok(size.octets_sent());
    }
    let mut block = vec![0; limits::HEADER_OCTETS];
    let mut read = head.len() as u64;
    while on_disk.max(read) <= MEASURED {
        match reader.read(&mut block)? {
            0 => return Ok(size.octets_sent()),
            octets => {
                size.add(&block[..octets]);
                read += octets as u64;
            }
        }
    }
    Ok(size.octets() + on_disk.saturating_sub(read))
}
