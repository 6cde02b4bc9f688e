//! Sets of event numbers as ranges: what is to be handed over again.

/// First and last number of each range, in their order.
pub(super) type Ranges = Vec<(u64, u64)>;

/// Whether a number is in one of the ranges.
pub(super) fn contain(ranges: &[(u64, u64)], seq: u64) -> bool {
    ranges.iter().any(|(from, to)| (*from..=*to).contains(&seq))
}

/// The ranges without these numbers.
pub(super) fn without(ranges: &[(u64, u64)], from: u64, to: u64) -> Ranges {
    let parts = |&(first, last): &(u64, u64)| {
        let before = (first, last.min(from.saturating_sub(1)));
        let after = (first.max(to.saturating_add(1)), last);
        [before, after].into_iter().filter(|(first, last)| first <= last && *last > 0)
    };
    let mut left: Ranges = ranges.iter().flat_map(parts).collect();
    left.dedup();
    left
}

/// The numbers of both, in their order and each once.
pub(super) fn united(ranges: &[(u64, u64)], others: &[(u64, u64)]) -> Ranges {
    let mut all = [ranges, others].concat();
    all.sort_unstable();
    let mut united: Ranges = Vec::new();
    for (from, to) in all {
        match united.last_mut() {
            Some((_, last)) if from <= last.saturating_add(1) => *last = to.max(*last),
            _ => united.push((from, to)),
        }
    }
    united
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn numbers(ranges: &[(u64, u64)]) -> BTreeSet<u64> {
        ranges.iter().flat_map(|(from, to)| *from..=*to).collect()
    }

    fn some_ranges() -> impl Strategy<Value = Ranges> {
        let range = (1..40_u64, 0..6_u64).prop_map(|(from, more)| (from, from + more));
        proptest::collection::vec(range, 0..8).prop_map(|ranges| united(&ranges, &[]))
    }

    proptest! {
        #[test]
        fn ranges_are_sets_of_numbers(one in some_ranges(), other in some_ranges(), from in 0..40_u64, more in 0..9_u64) {
            let both = united(&one, &other);
            prop_assert_eq!(numbers(&both), &numbers(&one) | &numbers(&other));
            prop_assert!(both.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0), "{both:?}");
            let left = without(&one, from, from + more);
            prop_assert_eq!(numbers(&left), &numbers(&one) - &numbers(&[(from, from + more)]));
            prop_assert!(left.windows(2).all(|pair| pair[0].1 < pair[1].0), "{left:?}");
            prop_assert!((0..50).all(|seq| contain(&one, seq) == numbers(&one).contains(&seq)));
        }
    }
}
