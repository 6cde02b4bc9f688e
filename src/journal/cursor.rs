//! Durable places in the journal: how far a subscriber has come.
//!
//! A cursor is a small text file in `STATE/cursors/`, written in place with one pwrite(2) of fixed width: it survives
//! `kill -9` to the last write, and a power cut to some recent one, which is then repeated and not lost.

use crate::sys::folder::{make_folder, open_file};
use crate::sys::hold;
use rustix::fs::OFlags;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Three numbers of 20 digits with spaces between them, and a newline.
const WIDTH: usize = 63;

/// How long a cursor may outlive a process that was killed: a program that it was starting at that moment holds a copy of
/// its descriptors until exec(2) closes them.
const INHERITED: Duration = Duration::from_secs(1);

/// How far a subscriber has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Every record up to this one is done with.
    pub acknowledged: u64,
    /// Every record up to this one was handed over; equal to `acknowledged` where handing over is all there is.
    pub written: u64,
    /// How many of those between the two are not done with; the others concern this subscriber nothing.
    pub waiting: u64,
}

impl Place {
    /// Everything up to `seq` is done with.
    pub fn at(seq: u64) -> Place {
        Place { acknowledged: seq, written: seq, waiting: 0 }
    }

    fn text(&self) -> String {
        format!("{:020} {:020} {:020}\n", self.acknowledged, self.written, self.waiting)
    }

    /// `None` for what is none. Early versions wrote two numbers.
    fn parse(text: &str) -> Option<Place> {
        let mut numbers = text.strip_suffix('\n')?.split(' ').map(|text| {
            let is_number = text.bytes().all(|octet| octet.is_ascii_digit());
            is_number.then(|| text.parse().ok()).flatten()
        });
        let (acknowledged, written): (u64, u64) = (numbers.next()??, numbers.next()??);
        let waiting = numbers.next().unwrap_or(Some(written.saturating_sub(acknowledged)))?;
        numbers.next().is_none().then_some(Place { acknowledged, written, waiting })
    }
}

/// Why a cursor cannot be used.
#[derive(Debug)]
pub enum CursorError {
    /// Another process has it: one at a time.
    InUse(String),
    /// The file cannot be made, read or locked.
    Io(PathBuf, io::Error),
}

impl fmt::Display for CursorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CursorError::InUse(name) => write!(f, "cursor {name}: another process is using it"),
            CursorError::Io(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for CursorError {}

/// A cursor that this process holds.
#[derive(Debug)]
pub struct Cursor {
    file: File,
    place: Place,
}

impl Cursor {
    /// Takes the cursor of that name, for as long as it lives. One that is new begins where `initial` says; one whose
    /// file was damaged begins at the oldest record that there is.
    ///
    /// # Errors
    ///
    /// When another process holds it, or the file cannot be made.
    pub fn open(state: &Path, name: &str, initial: impl FnOnce() -> u64) -> Result<Cursor, CursorError> {
        let dir = state.join("cursors");
        let path = dir.join(encode(name));
        let io = |error: io::Error| CursorError::Io(path.clone(), error);
        make_folder(&dir, 0o750, None).map_err(io)?;
        let file = open_file(&path, OFlags::RDWR | OFlags::CREATE, 0o640).map_err(io)?;
        if !hold(&file, |waited| Ok(waited >= INHERITED)).map_err(io)? {
            return Err(CursorError::InUse(name.to_owned()));
        }
        let stored = read(&file).map_err(io)?;
        let place = match stored {
            Stored::Place(place) => place,
            Stored::Nothing => Place::at(initial()),
            Stored::Damaged => {
                log::warn!("{}: damaged; beginning at the oldest record", path.display());
                Place::default()
            }
        };
        let mut cursor = Cursor { file, place };
        if !matches!(stored, Stored::Place(_)) {
            cursor.set(place).and_then(|()| cursor.sync()).map_err(io)?;
        }
        Ok(cursor)
    }

    /// Where it is.
    pub fn place(&self) -> Place {
        self.place
    }

    /// Moves it. Moving it to where it is costs nothing.
    ///
    /// # Errors
    ///
    /// As pwrite(2) says.
    pub fn set(&mut self, place: Place) -> io::Result<()> {
        self.file.write_all_at(place.text().as_bytes(), 0)?;
        self.place = place;
        Ok(())
    }

    /// Makes its place safe against a power cut.
    ///
    /// # Errors
    ///
    /// As fdatasync(2) says.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

enum Stored {
    Place(Place),
    Nothing,
    Damaged,
}

fn read(file: &File) -> io::Result<Stored> {
    let mut octets = [0; WIDTH];
    let mut length = 0;
    while length < WIDTH {
        match file.read_at(&mut octets[length..], length as u64)? {
            0 => break,
            count => length += count,
        }
    }
    if length == 0 {
        return Ok(Stored::Nothing);
    }
    let place = std::str::from_utf8(&octets[..length]).ok().and_then(Place::parse);
    Ok(place.map_or(Stored::Damaged, Stored::Place))
}

/// Every cursor and its place, without holding them; for `status`. One that cannot be read is logged and left out.
///
/// # Errors
///
/// When the folder is there and cannot be read.
pub fn cursors(state: &Path) -> io::Result<Vec<(String, Place)>> {
    let entries = match fs::read_dir(state.join("cursors")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        match (entry.file_name().to_str(), File::open(entry.path()).and_then(|file| read(&file))) {
            (Some(name), Ok(Stored::Place(place))) => found.push((decode(name), place)),
            (_, Ok(_)) => {}
            (_, Err(error)) => log::warn!("{}: {error}", entry.path().display()),
        }
    }
    found.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(found)
}

/// Sets cursors back that are ahead of the journal's end, which a power cut may have taken away; to be called before
/// anything is appended, so that no subscriber passes over a `seq` that is given a second time.
///
/// # Errors
///
/// When the folder cannot be read, or a cursor cannot be written.
pub fn clamp_all(state: &Path, last: u64) -> io::Result<()> {
    for (name, place) in cursors(state)? {
        if place.written > last || place.acknowledged > last {
            log::warn!("cursor {name}: was at {}, but the journal ends at {last}; set back", place.acknowledged);
            let file = open_file(&state.join("cursors").join(encode(&name)), OFlags::WRONLY, 0)?;
            let (acknowledged, written) = (place.acknowledged.min(last), place.written.min(last));
            let waiting = place.waiting.min(written.saturating_sub(acknowledged));
            file.write_all_at(Place { acknowledged, written, waiting }.text().as_bytes(), 0)?;
            file.sync_data()?;
        }
    }
    Ok(())
}

/// Any name as a file name: what is not plainly harmless becomes `%XX`.
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
