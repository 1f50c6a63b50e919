//! Whatever comes in whatever order, and wherever the authority dies: a rotation comes to its end.

use proptest::prelude::*;

use super::*;

const DEVICES: usize = 4;

/// What can happen next.
#[derive(Debug, Clone, Copy)]
enum Turn {
    /// A device takes what is retained.
    Deliver(usize),
    /// Its acknowledgement arrives, or is lost.
    Acknowledge(usize),
    Lose(usize),
    /// Updates for so many devices are stored and published.
    Prepare(usize),
    /// They are made, and the authority dies before they are stored, or after.
    DieBefore,
    DieAfter,
    /// A step is taken, and the authority goes on or dies.
    Step,
    StepAndDie,
    Pass(u64),
    Disconnect,
    Rotate,
    Revoke(usize),
}

fn turn() -> impl Strategy<Value = Turn> {
    let device = || 0..DEVICES;
    prop_oneof![
        6 => device().prop_map(Turn::Deliver),
        6 => device().prop_map(Turn::Acknowledge),
        2 => device().prop_map(Turn::Lose),
        6 => (0..=DEVICES).prop_map(Turn::Prepare),
        1 => Just(Turn::DieBefore),
        1 => Just(Turn::DieAfter),
        4 => Just(Turn::Step),
        1 => Just(Turn::StepAndDie),
        2 => (1_u64..60).prop_map(Turn::Pass),
        1 => Just(Turn::Disconnect),
        1 => Just(Turn::Rotate),
        1 => (1..DEVICES).prop_map(Turn::Revoke),
    ]
}

fn take(world: &mut World, turn: Turn) {
    match turn {
        Turn::Deliver(number) => world.deliver(number),
        Turn::Acknowledge(number) => drop(world.acknowledge(number)),
        Turn::Lose(number) => world.members[number].ack = None,
        Turn::Prepare(most) => world.prepare(most),
        Turn::DieBefore => {
            let keys = &world.keys;
            drop(world.fleet.prepare(keys, world.now, &mut world.rng, &[], 2).unwrap());
            world.restart();
        }
        Turn::DieAfter => {
            let retained = world.retained.clone();
            world.prepare(2);
            world.retained = retained;
            world.restart();
        }
        Turn::Step => world.step(),
        Turn::StepAndDie => {
            world.step();
            world.restart();
        }
        Turn::Pass(seconds) => world.pass(seconds),
        Turn::Disconnect => {
            world.fleet.disconnected();
            world.fleet.connected();
        }
        // the tool keeps it below what a keyring holds
        Turn::Rotate if world.keys.grants().count() < 7 => world.rotate(),
        Turn::Revoke(number) if !world.revoked.contains(&number) => world.revoke(number),
        Turn::Rotate | Turn::Revoke(_) => {}
    }
}

/// What holds at every moment: one generation seals, and no device seals with two. That serials and
/// timestamps only grow, and that a serial has one content, is checked where they are stored and
/// taken.
fn check(world: &World) {
    assert_eq!(world.sealing().len(), 1);
    for member in &world.members {
        assert!(member.generations(KeyState::Active).len() <= 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn rotation_converges_whatever_happens(turns in prop::collection::vec(turn(), 1..80)) {
        let mut world = World::new(DEVICES);
        let mut floor = vec![None; DEVICES];
        for turn in turns {
            if let Turn::Revoke(number) = turn
                && !world.revoked.contains(&number)
            {
                floor[number] = Some(world.greatest());
            }
            take(&mut world, turn);
            check(&world);
        }
        let ordered = world.order;
        // nothing is lost any more
        let all: Vec<_> = (0..DEVICES).collect();
        world.settle(&all);
        world.pass(1_000);
        world.settle(&all);
        check(&world);
        prop_assert_eq!(world.order, None);
        prop_assert!(world.fleet.is_settled());
        prop_assert!(ordered.is_none_or(|order| world.sealing()[0] > order.past));
        prop_assert_eq!(world.keys.grants().count(), 1, "the others are erased");
        for (number, member) in world.members.iter().enumerate() {
            prop_assert_eq!(member.has(world.sealing()[0]), !world.revoked.contains(&number));
        }
        for (member, floor) in world.members.iter().zip(floor) {
            let mut seen = member.contents.values();
            let newer = |text: &Vec<u8>| {
                let snapshot = Snapshot::decode(text).unwrap();
                snapshot.entries().iter().any(|entry| Some(entry.generation()) > floor)
            };
            prop_assert!(floor.is_none() || !seen.any(newer), "a revoked device got a new key");
        }
    }
}
