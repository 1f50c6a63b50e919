//! One probe for all that wait, and what its outcome is good for. Clock and probes are the test's.

use std::vec::Vec;

use tokio::task::JoinSet;

use super::*;
use crate::client::CertificateFault;
use crate::peer::{PeerId, PeerKey, Proof};
use crate::secret::SharedKey;
use crate::topic::TopicName;

pub(in crate::proxy) const NOT_VOUCHED: LinkError = LinkError::Peer(PeerFault::BrokerNotVouched);
pub(in crate::proxy) const SILENT: LinkError = LinkError::Peer(PeerFault::Silent);
const PIN_NEEDED: LinkError = LinkError::Peer(PeerFault::PinNeeded);
pub(in crate::proxy) const AWAY: LinkError = LinkError::Timeout;

/// A device and its authority, which talk on these topics.
pub(in crate::proxy) fn auth(request: &str, response: &str) -> PeerAuth {
    let id = |text| PeerId::parse(text).unwrap();
    let key = PeerKey::pairwise(&SharedKey::take(&mut [9; 32]), "test").unwrap();
    let [request, response] = [request, response].map(|text| TopicName::parse(text).unwrap());
    PeerAuth::new(key, id("proxy"), id("authority"), request, response)
}

pub(in crate::proxy) fn by_peer() -> TlsConfig {
    TlsConfig::builder().verify_by_peer_alone().build().unwrap()
}

fn vouching() -> Arc<Vouching> {
    let broker = ("localhost".into(), 1);
    Arc::new(Vouching::new(&auth("req", "res"), &broker, &by_peer()).unwrap())
}

/// The same, of a device whose file names a key.
pub(in crate::proxy) fn pinned() -> Arc<Vouching> {
    let (auth, broker) = (auth("req", "res").pins(&[[1; 32]]), ("localhost".into(), 1));
    Arc::new(Vouching::new(&auth, &broker, &by_peer()).unwrap())
}

/// After probes with these outcomes.
pub(in crate::proxy) fn after(outcomes: &[Result<(), LinkError>]) -> Arc<Vouching> {
    let vouching = vouching();
    for outcome in outcomes {
        vouching.settle(outcome.clone().map(|()| vouched(1)));
    }
    vouching
}

const fn vouched(byte: u8) -> Vouched {
    let pin = SpkiPin::from_bytes([byte; 32]);
    Vouched { pin, proof: Proof::PeerAuthenticated, rtt: 1 }
}

/// So many who want the key, all of whom wait.
async fn waiting(vouching: &Arc<Vouching>, number: usize) -> JoinSet<Result<Key, LinkError>> {
    let mut all = JoinSet::new();
    for _ in 0..number {
        let vouching = Arc::clone(vouching);
        all.spawn(async move { vouching.key().await });
    }
    let wanted = tokio::time::timeout(Duration::from_millis(1), vouching.wanted()).await;
    wanted.expect("no probe is wanted");
    for _ in 0..number {
        tokio::task::yield_now().await;
    }
    all
}

/// What they hear.
async fn heard(all: JoinSet<Result<Key, LinkError>>) -> Vec<Result<Key, LinkError>> {
    tokio::time::timeout(PATIENCE, all.join_all()).await.expect("somebody waits on")
}

/// The same, of one who comes now.
async fn known(vouching: &Vouching) -> Result<Key, LinkError> {
    tokio::time::timeout(PATIENCE, vouching.key()).await.expect("it waits for a probe")
}

fn rounds(vouching: &Vouching) -> u64 {
    vouching.state.borrow().round
}

#[tokio::test(start_paused = true)]
async fn all_that_wait_hear_of_one_probe() {
    for outcome in [Ok(vouched(1)), Err(NOT_VOUCHED), Err(SILENT)] {
        let vouching = vouching();
        let all = waiting(&vouching, 100).await;
        vouching.settle(outcome.clone());
        let keys = heard(all).await;
        assert_eq!(keys.len(), 100);
        for key in keys {
            assert_eq!(key.map(|key| key.round), outcome.clone().map(|_| 1));
        }
        assert!(!vouching.state.borrow().wanted);
    }
}

#[tokio::test(start_paused = true)]
async fn key_that_is_vouched_for_is_kept_without_another_probe() {
    let vouching = vouching();
    let all = waiting(&vouching, 1).await;
    vouching.settle(Ok(vouched(1)));
    heard(all).await;
    tokio::time::advance(Duration::from_hours(1_000)).await;
    assert_eq!(known(&vouching).await.unwrap().round, 1);
    assert!(!vouching.state.borrow().wanted);
}

#[tokio::test(start_paused = true)]
async fn failure_is_told_for_a_while_and_then_another_probe_is_wanted() {
    let vouching = vouching();
    let all = waiting(&vouching, 1).await;
    vouching.settle(Err(NOT_VOUCHED));
    heard(all).await;
    tokio::time::advance(REST.saturating_sub(Duration::from_millis(1))).await;
    assert_eq!(known(&vouching).await.err(), Some(NOT_VOUCHED));
    assert!(!vouching.state.borrow().wanted);
    tokio::time::advance(Duration::from_millis(1)).await;
    let all = waiting(&vouching, 1).await;
    vouching.settle(Ok(vouched(1)));
    assert_eq!(heard(all).await[0].as_ref().unwrap().round, 2);
}

#[tokio::test(start_paused = true)]
async fn who_left_before_the_end_leaves_no_probe_behind() {
    let vouching = vouching();
    drop(waiting(&vouching, 10).await);
    vouching.settle(Ok(vouched(1)));
    assert!(!vouching.state.borrow().wanted);
    assert_eq!(known(&vouching).await.unwrap().round, 1);
}

#[tokio::test(start_paused = true)]
async fn other_key_of_the_server_ends_the_trust_in_the_one_before() {
    let vouching = vouching();
    let all = waiting(&vouching, 1).await;
    vouching.settle(Ok(vouched(1)));
    let old = heard(all).await.remove(0).unwrap();
    vouching.forget(&old);
    assert!(matches!(vouching.standing(), Standing::Unknown));
    let all = waiting(&vouching, 50).await;
    vouching.settle(Err(NOT_VOUCHED));
    assert!(heard(all).await.iter().all(Result::is_err));
    assert!(vouching.is_refused());
}

#[tokio::test(start_paused = true)]
async fn key_of_the_file_counts_before_any_probe_and_where_none_is_let_in() {
    let vouching = pinned();
    let first = known(&vouching).await.unwrap();
    assert!(!vouching.state.borrow().wanted && !vouching.is_refused());
    let alert = rustls::AlertDescription::CertificateRequired;
    let no_certificate = LinkError::Tls(rustls::Error::AlertReceived(alert));
    for error in [PIN_NEEDED, SILENT, no_certificate] {
        vouching.forget(&known(&vouching).await.unwrap());
        tokio::time::advance(REST).await;
        let all = waiting(&vouching, 10).await;
        vouching.settle(Err(error));
        assert!(heard(all).await.iter().all(Result::is_ok));
        assert!(matches!(vouching.standing(), Standing::Pinned { .. }) && !vouching.is_refused());
    }
    // one of the first that is late
    vouching.forget(&first);
    let last = known(&vouching).await.unwrap();
    tokio::time::advance(REST).await;
    vouching.forget(&last);
    assert!(matches!(vouching.standing(), Standing::Unknown), "it is long since a probe failed");
}

#[tokio::test(start_paused = true)]
async fn server_that_has_no_key_of_the_file_and_lets_no_probe_in_is_asked_once_in_a_while() {
    let vouching = pinned();
    vouching.forget(&known(&vouching).await.unwrap());
    for round in 1..=3 {
        let all = waiting(&vouching, 10).await;
        vouching.settle(Err(PIN_NEEDED));
        for key in heard(all).await {
            vouching.forget(&key.unwrap());
        }
        assert_eq!(known(&vouching).await.err(), Some(PIN_NEEDED));
        assert!(vouching.is_refused() && !vouching.state.borrow().wanted);
        assert_eq!(rounds(&vouching), round);
        tokio::time::advance(REST).await;
    }
}

#[tokio::test(start_paused = true)]
async fn key_of_the_file_does_not_count_after_another_word_of_the_authority() {
    for error in [NOT_VOUCHED, AWAY] {
        let vouching = pinned();
        vouching.forget(&known(&vouching).await.unwrap());
        let all = waiting(&vouching, 1).await;
        vouching.settle(Err(error.clone()));
        assert_eq!(heard(all).await.remove(0).err(), Some(error));
    }
}

#[tokio::test(start_paused = true)]
async fn no_key_counts_where_no_probe_is_let_in_and_no_file_names_one() {
    let vouching = vouching();
    let all = waiting(&vouching, 1).await;
    vouching.settle(Err(PIN_NEEDED));
    assert_eq!(heard(all).await.remove(0).err(), Some(PIN_NEEDED));
}

/// Many connections find the same out, one of them late.
#[tokio::test(start_paused = true)]
async fn forgetting_an_old_key_does_no_harm_to_a_newer_one() {
    let vouching = vouching();
    let all = waiting(&vouching, 1).await;
    vouching.settle(Ok(vouched(1)));
    let old = heard(all).await.remove(0).unwrap();
    vouching.forget(&old);
    let all = waiting(&vouching, 1).await;
    vouching.settle(Ok(vouched(2)));
    heard(all).await;
    vouching.forget(&old);
    assert_eq!(known(&vouching).await.unwrap().round, 2);
    assert_eq!(rounds(&vouching), 2);
}

#[tokio::test(start_paused = true)]
async fn broker_that_is_away_is_no_refusal() {
    let vouching = vouching();
    for (error, refusal) in [
        (AWAY, false),
        (LinkError::Io(std::io::ErrorKind::ConnectionRefused), false),
        (LinkError::Closed, false),
        (NOT_VOUCHED, true),
        (LinkError::Certificate(CertificateFault::BadSignature), true),
        (SILENT, true),
    ] {
        vouching.settle(Err(error.clone()));
        assert_eq!(vouching.is_refused(), refusal, "{error}");
    }
    let counts = vouching.probes.each_ref().map(Count::get);
    assert_eq!(counts, [0, 2, 1, 3], "{OUTCOMES:?}");
}

#[test]
fn configurations_that_would_verify_nothing_or_too_much_are_refused() {
    use crate::policy::{Policy, Rule};
    use crate::proxy::{Listen, Proxy, ProxyError, ProxyOptions};
    use crate::topic::TopicError;

    let check = |options: ProxyOptions| {
        let options = options.listen(Listen::parse("127.0.0.1:0").unwrap());
        let rule = Rule::sealed(["#"]).transport(crate::policy::Transport::Any).build().unwrap();
        Proxy::check(&options, &Policy::new(std::vec![rule]))
    };
    let options = ProxyOptions::new;
    let pinned = TlsConfig::builder().pin(SpkiPin::from_bytes([1; 32])).verify_by_pin_alone();
    let pinned = pinned.build().unwrap();
    let by_peer = |options: ProxyOptions| options.tls_broker("localhost", 1, &by_peer());
    let good = by_peer(options()).require_peer_auth(auth("req", "res"));
    assert!(check(good).is_ok());
    assert!(matches!(check(by_peer(options())), Err(ProxyError::PeerAuthNeeded)));
    for other in [options().tls_broker("localhost", 1, &pinned), options().broker("localhost", 1)] {
        let checked = check(other.require_peer_auth(auth("req", "res")));
        assert!(matches!(checked, Err(ProxyError::PeerNotAlone)), "{checked:?}");
    }
    let shared = by_peer(options()).require_peer_auth(auth("req", "$share/a/res"));
    let refused = ConfigError::PeerTopic(TopicError::Shared);
    assert!(matches!(check(shared), Err(ProxyError::Peer(error)) if error == refused));
}
