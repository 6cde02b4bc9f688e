//! A journal for tests, without a ledger: nothing is synced, and there is no mark, so that all of it counts as safe.

use super::recover;
use super::writer::Writer;
use crate::journal::{Record, Told};
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Appends records to a journal.
#[derive(Debug)]
pub struct Journal(Mutex<Writer>);

impl Journal {
    /// Opens the journal in `dir`.
    ///
    /// # Errors
    ///
    /// When the folder cannot be made or read.
    pub fn open(dir: &Path) -> io::Result<Journal> {
        recover::open(dir, 0).map(|writer| Journal(Mutex::new(writer)))
    }

    /// Appends the records, and gives each its `seq` and `duplicate_of`.
    ///
    /// # Errors
    ///
    /// When the disk is full or fails.
    pub fn append(&self, records: &mut [Record]) -> io::Result<()> {
        let mut writer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        records.iter_mut().for_each(|record| *record = writer.push(record.clone()).clone());
        writer.write(&Told::default()).map_err(|(error, _)| error)
    }

    /// `seq` of the latest record; 0 when there was none yet.
    pub fn last_seq(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).last()
    }

    /// Begins another segment, and compresses those before it.
    pub(crate) fn seal(&self) {
        let mut writer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        writer.rotate();
        super::upkeep::compress_sealed(writer.dir(), writer.first).unwrap();
    }

    /// Begins another segment.
    pub(crate) fn rotate(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).rotate();
    }
}
