//! What decodes as a snapshot is encoded with the same bytes, and a receiver takes it by its serial
//! and by nothing else. The input is taken both as a plain text and as a sealed update.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mqtt_seal::peer::PeerId;
use mqtt_seal::secret::SharedKey;
use mqtt_seal::update::{KeyState, Publisher, Received, Receiver, Snapshot, Topics, UpdateError};
use mqtt_seal_fuzz::Constant;

const STORED: u64 = 4;
const NOW: u64 = 1_800_000_000_000;

fuzz_target!(|data: &[u8]| {
    let id = PeerId::parse("d").expect("an id");
    let (key, topics) = (SharedKey::take(&mut [7; 32]), Topics::new("p", id).expect("topics"));
    let mut receiver = Receiver::new(&key, "r", id, topics.clone(), Some(STORED)).expect("a realm");
    assert!(receiver.open(topics.keys(), data, true, Some(NOW)).is_err(), "nobody has the key");

    let Some(snapshot) = Snapshot::decode(data) else { return };
    let erased = snapshot.entries().iter().any(|entry| entry.state() == KeyState::Erased);
    let encoded = snapshot.encode();
    assert!(erased || *encoded == data);
    assert_eq!(encoded.len(), data.len());
    let grants = snapshot.grants(Some(NOW), |_| None);
    assert!(grants.len() <= snapshot.entries().len());
    assert!(grants.iter().all(|grant| grant.sender().is_none()));

    let mut publisher = Publisher::new(&key, "r", id, topics.clone()).expect("a realm");
    let mut sealed = Vec::new();
    if publisher.publish(&snapshot, NOW, &mut Constant, &[], &mut sealed).is_err() {
        return; // it holds the pairwise key
    }
    match receiver.open(topics.keys(), &sealed, true, Some(NOW)) {
        Ok(Received::New(update)) => {
            assert!(snapshot.serial() > STORED);
            let (taken, ack) = update.stored();
            assert_eq!((taken.serial(), ack.serial()), (snapshot.serial(), snapshot.serial()));
        }
        Ok(Received::Known(ack)) => assert_eq!((snapshot.serial(), ack.serial()), (STORED, STORED)),
        Ok(received) => unreachable!("{received:?}"),
        Err(error) => {
            let (serial, least) = (snapshot.serial(), STORED);
            assert_eq!(error, UpdateError::RolledBack { serial, least });
            assert!(serial < STORED);
        }
    }
    assert_eq!(receiver.serial(), Some(STORED.max(snapshot.serial())));
});
