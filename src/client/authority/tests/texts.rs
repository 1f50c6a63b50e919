//! What people read.

use std::io;

use super::*;
use crate::client::{ClientError, LinkError};
use crate::store::key_file::{EditError, KeyFileError, ShareError};
use crate::store::ledger_file::LedgerFileError;
use crate::update::{AckError, OpenError};

#[test]
fn steps_say_what_follows() {
    let texts = [
        Step::Draw,
        Step::Activate { generation: 2, retire: 9, missing: 0 },
        Step::Activate { generation: 2, retire: 9, missing: 1 },
        Step::Activate { generation: 2, retire: 9, missing: 3 },
        Step::Erase { generation: 1 },
    ]
    .map(|step| step.to_string());
    assert_eq!(
        texts,
        [
            "another generation is drawn: devices are given it",
            "generation 2 seals: every device has it",
            "generation 2 seals: the deadline is over, without word of 1 device",
            "generation 2 seals: the deadline is over, without word of 3 devices",
            "generation 1 is erased",
        ]
    );
}

#[test]
fn events_name_the_device() {
    let (device, broker, serial) = (|| "d".into(), || "b:1".into(), 7);
    let texts = [
        Event::Connected,
        Event::Disconnected { error: LinkError::Closed },
        Event::Disconnected { error: LinkError::PacketTooLarge { len: 400_015 } },
        Event::Answered { device: device(), broker: broker() },
        Event::OtherBroker { device: device(), broker: broker() },
        Event::Seen { device: device(), broker: broker() },
        Event::Updated { device: device(), serial },
        Event::Acknowledged { device: device(), serial },
        Event::Ahead { device: device(), serial },
        Event::UpdatesAhead { seconds: 60 },
        Event::Unfit { device: device(), reason: Unfit::NoSender },
        Event::Unfit { device: device(), reason: Unfit::Share(ShareError::Nothing) },
        Event::NotPublished { topic: "p/keys/d".into(), error: ClientError::NoRetain },
        Event::Stepped { step: Step::Draw },
        Event::KeysUnreadable { error: KeyFileError::NotFound { path: "k".into() } },
        Event::Ignored { count: 1 },
        Event::Ignored { count: 3 },
        Event::Settled,
    ]
    .map(|event| event.to_string());
    assert_eq!(
        texts,
        [
            "connected: publishing all updates anew",
            "the connection was closed from outside; connecting again",
            "an incoming packet of 400015 bytes exceeds the limit; connecting again: somebody wrote it \
             to a topic of this authority, so limit packets at the broker or use mqtt 5, and delete it \
             if it is retained",
            "d asked, over b:1",
            "d asks for the keys of b:1, which is not vouched for: name it with --broker, or correct \
             it at the device",
            "d is there, over b:1",
            "d is given update 7",
            "d has update 7",
            "d has update 7, which the ledger does not know: if an older copy was put back, revoke \
             again who was revoked since",
            "updates are dated 60 seconds ahead of this clock, and devices refuse them until then: is \
             it right, or was it wrong before?",
            "d keeps what it has: the key file allots no sender number to the device: allot one",
            "d keeps what it has: a device needs a key: name a node or a scope",
            "p/keys/d: not published: the broker keeps no retained messages",
            "another generation is drawn: devices are given it",
            "the key file is left aside: k: there is no such file: check the path",
            "1 message was ignored: not authentic, of no device in the ledger, repeated or late",
            "3 messages were ignored: not authentic, of no device in the ledger, repeated or late",
            "every device has what there is for it",
        ]
    );
}

#[test]
fn errors_say_what_happened() {
    let texts = [
        HeardError::OtherTopic,
        HeardError::UnknownDevice,
        HeardError::Request(RequestError::Busy),
        HeardError::Acknowledgement(AckError::Open(OpenError::Cleared)),
    ]
    .map(|error| error.to_string());
    assert_eq!(
        texts,
        [
            "the message came on another topic: it was ignored",
            "no device has this id: it was ignored",
            "too many runs were completed within 30 seconds: wait",
            "the message is empty: somebody deleted the retained update",
        ]
    );
    let texts = [
        AuthorityError::Row(BadRow { device: "d".into() }),
        AuthorityError::Realm { ledger: "a".into(), keys: "b".into() },
        AuthorityError::Lock(io::ErrorKind::PermissionDenied.into()),
        AuthorityError::Step(EditError::NoSharedKey),
        AuthorityError::Ledger(LedgerFileError::Claimed { path: "l".into() }),
        AuthorityError::Client(ClientError::Closed),
        AuthorityError::Subscribe { filter: "f".into() },
        AuthorityError::Ended,
        AuthorityError::Thread,
    ]
    .map(|error| error.to_string());
    assert_eq!(
        texts[..5],
        [
            "the ledger's row of d is damaged: enrol it under another id",
            "the ledger is of realm a, the key file of realm b: name files of one",
            "the key file cannot be locked, permission denied: check its folder and permissions",
            "there is no shared or root key: add generations to the file of the authority",
            "ledger l has an authority that runs: stop that one first",
        ]
    );
    assert_eq!(
        texts[6..],
        [
            "f: the broker refused the subscription: check its lists of who may read what",
            "the connection ended: start the authority again",
            "a thread was lost: start the authority again",
        ]
    );
}
