//! A proxy that is killed and stopped at any moment, cut off, and given other rules and keys, between
//! a client and a broker that keep to MQTT and repeat what they have to.
//!
//! What was acknowledged to its publisher has arrived, in both directions; a subscriber of the
//! library gets nothing twice, and the client nothing of `QoS` 2; nothing that is to be sealed leaves
//! in clear; no nonce stands for two messages; every acknowledgement is for a packet ID that waits for
//! it; and in the end nothing is left to wait for.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mqtt_seal::policy::Links;
use mqtt_seal::proxy::packet::Version;
use mqtt_seal_fuzz::restart::{ALIKE_PLACE, World};
use mqtt_seal_fuzz::take;

/// Operations of one run.
const MAX_STEPS: usize = 150;

fuzz_target!(|data: &[u8]| {
    let mut data = data;
    let [flags] = take(&mut data);
    let version = if flags & 1 == 0 { Version::V311 } else { Version::V5 };
    let links = [Links::Both, Links::Both, Links::Tls, Links::Tcp][usize::from(flags >> 1 & 3)];
    let client = [flags & 8 != 0, flags & 16 != 0];
    let mut world = World::new(version, links, client, flags & 32 != 0);
    for _ in 0..MAX_STEPS {
        if data.is_empty() {
            break;
        }
        let [op, a, b] = take(&mut data);
        operate(&mut world, op, usize::from(a), b);
    }
    world.finish();
});

fn operate(world: &mut World, op: u8, a: usize, b: u8) {
    let arrives = [a, a >> 2];
    match op % 20 {
        0..=2 => {
            world.connect();
            // one in three says what was said before
            world.publish(if op % 20 == 2 { ALIKE_PLACE } else { a }, b % 3);
        }
        3 | 4 => world.bring(a, b % 3, b & 4 != 0),
        5 => world.bring_again(a, b % 3),
        6 => world.acknowledge(1 + a % 3),
        7..=11 => world.step(a % 6, 1 + usize::from(b % 4)),
        12 => world.work(1 + a % 4),
        13 => {
            world.connect();
            world.calm();
        }
        14 => world.cut(arrives, b & 1 != 0),
        15 => world.kill(arrives),
        16 => world.restart(arrives),
        17 => world.edit(a & 1, b & 1 != 0),
        18 => world.wait(),
        _ => match a >> 4 & 3 {
            0 => world.leave(),
            1 => world.forget(),
            2 => world.lose_session(arrives),
            _ => world.kill(arrives),
        },
    }
}
