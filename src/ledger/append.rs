//! How records get into the journal: appended, or kept waiting while the state's disk takes none.

use super::known::Identity;
use super::{Ledger, State, upkeep};
use crate::journal::Record;

/// Memory for records that wait, octets. Further messages are found again by a scan of the Maildirs.
const WAITING: usize = 4 * 1024 * 1024;

/// Records are written in blocks of about this size, octets.
const BLOCK: usize = 256 * 1024;

impl Ledger {
    /// Puts a record behind those that are to be written, or that wait.
    pub(super) fn push(&self, state: &mut State, record: Record, identity: Identity) {
        state.unsettled += 1;
        if !state.waiting.is_empty() {
            return self.wait(state, record, identity);
        }
        let writer = &mut state.writer;
        if writer.end >= upkeep::segment_octets(self.keep) && writer.buffered() == 0 {
            writer.rotate();
        }
        self.known.recorded(&record.user, identity, true);
        writer.push(record);
        if writer.buffered() >= BLOCK {
            self.write(state);
        }
    }

    /// Appends what was pushed.
    pub(super) fn write(&self, state: &mut State) {
        match state.writer.write(&self.told) {
            Ok(()) if state.waiting.is_empty() && std::mem::take(&mut state.failing.write) => {
                log::info!("journal: the records that waited are written");
            }
            Ok(()) => {}
            Err((error, records)) => {
                if !std::mem::replace(&mut state.failing.write, true) {
                    log::error!("journal: {error}; mail is stored all the same, and its records follow");
                }
                for record in records {
                    let identity = Identity::of_record(&record);
                    self.wait(state, record, identity);
                }
            }
        }
    }

    /// Keeps a record that the journal does not take.
    fn wait(&self, state: &mut State, record: Record, identity: Identity) {
        let octets = memory(&record);
        if state.octets + octets > WAITING {
            self.known.remove(&record.user, identity);
            state.overflowed = true;
            return;
        }
        self.known.recorded(&record.user, identity, false);
        state.octets += octets;
        state.waiting.push(record);
    }

    /// Tries again to record what waits.
    pub(super) fn retry(&self) {
        let mut state = self.lock();
        if !state.waiting.is_empty() {
            state.octets = 0;
            for record in std::mem::take(&mut state.waiting) {
                let identity = Identity::of_record(&record);
                self.push(&mut state, record, identity);
            }
        }
        self.write(&mut state);
        if state.waiting.is_empty() && std::mem::take(&mut state.overflowed) {
            drop(state);
            self.on_missed.get().inspect(|callback| callback());
        }
    }
}

/// About the memory of a record, octets.
fn memory(record: &Record) -> usize {
    let texts = crate::journal::record::FIELDS.iter().filter_map(|name| record.field(name));
    size_of::<Record>() + texts.map(|text| text.len()).sum::<usize>()
}
