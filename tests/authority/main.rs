//! An authority over a real Mosquitto: a fleet that rotates while devices are away and the
//! authority is killed, a revocation, a flood, and how long all of it takes.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stderr,
    reason = "a test fails by panicking, and a measurement prints its figure"
)]

mod device;
mod site;
#[path = "../support/mod.rs"]
mod support;

use core::time::Duration;
use std::process::{Command, Stdio};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use std::{env, thread};

use device::Device;
use mqtt_seal::client::KeyUpdates;
use mqtt_seal::client::authority::{AuthorityError, Setup};
use mqtt_seal::guard::{Guard, OpenError, QoS};
use mqtt_seal::keyring::{Keyring, ScopeRef};
use mqtt_seal::peer::Names;
use mqtt_seal::policy::{Links, Policy, Rule, Scope};
use mqtt_seal::rumqttc_v4::{AsyncClient, ClientOptions, Event, PeerAuth};
use mqtt_seal::secret::SharedKey;
use mqtt_seal::store::key_file::{self, KeyFile, Share};
use mqtt_seal::store::ledger_file::{
    DeviceRow, Granted, LedgerFile, LedgerFileError, Rotation, Settings,
};
use mqtt_seal::store::update_file::UpdateFile;
use mqtt_seal::suite::Suite;
use mqtt_seal::tls::TlsConfig;
use mqtt_seal::update::KeyState;
use rumqttc::MqttOptions;
use site::Site;
use support::DEADLINE;
use support::plain_sub::PlainSub;

/// Devices of the long scene; with `MQTT_SEAL_LONG=1` of the measurement, too.
const DEVICES: usize = 200;
/// Seconds for which devices that are away are waited for.
const PATIENCE: u64 = 2;

/// Unix milliseconds.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_millis().try_into().unwrap()
}

/// A fleet in which every device has its first keys.
async fn started(devices: usize) -> Site {
    let mut site = Site::new(devices).await;
    // what comes before a device's first run has to wait for it
    let listens = |site: &mut Site| site.updates.iter().all(|update| !update.is_empty());
    site.until("the first updates, and so an authority that listens", listens).await;
    assert!(site.devices.iter().all(|one| one.snapshot.is_none()));
    site.ask_all();
    let has_keys = |site: &mut Site| site.all(|one| one.generations(KeyState::Active) == [1]);
    site.until("first keys", has_keys).await;
    site
}

fn rotate(site: &Site, past: u32) {
    site.ledger
        .rotate(Rotation { past, ordered: now(), patience: PATIENCE, retire: 3_600 })
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rotation_reaches_all_over_absence_a_killed_authority_and_a_revocation() {
    let mut site = started(DEVICES).await;
    site.send_round();
    site.until("traffic", |site| site.is_quiet()).await;

    // a tenth is away
    let away: Vec<usize> = (5..DEVICES).step_by(10).collect();
    for number in &away {
        site.devices[*number].online = false;
    }
    rotate(&site, 1);
    let some = |site: &mut Site| {
        let has = |one: &&Device| {
            let pending = one.generations(KeyState::Pending);
            pending == [2] || one.generations(KeyState::Active) == [2]
        };
        site.devices.iter().filter(has).count() > DEVICES / 4
    };
    site.until("a quarter has the new generation", some).await;
    site.kill_authority();
    site.send_round();
    site.until("traffic without an authority", |site| site.is_quiet()).await;
    site.start_authority();

    // messages are on their way in every state, and the authority dies here and there
    let mut rounds = 0;
    let rotated = |site: &mut Site| {
        if site.is_quiet() && rounds < 50 {
            rounds += 1;
            site.send_round();
            if rounds % 10 == 0 {
                site.kill_authority();
                site.start_authority();
            }
        }
        site.all(|one| one.generations(KeyState::Active) == [2])
    };
    site.until("all that are there seal with generation 2", rotated).await;
    assert!(away.iter().all(|n| site.devices[*n].generations(KeyState::Active) == [1]));
    for number in &away {
        site.come_back(*number);
    }
    let back = |site: &mut Site| site.all(|one| one.generations(KeyState::Active) == [2]);
    site.until("those that were away seal with generation 2", back).await;
    site.send_round();
    site.until("traffic of all", |site| site.is_quiet()).await;

    revoke(&mut site, 7).await;
}

/// Revokes a device that does not give its keys away.
async fn revoke(site: &mut Site, number: usize) {
    site.devices[number].defiant = true;
    let order = Rotation { past: 2, ordered: now(), patience: PATIENCE, retire: 0 };
    site.ledger.revoke(&site.devices[number].id, order).unwrap();
    let erased = |site: &mut Site| {
        site.all(|one| {
            one.generations(KeyState::Active) == [3] && one.generations(KeyState::Retiring) == [1]
        })
    };
    site.until("all others have generation 3, and 2 is erased", erased).await;
    site.traffic.clear();
    site.send_round();
    site.until("traffic without the revoked one", |site| site.is_quiet()).await;

    let (traffic, updates) = (site.traffic.clone(), site.updates.clone());
    let revoked = &mut site.devices[number];
    assert!(!traffic.is_empty());
    for (topic, bytes) in &traffic {
        assert_eq!(revoked.try_open(topic, bytes), Err(OpenError::UnknownKey));
    }
    for (other, update) in updates.iter().enumerate().filter(|(other, _)| *other != number) {
        assert!(!revoked.opens_update(update), "that of {other}");
    }
    assert!(!revoked.saw_after(2), "it was given a new key");
    let (topic, forged) = revoked.seal(b"I am still here");
    assert_eq!(site.devices[0].try_open(&topic, &forged), Err(OpenError::UnknownKey));
    let current = |site: &mut Site| {
        site.progress().iter().all(|(revoked, progress)| *revoked || progress.is_current())
    };
    site.until("the ledger says so", current).await;
    assert_eq!(site.keys().grants().count(), 2, "{}", site.said());
}

/// With a client of this crate, which knows no CA that stands behind the broker.
#[tokio::test(flavor = "multi_thread")]
async fn client_trusts_the_broker_that_the_authority_vouches_for_by_its_key() {
    let mut site = started(2).await;
    let port = site.broker.tls_port();
    let name = format!("localhost:{port}");
    let (file, names) = (&site.files[1], site.files[1].names(&name).unwrap());
    let Names { device, authority, request, response, .. } = names;
    let peer = PeerAuth::new(file.peer_key().unwrap(), device, authority, request, response);
    let tls = TlsConfig::builder().verify_by_peer_alone().build().unwrap();
    let mqtt = MqttOptions::new("pump", "localhost", port);
    let options = ClientOptions::new().require_peer_auth(peer).tls(mqtt, &tls);
    let policy = Policy::new(vec![Rule::sealed(["#"]).build().unwrap()]);
    let guard = Guard::new(policy, Keyring::default(), Links::Tls).unwrap();
    let (_client, mut events) = AsyncClient::new(guard, options, 10).unwrap();
    let run = loop {
        let event = tokio::time::timeout(DEADLINE, events.poll()).await.unwrap();
        match event.unwrap() {
            Event::Authenticated { run, .. } => break run,
            Event::PeerRefused { fault, .. } => panic!("{fault}"),
            _ => {}
        }
    };
    assert_eq!(run.attestation().serial, site.devices[1].receiver.serial().unwrap());
    let seen = |site: &mut Site| site.said().contains(&format!("d1 is there, over {name}"));
    site.until("a run over TLS", seen).await;
}

/// As docs/authority.md says: with the device's file and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn client_of_a_device_file_is_given_its_keys_and_acknowledges_them() {
    let mut site = started(2).await;
    let (port, file) = (site.broker.tls_port(), &site.files[1]);
    let broker = format!("localhost:{port}");
    let Names { device, authority, request, response, .. } = file.names(&broker).unwrap();
    let peer = PeerAuth::new(file.peer_key().unwrap(), device, authority, request, response)
        .pins(file.pins());
    let dir = tempfile::TempDir::new().unwrap();
    let store = UpdateFile::open(dir.path().join("updates")).unwrap();
    let updates = KeyUpdates::new(file.key(), file.realm(), device, file.prefix(), store).unwrap();
    let tls = TlsConfig::builder().verify_by_peer_alone().build().unwrap();
    let mqtt = MqttOptions::new("pump", "localhost", port);
    let options = ClientOptions::new().require_peer_auth(peer).key_updates(updates).tls(mqtt, &tls);
    let policy = Policy::new(vec![
        Rule::sealed(["plant/#"]).scope(Scope::Path { depth: 2 }).build().unwrap(),
    ]);
    let guard = Guard::new(policy, Keyring::default(), Links::Tls).unwrap();
    let (client, mut events) = AsyncClient::new(guard, options, 10).unwrap();
    let serial = site.devices[1].receiver.serial().unwrap();
    loop {
        let event = tokio::time::timeout(DEADLINE, events.poll()).await.unwrap();
        match event.unwrap() {
            Event::KeysUpdated { serial: told, .. } if told == serial => break,
            Event::UpdateRefused { reason, .. } => panic!("{reason}"),
            _ => {}
        }
    }
    tokio::spawn(async move { while events.poll().await.is_some() {} });
    let sent = client.publish("plant/a/d1", QoS::AtLeastOnce, false, "27").await.unwrap();
    sent.await.unwrap();
    // from here on the client alone speaks for the device
    site.devices[1].online = false;
    rotate(&site, 1);
    let acknowledged = |site: &mut Site| site.said().contains("generation 2 seals: every device");
    site.until("a rotation with a real client", acknowledged).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn broker_that_forgot_everything_is_given_all_updates_again() {
    let mut site = started(5).await;
    site.broker.restart();
    let watcher = PlainSub::start(&site.broker, "acme/keys/+");
    for device in &site.devices {
        watcher.wait_for_topic(device.receiver.topics().keys());
    }
    // who is enrolled meanwhile is given keys, too
    site.enrol("late");
    watcher.wait_for_topic("acme/keys/late");
    for (number, device) in site.devices.iter_mut().enumerate() {
        let topic = device.receiver.topics().keys().to_owned();
        let mut of_it = watcher.seen().into_iter().filter(|seen| seen.topic == topic);
        let (serial, newest) = (device.receiver.serial(), of_it.next_back().unwrap());
        device.update(&newest.payload, true);
        assert_eq!(device.receiver.serial(), serial, "d{number}: the same again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn device_whose_update_is_too_large_keeps_nobody_else_from_theirs() {
    let mut site = started(2).await;
    let name = |number: usize| format!("{number}{}", "x".repeat(60_000));
    let names: Vec<String> = (0..7).map(name).collect();
    let shares = names.iter().map(|name| Share::Scope(ScopeRef::Named(name), Suite::default()));
    let shares = shares.map(Granted::new).collect();
    let key = SharedKey::take(&mut [7; 32]);
    site.ledger.enrol("big", &DeviceRow::new(key, shares, false, 0)).unwrap();
    rotate(&site, 1);
    let rotated = |site: &mut Site| site.all(|one| one.generations(KeyState::Active) == [2]);
    site.until("rotation of the others", rotated).await;
    assert!(site.said().contains("acme/keys/big: not published: "), "{}", site.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn second_authority_on_a_ledger_is_refused_and_changes_nothing() {
    let mut site = started(3).await;
    let keys = site.ledger.path().with_file_name("keys.toml");
    let refused = Setup::new(&site.ledger, &keys, vec![]).unwrap_err();
    assert!(matches!(refused, AuthorityError::Ledger(LedgerFileError::Claimed { .. })));
    let mut second = site.authority_at(site.log());
    assert_eq!(second.wait().unwrap().code(), Some(1));
    assert!(site.said().contains("has an authority that runs"), "{}", site.said());
    // the first goes on
    rotate(&site, 1);
    let rotated = |site: &mut Site| site.all(|one| one.generations(KeyState::Active) == [2]);
    site.until("rotation", rotated).await;
}

#[test]
fn revocation_knows_of_a_generation_that_is_drawn_meanwhile() {
    let dir = tempfile::TempDir::new().unwrap();
    let keys = dir.path().join("keys.toml");
    let mut file = KeyFile::generate("acme-prod", &mut getrandom::SysRng).unwrap();
    key_file::write_new(&keys, &file).unwrap();
    let settings = Settings::new("acme-prod", "authority", "acme");
    let ledger = LedgerFile::create(dir.path().join("ledger"), settings.unwrap()).unwrap();
    let row = DeviceRow::new(SharedKey::take(&mut [7; 32]), vec![], false, 1);
    ledger.enrol("d", &row).unwrap();
    // as an authority does
    let lock = key_file::lock(&keys).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_mqtt-seal"));
    command.args(["authority", "revoke", "d"]).current_dir(dir.path()).stdout(Stdio::null());
    let mut revoke = command.spawn().unwrap();
    thread::sleep(Duration::from_millis(500));
    file.add_generation(&mut getrandom::SysRng).unwrap();
    key_file::replace(&keys, &file).unwrap();
    drop(lock);
    assert!(revoke.wait().unwrap().success());
    let order = ledger.rotation().unwrap().unwrap();
    assert_eq!(order.past, 2, "the device may have been given generation 2");
}

/// The other way round: somebody revokes while the authority waits for the key file to draw.
#[tokio::test(flavor = "multi_thread")]
async fn generation_is_not_drawn_without_knowledge_of_a_revocation() {
    let mut site = started(3).await;
    let lock = key_file::lock(site.ledger.path().with_file_name("keys.toml")).unwrap();
    rotate(&site, 1);
    // it has read the order, and stands in the queue
    thread::sleep(Duration::from_secs(1));
    let order = Rotation { past: 1, ordered: now(), patience: PATIENCE, retire: 3_600 };
    site.ledger.revoke("d2", order).unwrap();
    drop(lock);
    let rotated = |site: &mut Site| {
        (0..2).all(|number| site.devices[number].generations(KeyState::Active) == [2])
    };
    site.until("rotation of the others", rotated).await;
    assert!(!site.devices[2].saw_after(1), "it was given a key that seals");
}

#[tokio::test(flavor = "multi_thread")]
async fn flood_of_forged_and_repeated_challenges_keeps_nobody_out() {
    const FLOOD: usize = 10_000;
    let mut site = started(20).await;
    // what is seen later is not of the first runs
    let is_stored = |site: &mut Site| site.progress().iter().all(|(_, progress)| progress.seen > 0);
    site.until("the first runs in the ledger", is_stored).await;
    let before = resident(site.authority_id());
    let (topic, genuine) = site.devices[0].ask();
    for number in 0..FLOOD {
        let mut bytes = genuine.clone();
        if number % 2 == 0 {
            let at = number % bytes.len();
            bytes[at] ^= 0x40;
        }
        // all from one gateway: the others are free
        site.publish(0, (topic.clone(), bytes));
    }
    let seen = || site.progress().iter().map(|(_, progress)| progress.seen).collect::<Vec<_>>();
    let earlier = seen();
    for number in 1..site.devices.len() {
        let message = site.devices[number].ask();
        site.publish(number, message);
    }
    let served = |site: &mut Site| {
        let now = site.progress();
        let later = now.iter().zip(&earlier).skip(1);
        later.filter(|((_, progress), earlier)| progress.seen > **earlier).count() == 19
    };
    site.until("every honest device is seen again", served).await;
    let grown = resident(site.authority_id()).saturating_sub(before);
    assert!(grown < 32 << 10, "{grown} KiB more than before");
    rotate(&site, 1);
    let rotated = |site: &mut Site| site.all(|one| one.generations(KeyState::Active) == [2]);
    site.until("rotation after the flood", rotated).await;
}

/// Memory of a process in KiB.
fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// From the order to the last device that seals with the new generation; with `MQTT_SEAL_LONG=1` a
/// measurement of 1,000 devices.
#[tokio::test(flavor = "multi_thread")]
async fn whole_fleet_rotates_at_once() {
    let long = env::var("MQTT_SEAL_LONG").is_ok_and(|set| set == "1");
    let devices = if long { 1_000 } else { 50 };
    let mut site = started(devices).await;
    let start = Instant::now();
    rotate(&site, 1);
    let rotated = |site: &mut Site| site.all(|one| one.generations(KeyState::Active) == [2]);
    site.until("rotation", rotated).await;
    eprintln!("{devices} devices rotated in {:.2} s", start.elapsed().as_secs_f64());
}
