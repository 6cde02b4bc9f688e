//! Attachments as files in one folder. The folder is opened once; each file is made below it by a name that a stranger
//! cannot make leave it, and that was not there before: no file is overwritten and no link is followed.

use crate::message::mime::{Files, Names, of_kind};
use rustix::fs::{AtFlags, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Names that are tried for one attachment in a folder that has files of these names.
const TRIES: usize = 10_000;

/// Saves the attachments of one message.
pub struct Saver<'t> {
    folder: File,
    path: PathBuf,
    names: Names,
    /// Attachments so far.
    count: usize,
    current: Option<(String, File)>,
    /// The first error: nothing is saved after it.
    error: Option<(PathBuf, io::Error)>,
    tell: &'t mut dyn FnMut(&Path) -> io::Result<()>,
}

impl<'t> Saver<'t> {
    /// Saves in this folder, which is made if it is not there. `tell` gets the path of each file that is whole.
    ///
    /// # Errors
    ///
    /// When there is no such folder and it cannot be made.
    pub fn new(path: &Path, tell: &'t mut dyn FnMut(&Path) -> io::Result<()>) -> io::Result<Saver<'t>> {
        let open = || rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let folder = match open() {
            Err(Errno::NOENT) => {
                rustix::fs::mkdir(path, Mode::from_raw_mode(0o750))?;
                open()?
            }
            opened => opened?,
        };
        let (path, names) = (path.to_owned(), Names::default());
        Ok(Saver { folder: folder.into(), path, names, count: 0, current: None, error: None, tell })
    }

    /// Whether all was saved.
    ///
    /// # Errors
    ///
    /// The first file that could not be written whole, which is not there any more.
    pub fn finish(self) -> Result<(), (PathBuf, io::Error)> {
        self.error.map_or(Ok(()), Err)
    }

    fn create(&mut self, name: &str) -> io::Result<(String, File)> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for _ in 0..TRIES {
            let candidate = self.names.other(name);
            match openat(&self.folder, &candidate, flags, Mode::from_raw_mode(0o640)) {
                Ok(file) => return Ok((candidate, file.into())),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Errno::EXIST.into())
    }

    /// What is not whole does not stay.
    fn fail(&mut self, name: &str, error: io::Error) {
        if self.current.take().is_some() {
            let _ = unlinkat(&self.folder, name, AtFlags::empty());
        }
        self.error.get_or_insert((self.path.join(name), error));
    }
}

impl Files for Saver<'_> {
    fn begin(&mut self, name: Option<&str>, kind: &str) {
        self.count += 1;
        if self.error.is_some() {
            return;
        }
        let name = name.map_or_else(|| of_kind(kind, self.count), str::to_owned);
        match self.create(&name) {
            Ok(created) => self.current = Some(created),
            Err(error) => self.fail(&name, error),
        }
    }

    fn octets(&mut self, octets: &[u8]) {
        if let Some((name, file)) = &mut self.current
            && let Err(error) = file.write_all(octets)
        {
            let name = name.clone();
            self.fail(&name, error);
        }
    }

    fn end(&mut self) {
        if let Some((name, _)) = self.current.take()
            && let Err(error) = (self.tell)(&self.path.join(&name))
        {
            self.error.get_or_insert((self.path.join(&name), error));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_whole_does_not_stay() {
        let folder = std::env::temp_dir().join(format!("mailbell-save-{}", std::process::id()));
        let mut told = Vec::new();
        let mut tell = |path: &Path| {
            told.push(path.to_owned());
            Ok(())
        };
        let mut saver = Saver::new(&folder, &mut tell).unwrap();
        saver.begin(Some("whole"), "text/plain");
        saver.octets(b"x");
        saver.end();
        saver.begin(Some("half"), "text/plain");
        saver.octets(b"x");
        // A descriptor that cannot be written stands for a disk that is full.
        let (_, file) = saver.current.as_mut().unwrap();
        *file = File::open("/dev/null").unwrap();
        saver.octets(b"y");
        saver.end();
        saver.begin(Some("later"), "text/plain");
        saver.octets(b"x");
        saver.end();
        let (path, error) = saver.finish().unwrap_err();
        assert_eq!((path, error.raw_os_error()), (folder.join("half"), Some(rustix::io::Errno::BADF.raw_os_error())));
        assert_eq!(told, [folder.join("whole")]);
        let left: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["whole"]);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
