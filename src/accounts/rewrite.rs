//! Changes of the passwd-file: the file is read, one line is changed, and a new file is written beside it and renamed over
//! it. So a server that reads it at any moment sees the old file or the new one. Comments, order, owner and mode stay.

use super::passwd;
use super::secret::{LONGEST_PASSWORD, Secret};
use crate::config::user_name;
use crate::sys::folder::{Folder, make_folder};
use crate::sys::{Ids, hold};
use rustix::fs::{AtFlags, Mode, OFlags, fchmod, renameat, unlinkat};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long one process waits for the lock of another; each holds it for milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// The passwd-file as it is changed: by `mailbell user`, and at the first start of the embedded default. Any number of
/// processes may change it at once.
#[derive(Debug)]
pub struct Passwd {}

/// Why it was not changed.
#[derive(Debug)]
pub enum PasswdError {
    /// No name that a user can have; says why.
    Name(String),
    /// No password that can be used; says why.
    Password(&'static str),
    /// The name is taken.
    Exists(String),
    /// No user has that name.
    Unknown(String),
    /// Other processes held the lock all the time.
    Locked(PathBuf),
    /// A file cannot be read, made or written.
    Io(PathBuf, io::Error),
}

impl fmt::Display for PasswdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PasswdError::Name(why) => f.write_str(why),
            PasswdError::Password(why) => write!(f, "this password cannot be used: {why}"),
            PasswdError::Exists(name) => {
                write!(f, "{name} is there already; `mailbell user passwd {name}` changes the password")
            }
            PasswdError::Unknown(name) => write!(f, "there is no user {name:?}"),
            PasswdError::Locked(path) => {
                write!(f, "{}: locked by another process for {} seconds", path.display(), PATIENCE.as_secs())
            }
            PasswdError::Io(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for PasswdError {}

impl Passwd {
    /// Adds a user with an ARGON2ID hash of the password; makes the file (0600) and its folder where they do not exist.
    ///
    /// # Errors
    ///
    /// A bad name or password, a name that is taken, or the system's errors.
    pub fn add(file: &Path, name: &str, password: &[u8]) -> Result<(), PasswdError> {
        Passwd::add_for(file, name, password, None)
    }

    /// The same; a file that has to be made will be this owner's.
    ///
    /// # Errors
    ///
    /// As for [`Passwd::add`].
    pub fn add_for(file: &Path, name: &str, password: &[u8], owner: Option<Ids>) -> Result<(), PasswdError> {
        let name = user_name(name).map_err(PasswdError::Name)?;
        let secret = hash(file, password)?;
        if let Some(folder) = file.parent() {
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            let made = make_folder(folder, 0o750, None);
            made.map_err(|error| PasswdError::Io(folder.to_owned(), error))?;
        }
        change(file, owner, |mut text| {
            if line_of(&text, &name).is_ok() {
                return Err(PasswdError::Exists(name));
            }
            if !text.is_empty() && !text.ends_with(b"\n") {
                text.push(b'\n');
            }
            text.extend_from_slice(format!("{name}:{secret}\n").as_bytes());
            Ok(text)
        })
    }

    /// Gives a user a new password, as ARGON2ID; the other fields of the line stay.
    ///
    /// # Errors
    ///
    /// A bad password, a user that is not there, or the system's errors.
    pub fn set_password(file: &Path, name: &str, password: &[u8]) -> Result<(), PasswdError> {
        let secret = hash(file, password)?;
        change(file, None, |text| {
            let number = line_of(&text, name)?;
            let lines = text.split(|octet| *octet == b'\n').enumerate().map(|(index, line)| {
                if index + 1 == number { with_secret(line, secret.as_bytes()) } else { line.to_vec() }
            });
            Ok(lines.collect::<Vec<_>>().join(&b'\n'))
        })
    }

    /// Takes a user out. The user's mail stays.
    ///
    /// # Errors
    ///
    /// A user that is not there, or the system's errors.
    pub fn remove(file: &Path, name: &str) -> Result<(), PasswdError> {
        change(file, None, |text| {
            line_of(&text, name)?;
            // All of them: a second line, which made the file invalid, would be the account then.
            let numbers: Vec<usize> = passwd::lines(&text)
                .filter(|(_, found, _)| *found == name.as_bytes())
                .map(|(number, ..)| number)
                .collect();
            let lines = text.split_inclusive(|octet| *octet == b'\n').enumerate();
            let kept = lines.filter(|(index, _)| !numbers.contains(&(index + 1))).map(|(_, line)| line);
            Ok(kept.collect::<Vec<_>>().concat())
        })
    }

    /// The names in the file, in its order, whatever else is wrong with their lines; none without a file.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn names(file: &Path) -> Result<Vec<String>, PasswdError> {
        let text = read(file)?;
        let names = passwd::lines(&text).filter(|(_, _, secret)| secret.is_some()).map(|(_, name, _)| name);
        Ok(names.map(|name| String::from_utf8_lossy(name).into_owned()).collect())
    }
}

/// The line of a user, counted from 1.
fn line_of(text: &[u8], name: &str) -> Result<usize, PasswdError> {
    let mut lines = passwd::lines(text);
    let line = lines.find(|(_, found, secret)| *found == name.as_bytes() && secret.is_some());
    line.map(|(number, _, _)| number).ok_or_else(|| PasswdError::Unknown(name.to_owned()))
}

/// A line with another second field.
fn with_secret(line: &[u8], secret: &[u8]) -> Vec<u8> {
    let mut fields = line.splitn(3, |octet| *octet == b':');
    let (name, old, rest) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default(), fields.next());
    let mut new = [name, b":", secret].concat();
    match rest {
        Some(rest) => new.extend_from_slice(&[b":", rest].concat()),
        None if old.ends_with(b"\r") => new.push(b'\r'),
        None => {}
    }
    new
}

fn hash(file: &Path, password: &[u8]) -> Result<String, PasswdError> {
    if password.is_empty() {
        return Err(PasswdError::Password("it is empty"));
    }
    if password.len() > LONGEST_PASSWORD {
        return Err(PasswdError::Password("it is longer than 512 octets"));
    }
    // No protocol can carry these: NUL ends a field of SASL PLAIN, CR and LF end a line of POP3.
    if password.iter().any(|octet| matches!(octet, 0 | b'\r' | b'\n')) {
        return Err(PasswdError::Password("it has a line end or a NUL in it"));
    }
    Secret::hash(password).map_err(|error| PasswdError::Io(file.to_owned(), error))
}

fn read(file: &Path) -> Result<Vec<u8>, PasswdError> {
    let file = target(file);
    let text = Folder::of(&file).and_then(|(folder, name)| read_in(&folder, name));
    match text {
        // The folder may be missing too.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => Ok(other.map_err(|error| PasswdError::Io(file, error))?.0),
    }
}

/// Where a symbolic link leads: the link stays, and the file that it leads to is replaced.
fn target(file: &Path) -> PathBuf {
    fs::canonicalize(file).unwrap_or_else(|_| file.to_owned())
}

/// Owner and mode of the file before the change.
type Old = (Ids, u32);

/// The text of the file, with its owner and mode; nothing where there is no file.
fn read_in(folder: &Folder, name: &OsStr) -> io::Result<(Vec<u8>, Option<Old>)> {
    let mut file = match folder.file(name, OFlags::RDONLY, 0) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), None)),
        opened => opened?,
    };
    let metadata = file.metadata()?;
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    Ok((text, Some((Ids { uid: metadata.uid(), gid: metadata.gid() }, metadata.mode() & 0o777))))
}

/// Reads, changes and replaces the file under the lock.
fn change(
    file: &Path,
    owner: Option<Ids>,
    change: impl FnOnce(Vec<u8>) -> Result<Vec<u8>, PasswdError>,
) -> Result<(), PasswdError> {
    let file = target(file);
    let failed = |error: io::Error| PasswdError::Io(file.clone(), error);
    let (folder, name) = Folder::of(&file).map_err(failed)?;
    // The lock is on the folder: the file itself is another one after each change.
    let lock = folder.handle().map_err(failed)?;
    if !hold(&lock, |waited| Ok(waited >= PATIENCE)).map_err(failed)? {
        return Err(PasswdError::Locked(file.parent().unwrap_or(&file).to_owned()));
    }
    let (text, old) = read_in(&folder, name).map_err(failed)?;
    let text = change(text)?;
    let (owner, mode) = old.map_or((owner, 0o600), |(owner, mode)| (Some(owner), mode));
    let new = OsString::from_iter([OsStr::new("."), name, OsStr::new(".new")]);
    let replaced = write(&folder, &new, owner, mode, &text)
        .and_then(|()| Ok(renameat(&folder, &new, &folder, name)?))
        .inspect_err(|_| _ = unlinkat(&folder, &new, AtFlags::empty()));
    replaced.and_then(|()| lock.sync_all()).map_err(failed)
}

/// Writes the new file with the old one's owner and mode, safe on disk before it takes the old one's place.
fn write(folder: &Folder, new: &OsStr, owner: Option<Ids>, mode: u32, text: &[u8]) -> io::Result<()> {
    // A crash may have left one. No other mailbell process writes it now, because this one holds the lock.
    match unlinkat(folder, new, AtFlags::empty()) {
        Err(error) if error != Errno::NOENT => return Err(error.into()),
        _ => {}
    }
    let mut file = folder.file(new, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL, 0o600)?;
    let own = file.metadata()?;
    if let Some(owner) = owner
        && (own.uid(), own.gid()) != (owner.uid, owner.gid)
    {
        fchown(&file, Some(owner.uid), Some(owner.gid))?;
    }
    fchmod(&file, Mode::from_raw_mode(mode))?;
    file.write_all(text)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            let folder = std::env::temp_dir().join(format!("mailbell-passwd-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&folder);
            fs::create_dir_all(&folder).unwrap();
            Scratch(folder)
        }

        fn file(&self) -> PathBuf {
            self.0.join("users")
        }

        fn lines(&self) -> Vec<String> {
            let text = fs::read(self.file()).unwrap();
            let text = String::from_utf8(text).unwrap();
            text.split_inclusive('\n').map(|line| line.split("{ARGON2ID}$").next().unwrap().to_owned()).collect()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn verifies(file: &Path, name: &str, password: &str) -> bool {
        let (accounts, problems) = passwd::parse(file, &fs::read(file).unwrap());
        assert_eq!(problems, []);
        accounts.iter().any(|account| account.name == name && account.secret.verify(password.as_bytes()))
    }

    #[test]
    fn a_file_is_made_for_its_owner_alone() {
        let scratch = Scratch::new("made");
        let file = scratch.0.join("folder/users");
        Passwd::add(&file, "alice", b"secret").unwrap();
        assert!(verifies(&file, "alice", "secret"));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
        assert_eq!(Passwd::names(&file).unwrap(), ["alice"]);
        assert!(Passwd::names(&scratch.file()).unwrap().is_empty());
    }

    #[test]
    fn everything_else_in_the_file_stays() {
        let scratch = Scratch::new("stays");
        let before = "# staff\n\nalice:{PLAIN}one:1:2:rest\nbob:{PLAIN}two\r\nnot a user\n# last";
        fs::write(scratch.file(), before).unwrap();
        fs::set_permissions(scratch.file(), fs::Permissions::from_mode(0o640)).unwrap();
        Passwd::add(&scratch.file(), "carol", b"three").unwrap();
        assert_eq!(
            scratch.lines(),
            [
                "# staff\n",
                "\n",
                "alice:{PLAIN}one:1:2:rest\n",
                "bob:{PLAIN}two\r\n",
                "not a user\n",
                "# last\n",
                "carol:"
            ]
        );
        Passwd::set_password(&scratch.file(), "alice", b"new").unwrap();
        Passwd::set_password(&scratch.file(), "bob", b"newer").unwrap();
        let text = fs::read_to_string(scratch.file()).unwrap();
        let lines: Vec<&str> = text.split('\n').collect();
        assert!(lines[2].starts_with("alice:{ARGON2ID}$") && lines[2].ends_with(":1:2:rest"), "{}", lines[2]);
        assert!(lines[3].starts_with("bob:{ARGON2ID}$") && lines[3].ends_with('\r'), "{}", lines[3]);
        // A second line, which is an error, would else be the account.
        let twice = "bob:{PLAIN}old\n".to_owned() + &fs::read_to_string(scratch.file()).unwrap();
        fs::write(scratch.file(), twice).unwrap();
        Passwd::remove(&scratch.file(), "bob").unwrap();
        assert_eq!(scratch.lines(), ["# staff\n", "\n", "alice:", "not a user\n", "# last\n", "carol:"]);
        assert_eq!(fs::metadata(scratch.file()).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(Passwd::names(&scratch.file()).unwrap(), ["alice", "carol"]);
    }

    #[test]
    fn names_and_passwords_that_cannot_be_are_refused_and_nothing_changes() {
        let scratch = Scratch::new("refused");
        fs::write(scratch.file(), "alice:{PLAIN}one\n").unwrap();
        let file = scratch.file();
        assert!(matches!(Passwd::add(&file, "alice", b"x"), Err(PasswdError::Exists(_))));
        assert!(matches!(Passwd::add(&file, "a:b", b"x"), Err(PasswdError::Name(_))));
        assert!(matches!(Passwd::set_password(&file, "bob", b"x"), Err(PasswdError::Unknown(_))));
        assert!(matches!(Passwd::remove(&file, "bob"), Err(PasswdError::Unknown(_))));
        for password in [&b""[..], b"a\nb", b"a\rb", b"a\0b", &[b'x'; LONGEST_PASSWORD + 1]] {
            assert!(matches!(Passwd::add(&file, "bob", password), Err(PasswdError::Password(_))));
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), "alice:{PLAIN}one\n");
    }

    #[test]
    fn a_link_stays_a_link() {
        let scratch = Scratch::new("link");
        let target = scratch.0.join("target");
        fs::write(&target, "").unwrap();
        std::os::unix::fs::symlink(&target, scratch.file()).unwrap();
        Passwd::add(&scratch.file(), "alice", b"secret").unwrap();
        assert!(fs::symlink_metadata(scratch.file()).unwrap().is_symlink());
        assert!(verifies(&target, "alice", "secret"));
    }

    #[test]
    fn many_at_once_all_survive() {
        let scratch = Scratch::new("many");
        let file = scratch.file();
        std::thread::scope(|scope| {
            for number in 0..20 {
                let file = &file;
                scope.spawn(move || Passwd::add(file, &format!("user{number}"), b"secret").unwrap());
            }
        });
        let mut names = Passwd::names(&file).unwrap();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 20);
    }
}
