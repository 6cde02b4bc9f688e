//! A set of message-numbers as a bitmap that takes no memory until the first mark: most sessions mark nothing.

/// Which messages are marked. Message-numbers count from 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    words: Vec<u64>,
}

impl Marks {
    /// No marks.
    pub fn new() -> Marks {
        Marks::default()
    }

    /// Marks a message.
    pub fn insert(&mut self, message_number: u32) {
        let (word, bit) = place(message_number);
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= bit;
    }

    /// Whether a message is marked.
    pub fn contains(&self, message_number: u32) -> bool {
        let (word, bit) = place(message_number);
        self.words.get(word).is_some_and(|marked| marked & bit != 0)
    }

    /// Whether nothing is marked.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&marked| marked == 0)
    }

    /// Takes all marks away.
    pub fn clear(&mut self) {
        self.words = Vec::new();
    }

    /// The marked message-numbers, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.words.iter().enumerate().flat_map(|(word, &marked)| {
            (0..64_u32).filter(move |bit| marked >> bit & 1 == 1).map(move |bit| word as u32 * 64 + bit + 1)
        })
    }
}

fn place(message_number: u32) -> (usize, u64) {
    let index = message_number.saturating_sub(1);
    ((index / 64) as usize, 1 << (index % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_back_what_was_marked_in_order() {
        let mut marks = Marks::new();
        assert!(marks.is_empty() && !marks.contains(1) && !marks.contains(u32::MAX));
        for message_number in [200, 1, 64, 65, 1] {
            marks.insert(message_number);
        }
        assert_eq!(marks.iter().collect::<Vec<_>>(), [1, 64, 65, 200]);
        assert!(marks.contains(64) && !marks.contains(63));
        marks.clear();
        assert!(marks.is_empty());
    }
}
