//! `--follow-user`: the mail of the user that runs the command, also when accounts and aliases change.

use crate::accounts::Accounts;
use crate::config::Config;
use crate::sys;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What a file's metadata say when it was changed: inode, size, and the time of the change in seconds and nanoseconds.
type Stamp = Option<(u64, u64, i64, i64)>;

/// Knows which accounts the mail of a system user goes to.
#[derive(Debug)]
pub(super) struct Follow {
    config: Config,
    /// The system's name of the user, in lower case.
    name: String,
    users: Vec<String>,
    /// Of the files of users and aliases when they were read.
    read: [Stamp; 2],
}

impl Follow {
    /// The mail of this system user.
    pub(super) fn new(config: Config, name: &str) -> Follow {
        let mut follow = Follow { config, name: name.to_lowercase(), users: Vec::new(), read: [None; 2] };
        follow.users.push(follow.name.clone());
        if !follow.read() {
            eprintln!(
                "mailbell: warning: no account and no alias has the name of the user {:?}; events are shown when one has",
                follow.name
            );
        }
        follow
    }

    /// Whether this account's mail is the user's. Both files are read again where they have changed.
    pub(super) fn wants(&mut self, user: &str) -> bool {
        if self.stamps() != self.read {
            self.read();
        }
        self.users.iter().any(|known| known.eq_ignore_ascii_case(user))
    }

    /// Reads both files. With an error in them, what was known before counts. False where no account is the user's.
    fn read(&mut self) -> bool {
        self.read = self.stamps();
        let accounts = match Accounts::load(&self.config) {
            Ok(accounts) => accounts,
            Err(problems) => {
                problems.iter().for_each(|problem| eprintln!("{problem}"));
                return true;
            }
        };
        self.users = accounts.of_system_user(&self.name);
        let is_watched = self.config.watches.iter().any(|watch| watch.user == self.name);
        let has_account = is_watched || !self.users.is_empty();
        // A Maildir of another program may have events under this name.
        self.users.push(self.name.clone());
        has_account
    }

    fn stamps(&self) -> [Stamp; 2] {
        [stamp(&self.config.users.file), stamp(&self.config.users.aliases)]
    }
}

fn stamp(file: &Path) -> Stamp {
    let about = file.metadata().ok()?;
    Some((about.ino(), about.size(), about.ctime(), about.ctime_nsec()))
}

/// The system's name of the user that runs this process; under sudo or doas, of the user that called it.
pub(super) fn system_user() -> Option<String> {
    let uid = rustix::process::getuid();
    // Of root alone: any other user could write there what it likes.
    let caller = ["SUDO_USER", "DOAS_USER"].into_iter().find_map(|name| std::env::var(name).ok());
    if uid.is_root() { caller } else { None }.or_else(|| sys::user_name(uid.as_raw()))
}
