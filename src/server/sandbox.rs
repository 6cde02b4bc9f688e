//! Landlock: a thread that talks to peers reaches the mail, the state and the accounts, and nothing else. Where the
//! kernel has none, or one too old to allow a rename from `tmp/` to `new/` (before 5.19), it goes on without, and says so.
//!
//! Landlock cannot be taken off again and holds for children too. So the threads that read nothing from a peer stay as
//! they are: a reload may name another pipe, a hook runs any program, and a Maildir may be removed and made again.

use crate::sys::landlock::{self, Access};
use std::io;
use std::path::{Path, PathBuf};

/// Which folders and files stay within reach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    read: Vec<PathBuf>,
    write: Vec<PathBuf>,
}

/// A restriction that threads can enter.
#[derive(Debug)]
pub struct Sandbox(landlock::Ruleset);

impl Places {
    /// None yet.
    pub fn new() -> Places {
        Places::default()
    }

    /// The file's folder may be read: editors and tools replace files by rename.
    pub fn read_beside(&mut self, file: &Path) {
        self.read.push(file.parent().unwrap_or(file).to_owned());
    }

    /// Everything below `path` may be read and changed.
    pub fn write(&mut self, path: &Path) {
        self.write.push(path.to_owned());
    }

    /// A sandbox of these places. It also keeps from binding and connecting TCP sockets where the kernel can. Places that
    /// do not exist are passed over. `None`: the kernel cannot.
    ///
    /// # Errors
    ///
    /// As landlock(7) says.
    pub fn enclose(&self) -> io::Result<Option<Sandbox>> {
        let Some(ruleset) = landlock::Ruleset::new()? else { return Ok(None) };
        for (paths, access) in [(&self.read, Access::Read), (&self.write, Access::Write)] {
            for path in paths {
                match ruleset.allow(path, access) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    done => done?,
                }
            }
        }
        Ok(Some(Sandbox(ruleset)))
    }
}

impl Sandbox {
    /// Holds this thread, and every thread and process that it starts from now on, to the places. For good.
    ///
    /// # Errors
    ///
    /// As landlock(7) says; the thread is as free as before then.
    pub fn enter(&self) -> io::Result<()> {
        self.0.restrict_self()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_is_not_named_is_out_of_reach() {
        let folder = std::env::temp_dir().join(format!("mailbell-sandbox-{}", std::process::id()));
        let (mine, other) = (folder.join("mine"), folder.join("other"));
        for part in [&mine, &other] {
            fs::create_dir_all(part.join("tmp")).unwrap();
            fs::create_dir_all(part.join("new")).unwrap();
            fs::write(part.join("tmp/file"), "x").unwrap();
        }
        // In a thread of its own: the restriction stays with it and ends with it.
        let is_supported = std::thread::spawn({
            let (mine, other) = (mine.clone(), other.clone());
            move || {
                let mut places = Places::new();
                places.write(&mine);
                places.read_beside(Path::new("/nonexistent/mailbell"));
                let Some(sandbox) = places.enclose().unwrap() else { return false };
                sandbox.enter().unwrap();
                fs::rename(mine.join("tmp/file"), mine.join("new/file")).unwrap();
                fs::hard_link(mine.join("new/file"), mine.join("tmp/again")).unwrap();
                assert_eq!(fs::read(other.join("tmp/file")).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
                assert_eq!(fs::write(other.join("tmp/b"), "x").unwrap_err().kind(), io::ErrorKind::PermissionDenied);
                assert!(std::net::TcpListener::bind("127.0.0.1:0").is_err() || !landlock::holds_tcp());
                true
            }
        })
        .join()
        .unwrap();
        if !is_supported {
            eprintln!("this kernel has no Landlock: nothing was shown");
        }
        assert_eq!(fs::read(other.join("new/../tmp/file")).unwrap(), b"x", "this thread did not enter");
        fs::remove_dir_all(folder).unwrap();
    }
}
