//! Files, folders and rights: whether the server can read, write and run what the configuration names.

use super::Findings;
use crate::accounts::Accounts;
use crate::config::{Config, Place};
use crate::maildir::store;
use crate::nearest::nearest;
use crate::net::tls;
use crate::server::{listener, owner};
use crate::sys::{self, Ids};
use rustix::fs::{Access, access};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Looks at all of them.
pub(super) fn check(findings: &mut Findings<'_>) {
    let config = findings.config;
    let accounts = Accounts::load(config).map_err(|problems| findings.problems.extend(problems)).ok();
    if let Some((certificate, key)) = &config.tls.pair {
        match tls::Config::load(certificate, key) {
            Ok(loaded) => {
                let warning = loaded.warning().map(|warning| format!("{}: {warning}", certificate.display()));
                warning.into_iter().for_each(|warning| findings.doubtful("tls.certificate", warning));
            }
            Err(error) => {
                let of_key = matches!(&error, tls::Error::File(path, _) if path == key);
                findings.wrong(if of_key { "tls.key" } else { "tls.certificate" }, error);
            }
        }
    }
    let server = server(findings);
    let who = match (&config.user, server) {
        (Some(user), Some(_)) => user.clone(),
        _ => format!("user {}", rustix::process::geteuid().as_raw()),
    };
    for (key, path) in readable(config) {
        shown_to_everybody(findings, key, path);
    }
    let found = findings.as_server(server, || rights(config, &who, server.is_some()));
    for (key, message) in found.into_iter().flatten() {
        findings.wrong(&key, message);
    }
    for (key, folder) in folders(config) {
        if !folder.exists() {
            to_be_made(findings, &key, &folder);
        }
    }
    families(findings);
    hooks(findings);
    watches(findings, server);
    #[cfg(feature = "http")]
    super::http::check(findings, server);
    #[cfg(feature = "webhook")]
    super::webhooks::check(findings, server);
    #[cfg(feature = "remote")]
    super::remotes::check(findings, server, accounts.as_ref());
    #[cfg(feature = "relay")]
    super::smarthost::check(findings, server);
    #[cfg(feature = "mqtt")]
    super::mqtt::check(findings, server);
    if let Some(accounts) = accounts {
        let listeners = [&config.smtp.listen, &config.submission, &config.lmtp, &config.tls.smtps];
        if accounts.names().next().is_none() && listeners.iter().any(|places| !places.is_empty()) {
            findings.doubtful("users.file", "there is no account yet; add one with `mailbell user add NAME`");
        }
        submission(findings, &accounts);
        super::relay::check(findings);
        strangers(findings, &accounts);
        ages(findings, &accounts);
    }
}

/// The user that the server will become, where this process runs as another user.
fn server(findings: &mut Findings<'_>) -> Option<Ids> {
    let Some(user) = &findings.config.user else {
        if let Ok(Some(owner)) = owner::of_state(findings.config) {
            let hint = format!("setpriv --reuid={} --regid={} --clear-groups", owner.uid, owner.gid);
            findings.notes.push(format!(
                "the rights of root were tried; for those of the state's owner run: {hint} mailbell check"
            ));
        }
        return None;
    };
    let group = findings.config.group.as_deref();
    match sys::look_up(user, group) {
        Ok(Some(ids)) if rustix::process::geteuid().is_root() => Some(ids),
        Ok(Some(ids)) => {
            // A server that is not started by root keeps its user.
            if ids.uid != rustix::process::geteuid().as_raw() {
                findings
                    .notes
                    .push(format!("the rights of your own user were tried; run by root, check tries those of {user}"));
            }
            None
        }
        Ok(None) => {
            match group {
                Some(group) if matches!(sys::look_up(user, None), Ok(Some(_))) => {
                    findings.wrong("group", format!("the system knows no group {group:?}"));
                }
                _ => findings.wrong("user", format!("the system knows no user {user:?}")),
            }
            None
        }
        Err(error) => {
            findings.wrong("user", format!("the user database cannot be read: {error}"));
            None
        }
    }
}

/// Files that a server reads at its start and at each reload.
fn readable(config: &Config) -> Vec<(&'static str, &Path)> {
    let mut files = vec![("users.file", config.users.file.as_path()), ("users.aliases", &config.users.aliases)];
    if let Some((certificate, key)) = &config.tls.pair {
        files.extend([("tls.certificate", certificate.as_path()), ("tls.key", key)]);
    }
    files
}

/// Folders that a server writes into. It makes those that do not exist.
fn folders(config: &Config) -> Vec<(String, PathBuf)> {
    let mut folders =
        vec![("state".to_owned(), config.state.clone()), ("mail.root".to_owned(), config.mail.root.clone())];
    let parent = |path: &Path| path.parent().map(Path::to_owned);
    let pipes = config.pipes.iter().enumerate();
    folders.extend(pipes.filter_map(|(index, pipe)| Some((format!("pipe[{index}].path"), parent(&pipe.path)?))));
    let lmtp = config.lmtp.iter().map(|place| ("lmtp.listen", place));
    for (key, place) in lmtp.chain(config.metrics.iter().map(|place| ("metrics.listen", place))) {
        if let Place::Unix(path) = place {
            folders.extend(parent(path).map(|folder| (key.to_owned(), folder)));
        }
    }
    folders
}

/// Rights that the user named `who` lacks; called with the rights of that user. What root makes before the change of user
/// needs no right.
fn rights(config: &Config, who: &str, begins_as_root: bool) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (key, path) in readable(config) {
        // A file that cannot be read for another reason has been reported before.
        if let Err(rustix::io::Errno::ACCESS) = access(path, Access::READ_OK) {
            found.push((key.to_owned(), format!("{} must be readable for {who}", path.display())));
        }
    }
    for (key, folder) in folders(config) {
        let is_kept = begins_as_root && !matches!(key.as_str(), "state" | "mail.root");
        let needed = if is_kept { Access::EXEC_OK } else { Access::WRITE_OK | Access::EXEC_OK };
        match access(&folder, needed) {
            Ok(()) if !folder.is_dir() => found.push((key, format!("{} is not a folder", folder.display()))),
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => {
                let right = if is_kept { "passable" } else { "writable" };
                found.push((key, format!("{} must be {right} for {who}: {error}", folder.display())));
            }
        }
    }
    // Files that an earlier start as another user left behind.
    for (key, folder) in [("state", &config.state), ("mail.root", &config.mail.root)] {
        let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
        for path in entries.map(|entry| entry.path()).filter(|path| !path.is_symlink()) {
            if let Err(rustix::io::Errno::ACCESS) = access(&path, Access::WRITE_OK) {
                found.push((key.to_owned(), format!("{} must be writable for {who}", path.display())));
            }
        }
        found.extend(unsafe_folder(folder).map(|message| (key.to_owned(), message)));
    }
    for (index, pipe) in config.pipes.iter().enumerate() {
        let key = format!("pipe[{index}].path");
        match fs::metadata(&pipe.path) {
            Ok(there) if !there.file_type().is_fifo() => {
                found.push((
                    key,
                    format!("{} exists and is not a FIFO; remove it, or choose another path", pipe.path.display()),
                ));
            }
            Ok(_) => {
                if access(&pipe.path, Access::READ_OK | Access::WRITE_OK).is_err() {
                    found.push((key, format!("{} must be readable and writable for {who}", pipe.path.display())));
                }
            }
            Err(_) => {}
        }
    }
    found
}

/// A folder that cannot be synced. A message there is never safe, so the server would not take it.
fn unsafe_folder(folder: &Path) -> Option<String> {
    File::open(folder).ok()?;
    let error = store::can_be_synced(folder).err()?;
    Some(format!("{error}; all mail would get 451"))
}

/// A folder that does not exist: whether the start can make it.
fn to_be_made(findings: &mut Findings<'_>, key: &str, folder: &Path) {
    let there = folder.ancestors().skip(1).find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"));
    if let Err(error) = access(there, Access::WRITE_OK | Access::EXEC_OK) {
        let message = format!("{} is not there, and cannot be made in {}: {error}", folder.display(), there.display());
        findings.wrong(key, message);
    }
}

/// Secrets that every user of the machine can read, and files that every user can change.
fn shown_to_everybody(findings: &mut Findings<'_>, key: &str, path: &Path) {
    let Ok(metadata) = fs::metadata(path) else { return };
    let is_secret = matches!(key, "users.file" | "tls.key");
    if is_secret && metadata.mode() & 0o004 != 0 {
        findings.doubtful(key, format!("everybody can read {}: chmod o= it", path.display()));
    }
    if metadata.mode() & 0o002 != 0 {
        findings.doubtful(key, format!("everybody can write {}: chmod o= it", path.display()));
    }
}

/// Addresses for which this kernel has no address family. A default one is left out at the start.
fn families(findings: &mut Findings<'_>) {
    for (_, key, place) in findings.config.listeners() {
        let Place::Tcp(address) = place else { continue };
        let is_default = findings.config.is_default(key.split('[').next().unwrap_or(&key));
        match listener::has_no_family(*address) {
            false => {}
            true if is_default => {
                findings.doubtful(&key, format!("not listening on {place}: {}", listener::NO_FAMILY));
            }
            true => findings.wrong(&key, format!("{place}: {}; take it out here", listener::NO_FAMILY)),
        }
    }
}

/// Programs of hooks that do not exist. This is a warning: mail is not affected, and the program may be installed later.
fn hooks(findings: &mut Findings<'_>) {
    for (index, hook) in findings.config.hooks.iter().enumerate() {
        let program = Path::new(&hook.command[0]);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let places: Vec<PathBuf> = match program.is_absolute() {
            true => vec![program.to_owned()],
            false => std::env::split_paths(&path).map(|folder| folder.join(program)).collect(),
        };
        if !places.iter().any(|place| place.is_file() && access(place, Access::EXEC_OK).is_ok()) {
            let message = format!("there is no program {} that can be run", program.display());
            findings.doubtful(&format!("hook[{index}].command"), message);
        }
    }
}

fn watches(findings: &mut Findings<'_>, server: Option<Ids>) {
    for (index, watch) in findings.config.watches.iter().enumerate() {
        let read = findings.as_server(server, || fs::read_dir(watch.maildir.join("new")).err());
        if let Some(error) = read.flatten() {
            let message = match error.kind() {
                io::ErrorKind::NotFound => {
                    format!("{} is no Maildir yet: it has no folder new/", watch.maildir.display())
                }
                _ => format!("{}/new: {error}", watch.maildir.display()),
            };
            findings.doubtful(&format!("watch[{index}].maildir"), message);
        }
    }
}

/// Users in the settings of subscribers that have neither an account nor a watched Maildir: they get no mail.
fn strangers(findings: &mut Findings<'_>, accounts: &Accounts) {
    let config = findings.config;
    let known: Vec<&str> = accounts.names().chain(config.watches.iter().map(|watch| watch.user.as_str())).collect();
    let pipes = config.pipes.iter().enumerate().map(|(index, pipe)| (format!("pipe[{index}].users"), &pipe.filter));
    let hooks = config.hooks.iter().enumerate().map(|(index, hook)| (format!("hook[{index}].users"), &hook.filter));
    let all = pipes.chain(hooks);
    #[cfg(feature = "mqtt")]
    let all = {
        let mqtts = config.mqtts.iter().enumerate();
        all.chain(mqtts.map(|(index, mqtt)| (format!("mqtt[{index}].users"), &mqtt.filter)))
    };
    #[cfg(feature = "webhook")]
    let all = {
        let webhooks = config.webhooks.iter().enumerate();
        all.chain(webhooks.map(|(index, webhook)| (format!("webhook[{index}].users"), &webhook.filter)))
    };
    for (key, filter) in all {
        for user in filter.users().iter().filter(|user| !known.iter().any(|known| known.eq_ignore_ascii_case(user))) {
            let hint = nearest(user, known.iter().copied());
            let hint = hint.map_or(String::new(), |near| format!("; did you mean {near:?}?"));
            findings.doubtful(&key, format!("there is no user {user:?}, so no mail matches{hint}"));
        }
    }
}

/// Users in `users.delete_after` without an account: the age is for nobody.
fn ages(findings: &mut Findings<'_>, accounts: &Accounts) {
    for user in findings.config.users.delete_after.keys() {
        if !accounts.names().any(|name| name == user) {
            let hint = nearest(user, accounts.names());
            let hint = hint.map_or(String::new(), |near| format!("; did you mean {near:?}?"));
            findings.doubtful("users.delete_after", format!("there is no account {user:?}{hint}"));
        }
    }
}

/// Submission that no other machine can use: without TLS, no password is accepted from there.
fn submission(findings: &mut Findings<'_>, accounts: &Accounts) {
    let config = findings.config;
    let elsewhere = |place: &Place| matches!(place, Place::Tcp(address) if !address.ip().is_loopback());
    let useless = config.tls.pair.is_none() && config.tls.required_for_auth && !accounts.all_plain();
    if useless && config.submission.iter().any(elsewhere) {
        findings.doubtful(
            "submission.listen",
            "without `tls.certificate` only this machine itself can log in; see `tls.required_for_auth`",
        );
    }
}
