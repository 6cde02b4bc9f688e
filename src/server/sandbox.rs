//! The workers' sandbox: with Landlock, a thread that talks to peers reaches the mail and the state and nothing else. It
//! does not reach users, aliases and keys, which are held in memory. A kernel without Landlock, or with one that does not
//! allow the rename from `tmp/` to `new/` (before 5.19), works without the sandbox, and the log says so.
//!
//! Landlock cannot be taken off again and holds for children too. So threads that read nothing from a peer are not held:
//! a reload may name another pipe, a hook runs any program, and a Maildir may be removed and made again.

use crate::config::Config;
use crate::notify::Enter;
use crate::server::handshake::Work;
use crate::server::pool::Pool;
use crate::sys::landlock::Ruleset;
use std::fs::{self, DirEntry};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A pool of workers that are held to [`places`]. What fails here makes nothing worse than it is without a sandbox.
pub fn pool(config: &Config) -> Pool<Work> {
    for link in links(config, false) {
        let link = link.display();
        log::warn!("{link}: sessions do not follow this link, because root has not made it; make it anew as root");
    }
    Pool::new(rules(config).map(|rules| Box::new(move || restrict(&rules)) as Box<dyn Fn() + Send + Sync>))
}

/// Holds a thread that speaks to another server to the same places.
pub fn enter(config: &Config) -> Enter {
    let rules = rules(config);
    std::sync::Arc::new(move || rules.iter().for_each(restrict))
}

fn restrict(rules: &Ruleset) {
    if let Err(error) = rules.restrict_self() {
        log::warn!("landlock: {error}");
    }
}

fn rules(config: &Config) -> Option<Ruleset> {
    match enclose(&places(config)) {
        Ok(Some(rules)) => return Some(rules),
        Ok(None) => {
            log::info!("landlock: this kernel has none, or one that is too old; sessions run without a sandbox")
        }
        Err(error) => log::warn!("landlock: {error}; sessions run without a sandbox"),
    }
    None
}

/// Device and inode of the places that a pool made now would reach; `None` for what does not exist, and for each link that
/// is not followed. When they change, as by a mount or by a link, the workers need new rules.
pub fn identities(config: &Config) -> Vec<Option<(u64, u64)>> {
    let identity = |place: PathBuf| fs::metadata(place).ok().map(|found| (found.dev(), found.ino()));
    let refused = links(config, false).into_iter().map(|_| None);
    places(config).into_iter().map(identity).chain(refused).collect()
}

/// The folders that workers may read and change: the state, the mail, and Maildirs that are links.
fn places(config: &Config) -> Vec<PathBuf> {
    let mut places = state(config);
    places.push(config.mail.root.clone());
    places.extend(links(config, true));
    places
}

/// The state folder; where accounts or keys lie in it, as with the embedded default, the folders in it that have none.
fn state(config: &Config) -> Vec<PathBuf> {
    let key = config.tls.pair.iter().flat_map(|(certificate, key)| [certificate, key]);
    let token = config.http.token_file.iter();
    let private: Vec<&PathBuf> =
        [&config.users.file, &config.users.aliases].into_iter().chain(key).chain(token).collect();
    let holds_private = |folder: &Path| private.iter().any(|file| file.starts_with(folder));
    if !holds_private(&config.state) {
        return vec![config.state.clone()];
    }
    let is_open = |entry: &DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir()) && !holds_private(&entry.path());
    entries(&config.state).filter(is_open).map(|folder| folder.path()).collect()
}

/// Links in place of users' Maildirs: those that root or the owner of the configuration has made, or the others. A link
/// that the server's own user has made is not followed: a session that was taken over could make one, and a reload would
/// open the way for it.
fn links(config: &Config, trusted: bool) -> Vec<PathBuf> {
    let own = rustix::process::geteuid().as_raw();
    let administrator = config.file.as_ref().map_or(Ok(own), |file| fs::metadata(file).map(|found| found.uid()));
    let is_trusted = |entry: &DirEntry| {
        let owner = entry.metadata().map(|found| found.uid());
        owner.is_ok_and(|owner| owner == 0 || administrator.as_ref().is_ok_and(|uid| *uid == owner))
    };
    let links = entries(&config.mail.root).filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()));
    links.filter(|link| is_trusted(link) == trusted).map(|link| link.path()).collect()
}

fn entries(folder: &Path) -> impl Iterator<Item = DirEntry> {
    fs::read_dir(folder).into_iter().flatten().flatten()
}

/// The rules that allow these places. They also forbid to bind and to connect TCP sockets, where the kernel can. Places
/// that do not exist are passed over. `None`: the kernel has no Landlock.
fn enclose(places: &[PathBuf]) -> io::Result<Option<Ruleset>> {
    let Some(rules) = Ruleset::new()? else { return Ok(None) };
    for place in places {
        match rules.allow(place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            done => done?,
        }
    }
    Ok(Some(rules))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::landlock;

    #[test]
    fn accounts_and_keys_are_no_place_for_workers() {
        let folder = std::env::temp_dir().join(format!("mailbell-places-{}", std::process::id()));
        for name in ["journal", "keys", "mail"] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        fs::write(folder.join("users"), "").unwrap();
        let mut config = Config::embedded(&folder, "me");
        config.tls.pair = Some((folder.join("keys/chain.pem"), folder.join("keys/key.pem")));
        let reached = |config: &Config| {
            let mut places = places(config);
            places.sort();
            places.dedup();
            places
        };
        assert_eq!(reached(&config), [folder.join("journal"), folder.join("mail")]);
        let elsewhere = Path::new("/etc/mailbell");
        (config.users.file, config.users.aliases) = (elsewhere.join("users"), elsewhere.join("aliases"));
        config.tls.pair = None;
        assert_eq!(reached(&config), [folder.clone(), folder.join("mail")]);
        std::os::unix::fs::symlink("/etc", folder.join("mail/alice")).unwrap();
        assert_eq!(reached(&config), [folder.clone(), folder.join("mail"), folder.join("mail/alice")]);
        if rustix::process::geteuid().is_root() {
            // A link of another user's, neither root nor the owner of the configuration.
            std::os::unix::fs::lchown(folder.join("mail/alice"), Some(65_534), None).unwrap();
            assert_eq!(reached(&config), [folder.clone(), folder.join("mail")]);
        } else {
            eprintln!("skipped: the part that needs root");
        }
        fs::remove_dir_all(folder).unwrap();
    }

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
                let places = [mine.clone(), PathBuf::from("/nonexistent/mailbell")];
                let Some(rules) = enclose(&places).unwrap() else { return false };
                rules.restrict_self().unwrap();
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
            eprintln!("skipped: this kernel has no Landlock");
        }
        assert_eq!(fs::read(other.join("new/../tmp/file")).unwrap(), b"x", "this thread did not enter");
        fs::remove_dir_all(folder).unwrap();
    }
}
