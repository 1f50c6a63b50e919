//! A log in a file and one in memory give a receiver the same verdicts, whatever happens.

use mqtt_seal::guard::{
    GuardRx, MemoryLog, OpenError, OpenWithLogError, Prefer, Receipt, ReplayLog,
};
use mqtt_seal::replay::Verdict;
use mqtt_seal::store::replay_file::ReplayFile;
use proptest::prelude::*;

use crate::scene::{Message, Scene, guard, receiver, seal};

const TOPICS: [&str; 4] = ["event/a", "event/b", "value/a", "value/b"];
const MESSAGES: usize = 300;

#[derive(Debug, Clone)]
enum Step {
    Open(usize),
    /// Confirms one of the messages that were delivered in this run.
    Confirm(usize),
    Stop,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        // near each other, so that they repeat, and anywhere
        10 => (0..20_usize).prop_map(Step::Open),
        10 => (0..MESSAGES).prop_map(Step::Open),
        6 => any::<usize>().prop_map(Step::Confirm),
        1 => Just(Step::Stop),
        1 => Just(Step::Crash),
    ]
}

/// A receiver and what is to be confirmed.
struct Run {
    rx: GuardRx,
    receipts: Vec<Receipt>,
}

impl Run {
    fn new(
        log: &mut impl ReplayLog<Error: core::fmt::Debug>,
        prefer: Prefer,
        manual: bool,
    ) -> Self {
        let mut rx = receiver(log, prefer);
        if manual {
            rx.confirm_manually();
        }
        Self { rx, receipts: vec![] }
    }

    fn open<L: ReplayLog<Error: core::fmt::Debug>>(
        &mut self,
        message: &Message,
        log: &mut L,
    ) -> Result<(Option<Verdict>, Vec<u8>), OpenError> {
        match message.deliver(&mut self.rx, log) {
            Ok((delivery, payload)) => {
                self.receipts.extend(delivery.receipt);
                Ok((delivery.verdict, payload))
            }
            Err(OpenWithLogError::Open(error)) => Err(error),
            Err(error) => panic!("{error:?}"),
        }
    }

    fn confirm<L: ReplayLog<Error: core::fmt::Debug>>(&mut self, choice: usize, log: &mut L) {
        if let Some(at) = choice.checked_rem(self.receipts.len()) {
            self.rx.confirm_with_log(self.receipts.swap_remove(at), log).unwrap();
        }
    }
}

fn compare(steps: &[Step], prefer: Prefer, manual: bool) {
    let (mut tx, _) = guard().split();
    let messages: Vec<Message> =
        (0..MESSAGES).map(|number| seal(&mut tx, TOPICS[number % TOPICS.len()], number)).collect();
    let (scene, mut file) = Scene::new();
    let mut memory = MemoryLog::default();
    let mut on_file = Run::new(&mut file, prefer, manual);
    let mut in_memory = Run::new(&mut memory, prefer, manual);
    for step in steps {
        match *step {
            Step::Open(number) => {
                let message = &messages[number];
                let verdicts =
                    (on_file.open(message, &mut file), in_memory.open(message, &mut memory));
                assert_eq!(verdicts.0, verdicts.1, "message {number}");
                continue;
            }
            Step::Confirm(choice) => {
                on_file.confirm(choice, &mut file);
                in_memory.confirm(choice, &mut memory);
                continue;
            }
            Step::Stop => {
                file.write(&on_file.rx.stop()).unwrap();
                memory.write(&in_memory.rx.stop()).unwrap();
                drop(file);
            }
            Step::Crash => {
                // what a power cut leaves: redb had no chance to close the file
                let copy = scene.copy();
                drop(file);
                std::fs::rename(copy, scene.path()).unwrap();
            }
        }
        file = ReplayFile::open(scene.path()).unwrap();
        on_file = Run::new(&mut file, prefer, manual);
        in_memory = Run::new(&mut memory, prefer, manual);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn file_and_memory_give_the_same_verdicts(
        steps in prop::collection::vec(step(), 1..60),
        no_loss: bool,
        manual: bool,
    ) {
        compare(&steps, if no_loss { Prefer::NoLoss } else { Prefer::NoReplay }, manual);
    }
}
