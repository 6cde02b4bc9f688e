//! What is in `new/` and `cur/` of a Maildir at one moment: names, ids, order and sizes, in one block of memory for
//! all names and 16 octets for each message. It opens no message; sizes that no name tells are filled in by `maildrops`.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, RawDir};

use super::name::{self, Arrival, Name, Place};
use super::stamps::Stamps;
use super::store::below;

/// Stands for a size that is not in the name.
pub(super) const UNMEASURED: u64 = u64::MAX;

/// A larger size in a name is no measurement.
const LARGEST: u64 = 1 << 48;

/// What a client is told as the unique-id of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UniqueId {
    /// The id itself.
    Id,
    /// A substitute, since the id is no unique-id.
    OfId,
    /// A substitute, since another message has the same id.
    OfBase,
    /// A substitute, since another message has the same base.
    OfInode,
}

/// One message. The name is at `at` in the names of its listing.
#[derive(Clone, Copy, Debug)]
struct Entry {
    wire: u64,
    at: u32,
    name_len: u8,
    id_len: u8,
    place: Place,
    unique_id: UniqueId,
}

/// The messages of a Maildir in the order of their arrival, numbered from 0 here.
#[derive(Debug)]
pub struct Listing {
    names: Box<[u8]>,
    entries: Box<[Entry]>,
    /// The inodes that are part of a unique-id, each with its entry's place in `names`, sorted.
    inodes: Box<[(u32, u64)]>,
    stamps: Stamps,
    quiet: bool,
}

impl Listing {
    /// Reads both directories, `new/` first, so that a message that is moved to `cur/` meanwhile is seen twice and
    /// not missed. A rename inside `cur/` can hide a file from readdir(3), so a change there means a second look.
    pub fn read(maildir: &Path) -> io::Result<Listing> {
        let mut looks = 0;
        loop {
            looks += 1;
            let stamps = Stamps::read(maildir)?;
            let quiet = stamps.quiet();
            let mut found = Found::default();
            found.read(maildir, Place::New)?;
            found.read(maildir, Place::Cur)?;
            if looks == 3 || stamps.cur_is_as_it_was(maildir)? {
                return Ok(found.listing(maildir, stamps, quiet));
            }
        }
    }

    /// Whether the directories are certainly unchanged since this was read.
    pub(super) fn is_current(&self, maildir: &Path) -> bool {
        self.quiet && Stamps::read(maildir).is_ok_and(|stamps| stamps == self.stamps)
    }

    /// Whether it may be kept for later.
    pub(super) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// A size may change although the directories do not: this is not kept.
    pub(super) fn distrust(&mut self) {
        self.quiet = false;
    }

    /// How many messages.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Memory that this takes, octets.
    pub(super) fn octets(&self) -> usize {
        self.names.len() + self.entries.len() * size_of::<Entry>()
    }

    /// The file name of a message.
    pub fn file_name(&self, index: usize) -> &[u8] {
        let entry = &self.entries[index];
        &self.names[entry.at as usize..][..usize::from(entry.name_len)]
    }

    /// The id of a message.
    pub fn id(&self, index: usize) -> &[u8] {
        &self.file_name(index)[..usize::from(self.entries[index].id_len)]
    }

    /// Which directory a message is in.
    pub fn place(&self, index: usize) -> Place {
        self.entries[index].place
    }

    /// The path of a message.
    pub fn path(&self, maildir: &Path, index: usize) -> PathBuf {
        path(maildir, self.place(index), self.file_name(index))
    }

    /// Octets as RETR sends them, or `UNMEASURED`.
    pub(super) fn wire(&self, index: usize) -> u64 {
        self.entries[index].wire
    }

    pub(super) fn set_wire(&mut self, index: usize, octets: u64) {
        self.entries[index].wire = octets;
    }

    /// The user id of the owner of this directory; `None` where only the user of this process can write in it.
    pub(super) fn owner(&self, place: Place) -> Option<u32> {
        self.stamps.owner(place)
    }

    /// Takes out messages that are gone.
    pub(super) fn remove(&mut self, gone: &[usize]) {
        let mut index = 0;
        let mut entries = std::mem::take(&mut self.entries).into_vec();
        entries.retain(|_| {
            index += 1;
            gone.binary_search(&(index - 1)).is_err()
        });
        self.entries = entries.into_boxed_slice();
    }

    /// Appends the unique-id of a message.
    pub fn unique_id(&self, index: usize, out: &mut Vec<u8>) {
        match self.entries[index].unique_id {
            UniqueId::Id => out.extend_from_slice(self.id(index)),
            UniqueId::OfId => name::substitute(self.id(index), out),
            UniqueId::OfBase => name::substitute(Name::parse(self.file_name(index)).base, out),
            // No base has a slash in it. An inode stays when its file is renamed.
            UniqueId::OfInode => {
                let base = Name::parse(self.file_name(index)).base;
                let inode = self.inode(index).unwrap_or_default();
                name::substitute(&[base, b"/", inode.to_string().as_bytes()].concat(), out);
            }
        }
    }

    /// Whether another message has the same base, so that a rename could put one in the place of the other.
    pub(super) fn shares_base(&self, index: usize) -> bool {
        self.entries[index].unique_id == UniqueId::OfInode
    }

    fn inode(&self, index: usize) -> Option<u64> {
        let found = self.inodes.binary_search_by_key(&self.entries[index].at, |(at, _)| *at);
        found.ok().map(|found| self.inodes[found].1)
    }

    /// Finds a message by its id or by the unique-id that clients are told, without its size or flags.
    pub fn position(&self, id: &[u8]) -> Option<usize> {
        let key = (Arrival::of(id), id);
        let at = self.entries.partition_point(|entry| self.key(entry) < key);
        if at < self.len() && self.id(at) == id {
            return Some(at);
        }
        let mut unique_id = Vec::new();
        (0..self.len()).filter(|&index| self.entries[index].unique_id != UniqueId::Id).find(|&index| {
            unique_id.clear();
            self.unique_id(index, &mut unique_id);
            unique_id == id
        })
    }

    /// Finds the message that `index` is in `other`, an earlier or later listing of the same Maildir.
    pub(super) fn find(&self, other: &Listing, index: usize) -> Option<usize> {
        let id = other.id(index);
        let key = (Arrival::of(id), id);
        let mut candidate = self.entries.partition_point(|entry| self.key(entry) < key);
        let mut found = None;
        while candidate < self.len() && self.id(candidate) == id {
            let same_base = Name::parse(self.file_name(candidate)).base == Name::parse(other.file_name(index)).base;
            match other.entries[index].unique_id {
                UniqueId::OfBase if same_base => return Some(candidate),
                UniqueId::OfInode if self.inode(candidate) == other.inode(index) => return Some(candidate),
                UniqueId::OfBase | UniqueId::OfInode => {}
                _ if same_base || found.is_none() => found = Some(candidate),
                _ => {}
            }
            candidate += 1;
        }
        found
    }

    fn key(&self, entry: &Entry) -> (Arrival, &[u8]) {
        let id = &self.names[entry.at as usize..][..usize::from(entry.id_len)];
        (Arrival::of(id), id)
    }
}

/// The path of a file in a Maildir.
pub(super) fn path(maildir: &Path, place: Place, file_name: &[u8]) -> PathBuf {
    below(maildir, place.folder(), std::ffi::OsStr::from_bytes(file_name))
}

/// What was read of the directories so far, in the order of readdir(3).
#[derive(Debug, Default)]
struct Found {
    names: Vec<u8>,
    /// Each with its inode.
    entries: Vec<(Arrival, u64, Entry)>,
}

impl Found {
    fn read(&mut self, maildir: &Path, place: Place) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = match rustix::fs::open(maildir.join(place.folder()), flags, Mode::empty()) {
            Err(rustix::io::Errno::NOENT) => return Ok(()),
            directory => directory?,
        };
        let mut buffer = Vec::with_capacity(64 * 1024);
        let mut entries = RawDir::new(directory, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let file_name = entry.file_name().to_bytes();
            let file = matches!(entry.file_type(), FileType::RegularFile | FileType::Unknown);
            if file && name::is_message(file_name) {
                self.push(place, file_name, entry.ino())?;
            }
        }
        Ok(())
    }

    fn push(&mut self, place: Place, file_name: &[u8], inode: u64) -> io::Result<()> {
        let too_large = |_| io::Error::other("more file names than 4 GiB in one Maildir");
        let at = u32::try_from(self.names.len()).map_err(too_large)?;
        let name = Name::parse(file_name);
        let entry = Entry {
            wire: name.wire.filter(|&octets| octets <= LARGEST).unwrap_or(UNMEASURED),
            at,
            // Linux allows names of up to 255 octets.
            name_len: u8::try_from(file_name.len()).map_err(|_| io::Error::other("file name of over 255 octets"))?,
            id_len: u8::try_from(name.id.len()).map_err(|_| io::Error::other("file name of over 255 octets"))?,
            place,
            unique_id: if name::is_unique_id(name.id) { UniqueId::Id } else { UniqueId::OfId },
        };
        self.names.extend_from_slice(file_name);
        self.entries.push((Arrival::of(name.id), inode, entry));
        Ok(())
    }

    fn name(&self, entry: &Entry) -> Name<'_> {
        Name::parse(&self.names[entry.at as usize..][..usize::from(entry.name_len)])
    }

    /// Sorts, groups by id, and settles each group. The names are put in the same order, so that a walk through the
    /// listing reads memory in one direction.
    // Not inlined: only the memory of a session that waits depends on it.
    #[inline(never)]
    fn listing(mut self, maildir: &Path, stamps: Stamps, quiet: bool) -> Listing {
        let mut entries = std::mem::take(&mut self.entries);
        entries.sort_unstable_by(|(a_arrival, _, a), (b_arrival, _, b)| {
            a_arrival.cmp(b_arrival).then_with(|| self.same_time(a, b))
        });
        let mut kept: Vec<(u64, Entry)> = Vec::with_capacity(entries.len());
        // Names are compared only where the times are equal: they lie all over the memory.
        let same_id = |a: &(Arrival, u64, Entry), b: &(Arrival, u64, Entry)| {
            a.0 == b.0 && self.name(&a.2).id == self.name(&b.2).id
        };
        for group in entries.chunk_by(same_id) {
            match group {
                [(_, inode, entry)] => kept.push((*inode, *entry)),
                group => kept.extend(self.settle(maildir, group)),
            }
        }
        let mut names = Vec::with_capacity(self.names.len());
        let mut inodes = Vec::new();
        for (inode, entry) in &mut kept {
            let name = &self.names[entry.at as usize..][..usize::from(entry.name_len)];
            // No more than there was, so it fits as it did before.
            entry.at = names.len() as u32;
            names.extend_from_slice(name);
            if entry.unique_id == UniqueId::OfInode {
                inodes.push((entry.at, *inode));
            }
        }
        let entries = kept.into_iter().map(|(_, entry)| entry).collect();
        Listing { names: names.into_boxed_slice(), entries, inodes: inodes.into_boxed_slice(), stamps, quiet }
    }

    /// Which messages the files with one id are, sorted by base. A file that was renamed while the directories were read
    /// was seen twice, and counts once, as it was seen last. If there are several messages, each gets a substitute.
    fn settle(&self, maildir: &Path, group: &[(Arrival, u64, Entry)]) -> Vec<(u64, Entry)> {
        let mut files: Vec<Option<(u64, Entry)>> = Vec::with_capacity(group.len());
        let mut seen: HashMap<u64, usize> = HashMap::new();
        for (_, inode, entry) in group {
            if let Some(at) = seen.insert(*inode, files.len()) {
                files[at].take_if(|(_, before)| {
                    let sizes = self.name(before).size.zip(self.name(entry).size);
                    sizes.is_none_or(|(one, other)| one == other)
                });
            }
            files.push(Some((*inode, *entry)));
        }
        let mut files: Vec<(u64, Entry)> = files.into_iter().flatten().collect();
        // A message that was compressed meanwhile has another inode, and its first name is gone.
        if files.len() > 1
            && let Some(last) = files.last().copied()
        {
            files.retain(|(_, entry)| self.is_there(maildir, entry));
            if files.is_empty() {
                files.push(last);
            }
        }
        if files.len() > 1 {
            let bases: Vec<&[u8]> = files.iter().map(|(_, entry)| self.name(entry).base).collect();
            let shares = |at: usize| (at > 0 && bases[at - 1] == bases[at]) || bases.get(at + 1) == Some(&bases[at]);
            for (at, (_, entry)) in files.iter_mut().enumerate() {
                entry.unique_id = if shares(at) { UniqueId::OfInode } else { UniqueId::OfBase };
            }
        }
        files
    }

    fn is_there(&self, maildir: &Path, entry: &Entry) -> bool {
        let file_name = &self.names[entry.at as usize..][..usize::from(entry.name_len)];
        rustix::fs::lstat(path(maildir, entry.place, file_name)).is_ok()
    }

    /// By id, then so that files of one message are neighbours, the one in `cur/` last because it was seen last.
    fn same_time(&self, a: &Entry, b: &Entry) -> Ordering {
        let (one, other) = (self.name(a), self.name(b));
        (one.id, one.base, a.place).cmp(&(other.id, other.base, b.place))
    }
}

#[cfg(test)]
#[path = "listing_tests.rs"]
mod tests;
