//! The boundaries of the multiparts that have begun, one within the other.
//!
//! They are found by hash, so that a line costs the same however many there are; the hash has a key of its own for each
//! message, so that no sender can make many boundaries meet in it.

use std::collections::HashMap;

/// The boundaries, the outermost first.
#[derive(Debug, Default)]
pub(super) struct Boundaries {
    levels: Vec<Level>,
    /// The innermost level with this boundary.
    innermost: HashMap<Vec<u8>, usize>,
}

#[derive(Debug)]
struct Level {
    boundary: Vec<u8>,
    /// The next outer level with the same boundary.
    same: Option<usize>,
}

impl Boundaries {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.levels.len()
    }

    /// A multipart begins within the others.
    pub(super) fn push(&mut self, boundary: Vec<u8>) {
        let same = self.innermost.insert(boundary.clone(), self.levels.len());
        self.levels.push(Level { boundary, same });
    }

    /// The innermost one has ended.
    pub(super) fn pop(&mut self) {
        let Some(Level { boundary, same }) = self.levels.pop() else { return };
        match same {
            Some(level) => self.innermost.insert(boundary, level),
            None => self.innermost.remove(&boundary),
        };
    }

    /// The level of which a line is a boundary, and whether it is its close delimiter. `text` is the line behind its two
    /// dashes, without white space at its end.
    pub(super) fn find(&self, text: &[u8]) -> Option<(usize, bool)> {
        let opens = self.innermost.get(text).map(|level| (*level, false));
        let closed = text.strip_suffix(b"--").and_then(|boundary| self.innermost.get(boundary));
        // A boundary may be another one with two dashes behind it: the inner one counts.
        opens.max(closed.map(|level| (*level, true)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The same, each level asked in turn.
    fn naive(boundaries: &[Vec<u8>], text: &[u8]) -> Option<(usize, bool)> {
        boundaries.iter().enumerate().rev().find_map(|(level, boundary)| match text.strip_prefix(&boundary[..])? {
            b"" => Some((level, false)),
            b"--" => Some((level, true)),
            _ => None,
        })
    }

    proptest! {
        #[test]
        fn agrees_with_its_twin(pushed in proptest::collection::vec("[ab]{1,2}(--)?", 0..9), popped in 0_usize..9, text in "[ab]{0,2}-{0,5}") {
            let mut boundaries = Boundaries::default();
            pushed.iter().for_each(|boundary| boundaries.push(boundary.as_bytes().to_vec()));
            (0..popped).for_each(|_| boundaries.pop());
            let left: Vec<Vec<u8>> = pushed.iter().map(|boundary| boundary.as_bytes().to_vec()).collect();
            let left = &left[..left.len().saturating_sub(popped)];
            prop_assert_eq!(boundaries.len(), left.len());
            prop_assert_eq!(boundaries.find(text.as_bytes()), naive(left, text.as_bytes()));
            prop_assert_eq!(boundaries.innermost.is_empty(), left.is_empty());
        }
    }
}
