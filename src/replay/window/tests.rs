use super::*;
use crate::wire::header::{KeyId, MAX_COUNTER, SessionId};
use proptest::prelude::*;
use std::collections::BTreeSet;

fn accept<const WORDS: usize>(window: &mut Window<WORDS>, counter: u32) -> Result<(), Rejected> {
    window.accept(&Authentic::forged(KeyId::new([0; 4]), SessionId::Random([0; 12]), counter))
}

#[test]
fn edges_of_the_window_are_max_less_1023_and_max_less_1024() {
    let mut window = Window::<16>::new();
    assert_eq!(accept(&mut window, 2_000), Ok(()));
    assert_eq!(accept(&mut window, 977), Ok(()));
    assert_eq!(accept(&mut window, 976), Err(Rejected::TooOld));
    assert_eq!(accept(&mut window, 977), Err(Rejected::Duplicate));
}

#[test]
fn refused_counter_does_not_change_the_window() {
    let mut window = Window::<1>::new();
    for counter in [100, 90] {
        accept(&mut window, counter).unwrap();
    }
    let before = window.clone();
    for counter in [100, 90, 36, 0] {
        accept(&mut window, counter).unwrap_err();
        assert_eq!(window, before);
    }
}

#[test]
fn will_moves_nothing_and_comes_once() {
    let mut window = Window::<1>::new();
    assert_eq!(accept(&mut window, WILL_COUNTER), Ok(()));
    assert_eq!(accept(&mut window, WILL_COUNTER), Err(Rejected::Duplicate));
    assert_eq!(accept(&mut window, 0), Ok(()));
    assert_eq!(accept(&mut window, MAX_COUNTER), Ok(()));
}

#[test]
fn tombstone_refuses_what_the_window_had() {
    let mut window = Window::<1>::new();
    for counter in [WILL_COUNTER, 40, 50] {
        accept(&mut window, counter).unwrap();
    }
    let tombstone = window.tombstone();
    for counter in [50, 45, 0, WILL_COUNTER] {
        assert_eq!(tombstone.check(counter), Err(Rejected::TooOld));
    }
    let mut window = Window::<1>::after(tombstone);
    assert_eq!(accept(&mut window, WILL_COUNTER), Err(Rejected::Duplicate));
    assert_eq!(accept(&mut window, 60), Ok(()));
    assert_eq!(accept(&mut window, 51), Ok(()));
    assert_eq!(accept(&mut window, 50), Err(Rejected::TooOld));
}

/// The rule of the specification, over a set of everything ever seen.
struct Model {
    seen: BTreeSet<u32>,
}

impl Model {
    fn accept(&mut self, counter: u32, width: u32) -> Result<(), Rejected> {
        if self
            .seen
            .last()
            .is_some_and(|max| counter <= *max && max.saturating_sub(counter) >= width)
        {
            return Err(Rejected::TooOld);
        }
        if self.seen.insert(counter) { Ok(()) } else { Err(Rejected::Duplicate) }
    }
}

fn agrees<const WORDS: usize>(steps: &[i64]) {
    let (mut window, mut model) = (Window::<WORDS>::new(), Model { seen: BTreeSet::new() });
    let mut at = 0_i64;
    for step in steps {
        at = at.saturating_add(*step).clamp(0, i64::from(MAX_COUNTER));
        let counter = u32::try_from(at).unwrap();
        let expected = model.accept(counter, Window::<WORDS>::WIDTH);
        assert_eq!(accept(&mut window, counter), expected);
    }
}

proptest! {
    #[test]
    fn window_agrees_with_a_set(steps in prop::collection::vec(
        prop_oneof![-70_i64..70, -1_100_i64..1_100, Just(4_000_000_000_i64)], 1..300)) {
        agrees::<1>(&steps);
        agrees::<2>(&steps);
        agrees::<16>(&steps);
    }
}
