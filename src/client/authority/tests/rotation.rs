//! Rotations and revocations, step by step.

use super::*;

const ALL: [usize; 3] = [0, 1, 2];

/// Three devices that have everything.
fn settled() -> World {
    let mut world = World::new(3);
    world.settle(&ALL);
    assert!(world.fleet.is_settled());
    world
}

#[test]
fn generation_seals_when_every_device_has_acknowledged_it() {
    let mut world = settled();
    world.rotate();
    world.settle(&[0, 1]);
    assert_eq!(world.sealing(), [1], "device 2 does not have it");
    assert!(world.members[0].has(2) && !world.members[2].has(2));
    world.settle(&ALL);
    assert_eq!(world.sealing(), [2]);
    assert_eq!(world.steps, [Step::Draw, Step::Activate { generation: 2, retire: 50, missing: 0 }]);
    assert_eq!(world.order, None, "the order is carried out");
    for member in &world.members {
        assert_eq!(member.generations(KeyState::Active), [2]);
        assert_eq!(member.generations(KeyState::Retiring), [1]);
    }
}

#[test]
fn deadline_goes_on_without_a_device_that_is_away() {
    let mut world = settled();
    world.rotate();
    world.settle(&[0, 1]);
    world.pass(99);
    world.settle(&[0, 1]);
    assert_eq!(world.sealing(), [1], "the deadline is not over");
    world.pass(1);
    world.settle(&[0, 1]);
    assert_eq!(world.sealing(), [2]);
    assert_eq!(world.steps[1], Step::Activate { generation: 2, retire: 50, missing: 1 });
    world.settle(&ALL);
    assert_eq!(world.members[2].generations(KeyState::Active), [2], "it is back");
}

#[test]
fn deadline_that_passed_while_the_authority_was_away_leaves_time_for_the_offer() {
    let mut world = settled();
    world.rotate();
    world.step();
    world.pass(1_000);
    world.restart();
    world.settle(&[]);
    assert_eq!(world.sealing(), [1], "nobody was offered it");
    world.pass(LEAST_OFFER - 1);
    world.settle(&[]);
    assert_eq!(world.sealing(), [1]);
    world.pass(1);
    world.settle(&[]);
    assert_eq!(world.sealing(), [2]);
}

#[test]
fn lost_connection_begins_the_offer_anew() {
    let mut world = settled();
    world.rotate();
    world.settle(&[]);
    world.pass(1_000);
    world.fleet.disconnected();
    world.step();
    assert_eq!(world.sealing(), [1]);
    world.fleet.connected();
    world.settle(&[]);
    assert_eq!(world.sealing(), [1]);
}

#[test]
fn device_that_is_enrolled_late_is_offered_the_keys_for_a_while() {
    let mut world = settled();
    world.rotate();
    world.settle(&[0, 1]);
    world.pass(99);
    world.members.push(Member::new(3));
    world.reload();
    world.pass(1);
    world.settle(&[0, 1]);
    assert_eq!(world.sealing(), [1]);
    world.pass(30);
    world.settle(&[0, 1]);
    assert_eq!(world.sealing(), [2]);
}

#[test]
fn old_generation_is_erased_after_its_time() {
    let mut world = settled();
    world.rotate();
    world.settle(&ALL);
    world.pass(50);
    world.settle(&ALL);
    assert_eq!(world.greatest(), 2);
    assert_eq!(world.keys.grants().count(), 2, "its last second is not over");
    world.pass(1);
    world.settle(&ALL);
    assert_eq!(world.steps.last(), Some(&Step::Erase { generation: 1 }));
    assert_eq!(world.keys.grants().count(), 1);
    assert!(world.members.iter().all(|member| !member.has(1)));
}

#[test]
fn revoked_device_is_emptied_and_gets_nothing_new() {
    let mut world = settled();
    world.revoke(1);
    world.settle(&ALL);
    assert_eq!(world.sealing(), [2]);
    assert!(world.members[0].has(2) && world.members[2].has(2));
    assert!(world.members[1].snapshot.as_ref().unwrap().entries().is_empty());
    assert!(world.fleet.is_settled());
}

#[test]
fn revoked_device_is_not_waited_for() {
    let mut world = settled();
    world.revoke(1);
    world.settle(&[0, 2]);
    assert_eq!(world.sealing(), [2]);
    assert!(world.members[1].generations(KeyState::Pending).is_empty());
}

#[test]
fn revoked_device_that_goes_on_speaking_holds_nobody_up() {
    let mut world = settled();
    world.revoke(2);
    let device = PeerId::parse("d2").unwrap();
    let topics = settings().topics(device).unwrap();
    let mut own = Publisher::new(&pairwise(2), "r", device, topics).unwrap();
    // the authority overtakes it each time
    for serial in (100..124).step_by(2) {
        world.step();
        world.prepare(100);
        for number in [0, 1] {
            world.deliver(number);
            world.acknowledge(number);
        }
        // it says each time that it has something newer
        let (update, mut sealed) = (Snapshot::new(serial, vec![], vec![]).unwrap(), Vec::new());
        world.now += 1;
        own.publish(&update, world.now, &mut world.rng, &[], &mut sealed).unwrap();
        world.members[2].take(&sealed, world.now, &mut world.rng);
        let ahead = Heard::Ahead { device: "d2".into(), serial };
        assert_eq!(world.acknowledge(2), Some(ahead));
    }
    assert_eq!(world.sealing(), [2]);
}

#[test]
fn generation_that_a_revoked_device_has_never_seals() {
    let mut world = settled();
    world.rotate();
    world.settle(&[1]);
    assert!(world.members[1].has(2));
    world.revoke(1);
    world.settle(&ALL);
    assert_eq!(world.sealing(), [3]);
    assert!(world.steps.contains(&Step::Erase { generation: 2 }));
    assert!(
        !world.steps.iter().any(|step| { matches!(step, Step::Activate { generation: 2, .. }) })
    );
    assert!(world.members[0].has(3) && !world.members[0].has(2));
}

#[test]
fn revocation_after_a_generation_seals_moves_past_it() {
    let mut world = settled();
    world.rotate();
    world.settle(&ALL);
    world.revoke(2);
    world.settle(&ALL);
    assert_eq!(world.sealing(), [3]);
    assert_eq!(world.members[0].generations(KeyState::Retiring), [1, 2]);
}

#[test]
fn generation_that_was_drawn_by_hand_is_distributed_and_waits_for_a_hand() {
    let mut world = settled();
    world.keys.add_generation(&mut Counting(77)).unwrap();
    world.fleet.keys_changed();
    world.settle(&ALL);
    world.pass(10_000);
    world.settle(&ALL);
    assert!(world.steps.is_empty());
    assert!(world.members.iter().all(|member| member.has(2)));
}

#[test]
fn number_of_an_erased_generation_is_another_key() {
    let mut world = settled();
    world.keys.add_generation(&mut Counting(7_000)).unwrap();
    world.fleet.keys_changed();
    world.settle(&ALL);
    // device 0, which seals in compact form, is away when it is erased
    world.keys.erase(2).unwrap();
    world.fleet.keys_changed();
    world.settle(&[1, 2]);
    world.rotate();
    world.settle(&[1, 2]);
    assert_eq!(world.sealing(), [1], "device 0 does not have the new generation 2");
    world.deliver(0);
    let asked = world.members[0].snapshot.as_ref().unwrap().entries().iter();
    let asked: Vec<_> = asked.filter(|entry| entry.generation() == 2).collect();
    assert!(asked[0].sender().is_some(), "it has no lease under this key");
    world.acknowledge(0);
    world.settle(&ALL);
    assert_eq!(world.sealing(), [2]);
}

/// An older key file was put back, and a rotation ordered with it, as docs/authority.md says.
#[test]
fn generation_that_is_drawn_under_a_number_of_before_is_waited_for() {
    let mut world = settled();
    world.rotate();
    world.settle(&ALL);
    assert_eq!(world.sealing(), [2]);
    world.keys = first_keys();
    world.order = Some(order(1, world.now));
    world.restart();
    // it is drawn before anything else is done
    world.settle(&[0, 2]);
    assert_eq!(world.sealing(), [1], "device 1 does not have this generation 2");
    world.settle(&ALL);
    assert_eq!(world.sealing(), [2]);
}

#[test]
fn key_under_the_number_of_another_is_waited_for() {
    let mut world = settled();
    world.keys.add_generation(&mut Counting(7_000)).unwrap();
    world.fleet.keys_changed();
    world.settle(&ALL);
    // by hand, while no authority runs
    world.keys.erase(2).unwrap();
    world.keys.add_generation(&mut Counting(8_000)).unwrap();
    world.order = Some(order(1, world.now));
    world.restart();
    world.settle(&[0, 2]);
    assert_eq!(world.sealing(), [1], "device 1 does not have this generation 2");
    world.settle(&ALL);
    assert_eq!(world.sealing(), [2]);
}

#[test]
fn order_for_a_generation_that_was_drawn_long_ago_waits_from_the_order_on() {
    let mut world = settled();
    world.keys.add_generation(&mut Counting(77)).unwrap();
    world.fleet.keys_changed();
    world.settle(&[0, 1]);
    world.pass(10_000);
    world.order = Some(order(1, world.now));
    world.reload();
    world.settle(&[0, 1]);
    assert_eq!(world.sealing(), [1]);
    world.pass(100);
    world.settle(&[0, 1]);
    assert_eq!(world.sealing(), [2]);
}

#[test]
fn generation_that_retires_for_ever_has_an_end_that_can_be_written() {
    let mut world = settled();
    let step = Step::Activate { generation: 2, retire: u64::MAX, missing: 0 };
    Step::Draw.apply(&mut world.keys, &mut Counting(77), START).unwrap();
    step.apply(&mut world.keys, &mut Counting(78), START).unwrap();
    assert_eq!(world.sealing(), [2]);
}

#[test]
fn sender_number_is_asked_for_until_it_is_taken_and_again_with_each_generation() {
    let mut world = settled();
    let asked = |world: &World| -> Vec<u32> {
        let entries = world.members[0].snapshot.as_ref().unwrap().entries();
        let asked = entries.iter().filter(|entry| entry.sender().is_some());
        asked.map(Entry::generation).collect()
    };
    assert!(asked(&world).is_empty(), "it has taken it");
    assert_eq!(world.stored["d0"].serial, 2, "once with the number, once without");
    assert_eq!(world.stored["d1"].serial, 1);
    world.rotate();
    world.step();
    world.prepare(100);
    world.deliver(0);
    assert_eq!(asked(&world), [2], "the number under a new key");
    world.settle(&ALL);
    assert!(asked(&world).is_empty());
    world.keys.allot("d0").unwrap();
    world.fleet.keys_changed();
    world.prepare(100);
    world.deliver(0);
    assert_eq!(asked(&world), [1, 2], "another number");
}

#[test]
fn device_without_its_number_or_keys_is_named_and_keeps_what_it_has() {
    let mut world = settled();
    world.keys = KeyFile::generate("r", &mut Counting(1_000)).unwrap();
    world.fleet.keys_changed();
    let prepared = world.fleet.prepare(&world.keys, world.now, &mut world.rng, &[], 100).unwrap();
    let unfit: Vec<_> = prepared.unfit().collect();
    assert_eq!(unfit, [("d0", Unfit::NoSender)]);
    assert_eq!(prepared.updated().count(), 0, "the others have the same keys as before");
}

#[test]
fn nothing_is_prepared_without_a_connection() {
    let mut world = World::new(3);
    world.fleet.disconnected();
    world.prepare(100);
    assert!(world.retained.is_empty());
    assert!(!world.fleet.is_due());
    world.fleet.connected();
    assert!(world.fleet.is_due());
    world.prepare(2);
    assert_eq!(world.retained.len(), 2);
    world.prepare(2);
    assert_eq!(world.retained.len(), 3);
}

#[test]
fn new_connection_publishes_all_again_under_the_same_serials() {
    let mut world = settled();
    let (serials, before) = (world.stored.clone(), world.retained.clone());
    world.retained.clear();
    world.fleet.connected();
    world.prepare(100);
    assert_eq!(world.retained.len(), before.len());
    world.settle(&ALL);
    for (id, progress) in &world.stored {
        assert_eq!(progress.serial, serials[id].serial);
    }
}

#[test]
fn clock_that_was_set_back_keeps_updates_in_order() {
    let mut world = settled();
    world.now = START - 100_000_000;
    world.restart();
    let stamp = world.stamp;
    world.rotate();
    world.step();
    world.prepare(100);
    assert!(world.stamp > stamp);
    // devices whose clock is right take it
    world.now = START;
    world.deliver(1);
    assert!(world.members[1].has(2));
}

#[test]
fn updates_that_are_ahead_of_the_clock_are_noticed() {
    let mut world = settled();
    assert_eq!(world.fleet.ahead(world.now), None);
    // the clock was wrong, and is right again
    world.pass(3_600);
    world.fleet.connected();
    world.prepare(100);
    world.now = START;
    world.restart();
    world.prepare(100);
    assert_eq!(world.fleet.ahead(world.now), Some(3_600));
    world.pass(3_595);
    assert_eq!(world.fleet.ahead(world.now), Some(5), "by a millisecond");
}
