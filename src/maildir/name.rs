//! File names in a Maildir: the id, the sizes and the flags in them, read without allocation. Nothing here touches a
//! file.
//!
//! ```text
//! 1763888639.M123456P412Q7.host,S=1234,W=1260:2,FS
//! \----------- id ------------/ \S=/   \W=/   \flags/
//! \--------------- base --------------------/
//! ```
//!
//! An id that is no unique-id (RFC 1939 section 7: 1 to 70 characters in 0x21 to 0x7E), or that two messages share, is
//! replaced for clients by `mb-` and 32 hexadecimal digits: the MD5 of the id, of the base where the id is shared, of base
//! and inode where the base is shared too. Every message that shares an id gets a substitute, the first one too: if the
//! first kept the id and were removed, another message would take over an id that the client has seen, and the client
//! would never fetch it.

use md5::{Digest, Md5};
use memchr::{memchr, memchr2, memmem};

use crate::limits;
use std::borrow::Cow;

/// Which directory a message is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// `new/`: not seen by any program that reads mail.
    New,
    /// `cur/`.
    Cur,
}

impl Place {
    /// The directory's name.
    pub fn folder(self) -> &'static str {
        match self {
            Place::New => "new",
            Place::Cur => "cur",
        }
    }
}

/// A file name taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name<'a> {
    /// The base up to its first comma: what keeps its value while the file is renamed.
    pub id: &'a [u8],
    /// The name up to its first colon.
    pub base: &'a [u8],
    /// `,S=`: octets of the message on disk, uncompressed.
    pub size: Option<u64>,
    /// `,W=`: octets with CRLF line ends.
    pub wire: Option<u64>,
    /// What follows `:2,`, up to a comma; sorted letters as a rule.
    pub flags: &'a [u8],
    /// Whether there is a colon.
    pub info: bool,
}

impl<'a> Name<'a> {
    /// Takes a file name apart. Every octet string is a name; unknown parts are skipped.
    pub fn parse(file_name: &'a [u8]) -> Name<'a> {
        let (base, info) = match memchr(b':', file_name) {
            Some(colon) => (&file_name[..colon], Some(&file_name[colon + 1..])),
            None => (file_name, None),
        };
        let id = &base[..memchr(b',', base).unwrap_or(base.len())];
        let (mut size, mut wire) = (None, None);
        let mut rest = &base[id.len()..];
        while let Some((_, fields)) = rest.split_first() {
            let end = memchr(b',', fields).unwrap_or(fields.len());
            match &fields[..end] {
                [b'S', b'=', digits @ ..] => size = size.or(decimal(digits)),
                [b'W', b'=', digits @ ..] => wire = wire.or(decimal(digits)),
                _ => {}
            }
            rest = &fields[end..];
        }
        let flags = info.and_then(|info| info.strip_prefix(b"2,")).unwrap_or_default();
        let flags = &flags[..memchr(b',', flags).unwrap_or(flags.len())];
        Name { id, base, size, wire, flags, info: info.is_some() }
    }

    /// The name with one more flag, the flags in ASCII order as the Maildir rules want them.
    pub fn with_flag(&self, flag: u8) -> Vec<u8> {
        let mut flags = self.flags.to_vec();
        flags.push(flag);
        flags.sort_unstable();
        flags.dedup();
        [self.base, b":2,", &flags].concat()
    }
}

/// The part of a file name that identifies the message among all others of its user; flags and attributes do not
/// change it. This is the id, if the rest of the name is what Maildir programs add: `,KEY=VALUE`, `:2,FLAGS` or `:1,...`.
/// Otherwise it is the whole name without flags: a program that names messages by the time, `2026-11-24T12:30:01`, or
/// by a number, `mail,1`, gives many messages the same id.
pub fn known_as(file_name: &[u8]) -> &[u8] {
    let is_flags = |flags: &[u8]| flags.iter().all(u8::is_ascii_alphabetic);
    let name = Name::parse(file_name);
    let mut attributes = name.base[name.id.len()..].split(|octet| *octet == b',').skip(1);
    let is_attribute = |text: &[u8]| {
        text.iter().position(|octet| !octet.is_ascii_alphanumeric()).is_some_and(|end| end > 0 && text[end] == b'=')
    };
    let is_info = match &file_name[name.base.len()..] {
        [] | [b':', b'1', b',', ..] => true,
        [b':', b'2', b',', ..] => is_flags(name.flags),
        _ => false,
    };
    if is_info && attributes.all(is_attribute) {
        return name.id;
    }
    match memmem::rfind(file_name, b":2,") {
        Some(at) if is_flags(&file_name[at + 3..]) => &file_name[..at],
        _ => file_name,
    }
}

/// Whether a name is made as the Maildir rules want it, `SECONDS.UNIQUE.HOST`, so that no other message ever has it.
pub fn is_unique(file_name: &[u8]) -> bool {
    let id = Name::parse(file_name).id;
    let mut parts = id.splitn(3, |octet| *octet == b'.');
    // OfflineIMAP counts behind the seconds: `1763888639_0`.
    let is_time =
        parts.next().is_some_and(|time| time.split(|octet| *octet == b'_').all(|part| decimal(part).is_some()));
    is_time && parts.filter(|part| !part.is_empty()).count() == 2 && known_as(file_name) == id
}

/// Exact: digits only, at least one, at most 2^64 - 1.
fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, digit| match digit {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

/// The time of arrival in an id: seconds, microseconds, and the count of the delivering process. Parts that an id does
/// not have are 0, so that names of another form come first, in the order of their octets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arrival {
    seconds: u64,
    microseconds: u32,
    count: u32,
}

impl Arrival {
    /// Seconds since 1970 as the id has them; 0 where it has none.
    pub fn seconds(self) -> u64 {
        self.seconds
    }

    /// Reads `SECONDS.M<usec>P<pid>Q<n>.host`; unknown parts are skipped.
    pub fn of(id: &[u8]) -> Arrival {
        let (seconds, mut rest) = leading_number(id);
        let mut arrival = Arrival { seconds, ..Arrival::default() };
        if rest.len() == id.len() || rest.first() != Some(&b'.') {
            return arrival;
        }
        rest = &rest[1..];
        while let Some((letter, digits)) = rest.split_first().filter(|(letter, _)| letter.is_ascii_uppercase()) {
            let (value, after) = leading_number(digits);
            let value = u32::try_from(value).unwrap_or(u32::MAX);
            match letter {
                b'M' => arrival.microseconds = value,
                b'Q' => arrival.count = value,
                _ => {}
            }
            rest = after;
        }
        arrival
    }
}

/// The number that digits at the beginning make, saturating, and what follows them.
fn leading_number(text: &[u8]) -> (u64, &[u8]) {
    let digits = text.iter().take_while(|octet| octet.is_ascii_digit()).count();
    let value = text[..digits]
        .iter()
        .fold(0_u64, |value, digit| value.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
    (value, &text[digits..])
}

/// Whether an id may be given to clients as it is.
pub fn is_unique_id(id: &[u8]) -> bool {
    (1..=limits::UNIQUE_ID).contains(&id.len()) && id.iter().all(|octet| (0x21..=0x7E).contains(octet))
}

/// Appends the substitute of an id that clients cannot be given.
pub fn substitute(id_or_base: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"mb-");
    for octet in Md5::digest(id_or_base) {
        out.push(b"0123456789abcdef"[usize::from(octet >> 4)]);
        out.push(b"0123456789abcdef"[usize::from(octet & 15)]);
    }
}

/// A file name, or a part of one, as records and command lines have it: as it is where it is UTF-8; each octet that is
/// not is written as `%` and two hexadecimal digits.
pub fn text(name: &[u8]) -> Cow<'_, str> {
    let mut chunks = name.utf8_chunks().peekable();
    match chunks.peek() {
        None => return Cow::Borrowed(""),
        Some(chunk) if chunk.valid().len() == name.len() => return Cow::Borrowed(chunk.valid()),
        Some(_) => {}
    }
    let mut text = String::with_capacity(name.len() + 8);
    for chunk in chunks {
        text.push_str(chunk.valid());
        for octet in chunk.invalid() {
            text.push('%');
            text.extend([octet >> 4, octet & 15].map(|digit| char::from(b"0123456789ABCDEF"[usize::from(digit)])));
        }
    }
    Cow::Owned(text)
}

/// Whether a directory entry can be a message by its name: it does not begin with a dot, and has no `/` and no NUL.
pub fn is_message(file_name: &[u8]) -> bool {
    !matches!(file_name.first(), None | Some(b'.')) && memchr2(b'/', 0, file_name).is_none()
}

#[cfg(test)]
#[path = "name_tests.rs"]
mod tests;
