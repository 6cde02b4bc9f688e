//! The certificate on the disk: it is looked at each hour, and taken over when its files changed. A program that renews
//! certificates may write key and chain one after the other; until both belong together the old ones stay, and the files are
//! looked at again soon.

use crate::net::tls;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Certificate chain and key.
pub type Pair = (PathBuf, PathBuf);

/// What shows that a file is another one, or was written to: device, inode, length, and the times of the last change of its
/// content and of itself. Links are followed: certbot's `live/` has links that lead to other files after a renewal.
type Stamp = (u64, u64, u64, (i64, i64), (i64, i64));

/// The files as they were when they were last looked at.
#[derive(Debug, Default)]
pub struct Seen {
    pair: Option<Pair>,
    stamps: Option<(Stamp, Stamp)>,
}

impl Seen {
    /// The files are used as they are now.
    pub fn of(pair: Option<Pair>) -> Seen {
        let stamps = pair.as_ref().and_then(|pair| stamps(pair).ok());
        Seen { pair, stamps }
    }

    /// Reads the files when they have changed. `None`: they have not changed, or no certificate is configured.
    pub fn look(&mut self) -> Option<Result<tls::Config, String>> {
        let pair = self.pair.as_ref()?;
        let now = match stamps(pair) {
            Ok(now) if Some(now) == self.stamps => return None,
            Ok(now) => now,
            // Gone, or out of reach: one of the two may be replaced just now.
            Err(error) => return Some(Err(error)),
        };
        let read = tls::Config::load(&pair.0, &pair.1).map_err(|error| error.to_string());
        if read.is_ok() {
            self.stamps = Some(now);
        }
        Some(read)
    }
}

fn stamps((certificate, key): &Pair) -> Result<(Stamp, Stamp), String> {
    let stamp = |path: &Path| -> Result<Stamp, String> {
        let said = |error: io::Error| format!("{}: {error}", path.display());
        let found = std::fs::metadata(path).map_err(said)?;
        let (changed, touched) = ((found.mtime(), found.mtime_nsec()), (found.ctime(), found.ctime_nsec()));
        Ok((found.dev(), found.ino(), found.len(), changed, touched))
    };
    Ok((stamp(certificate)?, stamp(key)?))
}
