//! Which system user a process of mailbell becomes when root starts it.
//!
//! The server becomes `user` of the configuration. Every other command becomes the user that the server runs as, before
//! it opens anything in a folder of that user: what it makes there is readable for the server, and nothing that
//! the user has put there is opened with root's rights.

use super::StartError;
use crate::config::Config;
use crate::sys::folder::{Folder, make_folder, open_file};
use crate::sys::{self, Ids};
use rustix::fs::OFlags;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// State folder, account and group of the packages, for a command that root runs before the first start of the service.
const PACKAGED: (&str, &str, &str) = ("/var/lib/mailbell", "mailbell", "mail");

/// Links that are followed from one file to the next.
const MOST_LINKS: usize = 40;

/// The user and group that `user` and `group` name; `None` without `user`.
///
/// # Errors
///
/// When the system does not know them.
pub fn configured(config: &Config) -> Result<Option<Ids>, StartError> {
    let Some(user) = &config.user else { return Ok(None) };
    let unknown = || {
        let group = config.group.as_ref().map(|group| format!(" or group {group:?}")).unwrap_or_default();
        StartError::Configuration(format!(
            "`user`: the system knows no user {user:?}{group}; create it, or correct the name"
        ))
    };
    let ids = sys::look_up(user, config.group.as_deref());
    ids.map_err(|error| StartError::io("the user database", &error))?.map(Some).ok_or_else(unknown)
}

/// The owner of state and mail, for a command that root runs: `user`, else the owner of the state folder.
/// Before the first start there is no such folder; then the owner of the users file, which the server must be able to
/// read, or the packages' account. `None`: this process is not root, or it is to stay root.
///
/// # Errors
///
/// When `user` is unknown, or the state folder cannot be looked at.
pub fn of_state(config: &Config) -> Result<Option<Ids>, StartError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    if let Some(ids) = configured(config)? {
        return Ok(Some(ids));
    }
    let ids = match Folder::open(&config.state).and_then(|folder| folder.owner()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => match owner_of_file(&config.users.file) {
            Ok(ids) if ids.uid != 0 => Some(ids),
            _ => packaged(&config.state)?,
        },
        found => Some(found.map_err(|error| StartError::io(config.state.display(), &error))?),
    };
    Ok(ids.filter(|ids| ids.uid != 0))
}

/// Becomes that user, permanently. Called first by every command but `serve`, `check` and `user`.
///
/// # Errors
///
/// As for [`of_state`], and when the system refuses the change.
pub fn become_owner_of_state(config: &Config) -> Result<(), StartError> {
    of_state(config)?.map_or(Ok(()), become_user)
}

/// The same, after the folders of state and mail were made where they do not exist.
///
/// # Errors
///
/// The same, and when a folder cannot be made.
pub fn become_owner_of_store(config: &Config) -> Result<(), StartError> {
    let Some(owner) = of_state(config)? else { return Ok(()) };
    store_folders(config, Some(owner))?;
    become_user(owner)?;
    store_folders(config, None)
}

/// Becomes, permanently, the owner of the folder of this file, when this process is root and the folder is another user's.
/// A link to the file counts as the file, if it is root's; a file that does not exist yet is to be made.
///
/// # Errors
///
/// When root would have to follow another user's link, or when the system refuses the change.
pub fn become_owner_of_file(file: &Path) -> Result<(), StartError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let mut file = file.to_owned();
    for _ in 0..MOST_LINKS {
        let failed = |error: io::Error| StartError::io(file.display(), &error);
        let (folder, name) = match Folder::of(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            folder => folder.map_err(failed)?,
        };
        let owner = folder.owner().map_err(failed)?;
        if owner.uid != 0 {
            return become_user(owner);
        }
        let Some(target) = folder.link(name).map_err(failed)? else { return Ok(()) };
        file = file.parent().unwrap_or(Path::new("/")).join(target);
    }
    Err(StartError::Permission(format!("{}: too many links", file.display())))
}

/// Becomes another user, with its environment.
///
/// # Errors
///
/// When the system refuses the change.
pub fn become_user(ids: Ids) -> Result<(), StartError> {
    let changed = sys::become_user(ids).and_then(|()| sys::take_environment_of(ids));
    changed.map_err(|error| StartError::io(format!("becoming user {}", ids.uid), &error))
}

/// Makes the folders of state and mail where they do not exist.
pub(super) fn store_folders(config: &Config, owner: Option<Ids>) -> Result<(), StartError> {
    for folder in [&config.state, &config.mail.root] {
        make_folder(folder, 0o750, owner).map_err(|error| StartError::io(folder.display(), &error))?;
    }
    Ok(())
}

fn owner_of_file(path: &Path) -> io::Result<Ids> {
    let file = open_file(path, OFlags::RDONLY, 0)?.metadata()?;
    Ok(Ids { uid: file.uid(), gid: file.gid() })
}

fn packaged(state: &Path) -> Result<Option<Ids>, StartError> {
    let (folder, account, group) = PACKAGED;
    if state != Path::new(folder) {
        return Ok(None);
    }
    let found = match sys::look_up(account, Some(group)) {
        Ok(None) => sys::look_up(account, None),
        found => found,
    };
    found.map_err(|error| StartError::io("the user database", &error))
}
