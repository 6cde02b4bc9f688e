//! One look at a file in `new/`: is it a whole message, and what is its record?
//!
//! A rename into `new/` brings a whole message, and so does the close of a file that was written there against the
//! rules; but who closes an empty one may have made no more than its name, and write it next. link(2) tells nothing but
//! that there is a name. Then it is whole if nobody has it open for writing; and where that cannot be known, if it has
//! another name, or if its inode was changed after its content, as link(2) does, or if nobody has written to it for a
//! while.

use super::Watched;
use crate::journal::Record;
use crate::limits;
use crate::maildir::moved::find_in;
use crate::maildir::name::Name;
use crate::maildir::reader::MessageReader;
use crate::maildir::typed;
use crate::message::dot::encode::WireSize;
use crate::message::header::Summary;
use crate::message::trace::{self, Origin, Via, Written};
use crate::sys;
use rustix::fs::OFlags;
use std::ffi::OsStr;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A file to which nothing was written for this long is taken to be whole, where nobody knows better.
pub const QUIET: Duration = Duration::from_millis(500);

/// An empty file to which nothing was written for this long is taken for a message. Its event can wait, and the message
/// that a slow script may yet write has no other.
const EMPTY: Duration = Duration::from_secs(60);

/// Octets of a message of which the line ends are counted.
const MEASURED: u64 = 64 * 1024 * 1024;

/// A larger size in a name is nobody's measurement.
const LARGEST: u64 = 1 << 48;

/// How a name came to `new/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// What it names was written before.
    Renamed,
    /// Who wrote the file has closed it.
    Closed,
    /// Nobody knows.
    Unknown,
}

/// What a look found.
#[derive(Debug)]
pub enum Look {
    /// A message.
    Message(Box<Record>),
    /// Perhaps half a message: look again later.
    Unsure,
    /// Nothing, or no message.
    Nothing,
}

/// Looks at a name in `new/`. A message that another program has moved to `cur/` meanwhile is found there.
///
/// # Errors
///
/// When there is something that cannot be read.
pub fn look(watched: &Watched, is_own: bool, file_name: &OsStr, way: Way) -> io::Result<Look> {
    let path = watched.maildir.join("new").join(file_name);
    let looked = match read(&path, watched, is_own, way) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            match find_in(&watched.maildir.join("cur"), file_name)? {
                Some(moved) => read(&moved, watched, is_own, Way::Renamed),
                None => return Ok(Look::Nothing),
            }
        }
        looked => looked,
    };
    let found = match looked {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Look::Nothing),
        // A symbolic link is no message: it may lead to what its maker may not read. Nor is a socket.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ELOOP | libc::ENXIO)) => return Ok(Look::Nothing),
        found => found?,
    };
    Ok(match found {
        None => Look::Nothing,
        Some(Found { whole: false, .. }) => Look::Unsure,
        Some(Found { head, typed, size, stored_at, .. }) => {
            let ours = ours(&head, is_own, file_name);
            let (origin, rcpt_to) =
                ours.map_or((Origin::unknown(Via::Maildir), None), |ours| (ours.origin, ours.recipient));
            Look::Message(Box::new(Record {
                seq: 0,
                timestamp: stored_at,
                user: watched.user.clone(),
                id: String::from_utf8_lossy(Name::parse(file_name.as_bytes()).id).into_owned(),
                path: path.to_string_lossy().into_owned(),
                size,
                origin,
                rcpt_to: rcpt_to.or(typed),
                summary: Summary::parse(&head),
                duplicate_of: None,
            }))
        }
    })
}

/// Our own fields, which are believed where nobody else should write, in the file that they were written for: what
/// another program copied there is its delivery and not ours.
fn ours<'a>(head: &'a [u8], is_own: bool, file_name: &OsStr) -> Option<Written<'a>> {
    let ours = trace::read_back(head).filter(|_| is_own)?;
    (ours.id.as_bytes() == Name::parse(file_name.as_bytes()).id).then_some(ours)
}

struct Found {
    whole: bool,
    head: Vec<u8>,
    /// How the recipient was typed, where the header does not say it because there were several.
    typed: Option<String>,
    /// Octets with CRLF line ends.
    size: u64,
    /// Microseconds since 1970.
    stored_at: u64,
}

/// `None` for what is no regular file.
fn read(path: &Path, watched: &Watched, is_own: bool, way: Way) -> io::Result<Option<Found>> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(None);
    }
    // Before it is read: who writes while it is read has not been finished before.
    let whole = way == Way::Renamed || (way == Way::Closed && metadata.len() > 0) || is_whole(&file, &metadata);
    let typed = if is_own { typed::read(&file, &watched.user) } else { None };
    let mut reader = MessageReader::of(file);
    let mut head = vec![0; limits::HEADER_OCTETS];
    let mut length = 0;
    let mut ended = false;
    while !ended && length < head.len() {
        let octets = reader.read(&mut head[length..])?;
        ended = octets == 0;
        length += octets;
    }
    head.truncate(length);
    let whole = whole || path.file_name().is_some_and(|file_name| ours(&head, is_own, file_name).is_some());
    let in_name = path.file_name().and_then(|file_name| Name::parse(file_name.as_bytes()).wire);
    let size = match in_name.filter(|octets| *octets <= LARGEST) {
        Some(octets) => octets,
        None if !whole => 0,
        None => measure(&head, metadata.len(), &mut reader)?,
    };
    // The rename or link that brought it here is what changed its inode last, as a rule.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64;
    let changed = metadata.ctime().max(0) as u64 * 1_000_000 + metadata.ctime_nsec() as u64 / 1_000;
    Ok(Some(Found { whole, head, typed, size, stored_at: changed.min(now) }))
}

/// Whether nobody is writing the file; as far as its times tell, where nothing else does.
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

/// The size of a message whose first octets were read, in a file of `on_disk` octets. Of what goes beyond [`MEASURED`]
/// the octets on disk are counted as they are: nobody's mail is so large, and a hole or a gzip file that anybody can make
/// may take hours to read, in which nothing else rings.
fn measure(head: &[u8], on_disk: u64, reader: &mut MessageReader) -> io::Result<u64> {
    let mut size = WireSize::new();
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
