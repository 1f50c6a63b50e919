//! Peer authentication as a link uses it: its names, its clock, and what the server showed. Knows no
//! packets.

use core::fmt;
use core::time::Duration;
use std::string::String;
use std::sync::Arc;
use std::vec::Vec;

use tokio::time::Instant;

use super::error::{ConfigError, PeerFault};
use super::guards::now;
#[cfg(feature = "tls")]
use crate::peer::SpkiHash;
use crate::peer::{
    AnswerError, Authenticated, BrokerName, Device, Hop, Names, PeerId, PeerKey, RUN_MS, Record,
};
use crate::policy::Link;
#[cfg(feature = "tls")]
use crate::session::Entropy;
use crate::session::NoEntropy;
#[cfg(feature = "tls")]
use crate::tls::{Shown, Source, SpkiPin, TlsConfig};
use crate::topic::{TopicError, TopicName};
use crate::update::{Receiver, WrongRun};

/// Room for the largest packet of a run: an attestation has at most 65,535 bytes, a topic as many.
pub(super) const MAX_RECORD: usize = 256 << 10;
/// Random bytes in the client ID of a probe: as hexadecimal digits they and no more fit into the
/// 23 characters that every broker takes (MQTT 3.1.1 §3.1.3.1).
#[cfg(feature = "tls")]
const PROBE_ID: usize = 11;

/// Whom the client authenticates itself to at every connection, and by whom the broker is vouched
/// for.
///
/// After CONNECT a link subscribes the response topic, proves itself on the request topic and waits
/// for the proof of the authority. Until then nothing of the application goes out: no message, no
/// subscription. [`Event::Authenticated`](super::Event::Authenticated) tells that it is done, and
/// [`Event::LinkUp`](super::Event::LinkUp) comes after it. The broker's name is the `host:port` of
/// the link's MQTT options.
///
/// The two topics are matched before the policy: nothing that comes on them is delivered, and the
/// application cannot publish there.
///
/// Over TLS by a configuration of `verify_by_peer_alone` the
/// first contact is a probe: a connection under a random client ID, without will, user name,
/// password or certificate. The real one follows to a server with the key that was vouched for.
/// Where [`pins`](Self::pins) name keys of the broker, the first contact is the real one, to a server
/// with one of them. Roots and pins of other TLS configurations are enforced beside.
///
/// Over plain TCP a run proves that the authority is alive and what time it is there; somebody who
/// passes everything on between the two is not found out.
pub struct PeerAuth {
    key: Arc<PeerKey>,
    device: String,
    authority: String,
    request: String,
    response: String,
    patience: Duration,
    #[cfg(feature = "tls")]
    pins: Vec<SpkiHash>,
}

impl PeerAuth {
    /// As `device`, to `authority`, under the key that they share.
    #[must_use]
    pub fn new(
        key: PeerKey,
        device: PeerId<'_>,
        authority: PeerId<'_>,
        request: TopicName<'_>,
        response: TopicName<'_>,
    ) -> Self {
        Self {
            key: Arc::new(key),
            device: device.as_str().into(),
            authority: authority.as_str().into(),
            request: request.as_str().into(),
            response: response.as_str().into(),
            patience: Duration::from_millis(RUN_MS),
            #[cfg(feature = "tls")]
            pins: Vec::new(),
        }
    }

    /// With TLS keys that the broker may have, from the device's file, for a configuration of
    /// `verify_by_peer_alone`: the client begins with these keys pinned and without a probe, so that
    /// the broker may refuse clients without a password. The authority is asked on this connection as
    /// on every other. A server with another key is probed; where that is not let in
    /// ([`PeerFault::PinNeeded`]) or not answered, these keys are tried again, and no other is given
    /// a password. Key updates that name any key take the place of all of these.
    ///
    /// The key of a server that was stolen must not be among them: whoever has it is given the user
    /// name, the password and the will before the authority says no.
    // SPEC §9, "needs the pin in the grant"
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn pins(mut self, pins: &[SpkiHash]) -> Self {
        self.pins = pins.into();
        self
    }

    /// How long a run waits for its answer before it is told
    /// ([`Event::PeerSilent`](super::Event::PeerSilent)) and another begins, behind a probe on another
    /// connection: 30 seconds by default, and at most.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience.min(Duration::from_millis(RUN_MS));
        self
    }

    /// Whether runs of this device say how new its keys have to be.
    pub(super) fn check_updates(&self, receiver: &Receiver) -> Result<(), WrongRun> {
        receiver.check(&self.key, &self.device)
    }

    /// The topics that carry nothing else.
    pub(crate) fn topics(&self) -> [String; 2] {
        [self.request.clone(), self.response.clone()]
    }
}

impl fmt::Debug for PeerAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { device, authority, .. } = self;
        write!(f, "PeerAuth({device} to {authority}, ..)")
    }
}

/// How the connections of a link see the server.
pub(super) enum Sight {
    /// By plain TCP: not at all.
    Plain,
    #[cfg(feature = "tls")]
    Tls {
        config: TlsConfig,
        /// The key of the server that was vouched for, if that is what verifies it.
        vouched: Option<SpkiPin>,
        /// Whether a server was refused since one was vouched for: its key may have changed, and
        /// key updates may not say so yet.
        doubted: bool,
        /// What the server of this connection showed.
        shown: Shown,
    },
}

impl Sight {
    /// Of a TLS link that `tls` is for.
    #[cfg(feature = "tls")]
    pub(super) fn tls(tls: &crate::tls::LinkTls) -> Result<Self, ConfigError> {
        match &tls.0 {
            Source::Ours(config) => Ok(Self::Tls {
                config: config.clone(),
                vouched: None,
                doubted: false,
                shown: Shown::default(),
            }),
            Source::Foreign(_) => Err(ConfigError::PeerNeedsTlsConfig),
        }
    }

    /// `None`: the server has shown nothing.
    #[cfg_attr(
        not(feature = "tls"),
        expect(clippy::unnecessary_wraps, reason = "a server by tls may have shown nothing")
    )]
    fn hop(&self) -> Option<Hop> {
        match self {
            Self::Plain => Some(Hop::Plain),
            #[cfg(feature = "tls")]
            Self::Tls { shown, .. } => shown.get().map(|pin| Hop::Tls(pin.to_bytes())),
        }
    }

    /// From now on connections are to a server with this key, where no other check is made.
    fn vouch(&mut self) {
        match self {
            Self::Plain => {}
            #[cfg(feature = "tls")]
            Self::Tls { config, vouched, doubted, shown } if config.is_by_peer_alone() => {
                (*vouched, *doubted) = (shown.get(), false);
            }
            #[cfg(feature = "tls")]
            Self::Tls { .. } => {}
        }
    }

    fn forget(&mut self) {
        match self {
            Self::Plain => {}
            #[cfg(feature = "tls")]
            Self::Tls { vouched, doubted, .. } => (*vouched, *doubted) = (None, true),
        }
    }

    const fn trust_again(&mut self) {
        match self {
            Self::Plain => {}
            #[cfg(feature = "tls")]
            Self::Tls { doubted, .. } => *doubted = false,
        }
    }
}

/// Peer authentication of one link, over all its connections.
pub(super) struct Peer {
    device: Device,
    authority: String,
    pub(super) patience: Duration,
    /// Where the link's own clock begins.
    epoch: Instant,
    sight: Sight,
    /// The keys that the broker may have, unless a key update says otherwise.
    #[cfg(feature = "tls")]
    pins: Vec<SpkiHash>,
}

/// What becomes of a record that came in.
pub(super) enum Outcome {
    /// The run is complete: this is to be sent to the authority.
    Authenticated(Authenticated, Vec<u8>),
    /// Nothing: anybody could have sent it.
    Ignored,
    /// The authority itself says that this connection must end.
    Refused(PeerFault),
}

impl Peer {
    pub(super) fn new(
        auth: &PeerAuth,
        (host, port): &(String, u16),
        sight: Sight,
    ) -> Result<Self, ConfigError> {
        let broker = std::format!("{host}:{port}");
        let names = Names {
            device: PeerId::parse(&auth.device).map_err(ConfigError::PeerName)?,
            authority: PeerId::parse(&auth.authority).map_err(ConfigError::PeerName)?,
            broker: BrokerName::parse(&broker).map_err(ConfigError::PeerName)?,
            request: topic(&auth.request).map_err(ConfigError::PeerTopic)?,
            response: topic(&auth.response).map_err(ConfigError::PeerTopic)?,
        };
        Ok(Self {
            device: Device::new(Arc::clone(&auth.key), &names),
            authority: auth.authority.clone(),
            patience: auth.patience,
            epoch: Instant::now(),
            sight,
            #[cfg(feature = "tls")]
            pins: auth.pins.clone(),
        })
    }

    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    pub(super) fn request_topic(&self) -> &str {
        self.device.request_topic()
    }

    pub(super) fn response_topic(&self) -> &str {
        self.device.response_topic()
    }

    /// Whether a topic carries runs and nothing else.
    pub(super) fn has_topic(&self, topic: &[u8]) -> bool {
        [self.request_topic(), self.response_topic()].iter().any(|own| own.as_bytes() == topic)
    }

    /// The configuration of the next connection, if it is by TLS, and whether that is a probe.
    /// `sent` are the keys that the broker may have by a key update; where it names none, those that
    /// the device was given count.
    // SPEC §9, "the first contact is a probe", "needs the pin in the grant"
    #[cfg(feature = "tls")]
    pub(super) fn look(&mut self, sent: &[SpkiHash]) -> (bool, Option<Arc<rustls::ClientConfig>>) {
        let Sight::Tls { config, vouched, doubted, shown } = &mut self.sight else {
            return (false, None);
        };
        let alone = config.is_by_peer_alone();
        let named = if sent.is_empty() { &self.pins } else { sent };
        let named = if alone && vouched.is_none() && !*doubted { named } else { &[] };
        let probe = alone && vouched.is_none() && named.is_empty();
        let keys = vouched.iter().copied().chain(named.iter().copied().map(SpkiPin::from_bytes));
        let (watched, seen) = if probe { config.probe() } else { config.watched(keys) };
        *shown = seen;
        (probe, Some(watched))
    }

    /// The key of the server that was vouched for, where that is what verifies it.
    #[cfg(feature = "proxy")]
    pub(super) const fn vouched(&self) -> Option<SpkiPin> {
        match &self.sight {
            Sight::Plain => None,
            Sight::Tls { vouched, .. } => *vouched,
        }
    }

    /// The keys that the device was given.
    #[cfg(feature = "proxy")]
    pub(super) fn pins(&self) -> impl Iterator<Item = SpkiPin> {
        self.pins.iter().copied().map(SpkiPin::from_bytes)
    }

    /// The server that was vouched for may have another key by now.
    pub(super) fn forget_server(&mut self) {
        self.sight.forget();
    }

    /// A probe was not let in, or not answered: a key that an update or the device's file names is
    /// tried again.
    pub(super) const fn probe_refused(&mut self) {
        self.sight.trust_again();
    }

    /// An update names the keys that the broker may have: one that was vouched for before may have
    /// been stolen since.
    #[cfg(feature = "tls")]
    pub(super) fn keys_named(&mut self, sent: &[SpkiHash]) {
        if let Sight::Tls { vouched, doubted, .. } = &mut self.sight
            && !sent.is_empty()
            && vouched.take_if(|own| !sent.contains(&own.to_bytes())).is_some()
        {
            *doubted = false;
        }
    }

    /// Begins a run. Returns what is to be sent to the authority.
    pub(super) fn start(&mut self, link: Link, client_id: &str) -> Result<Vec<u8>, NoEntropy> {
        let mut challenge = Vec::new();
        let process = std::process::id().to_be_bytes();
        let clock = now().unwrap_or_default().to_be_bytes();
        let link = [u8::from(link == Link::Tls)];
        let extra: [&[u8]; 4] = [client_id.as_bytes(), &process, &clock, &link];
        let at = self.clock();
        self.device.start(at, &mut getrandom::SysRng, &extra, &mut challenge)?;
        Ok(challenge)
    }

    /// Takes what came in on one of the topics.
    pub(super) fn take(&mut self, topic: &[u8], bytes: &[u8]) -> Outcome {
        let Some(hop) = self.sight.hop() else {
            return Outcome::Refused(PeerFault::BrokerNotVouched);
        };
        let Ok(topic) = core::str::from_utf8(topic) else { return Outcome::Ignored };
        let mut confirmation = Vec::new();
        let record = Record { topic, bytes, now: self.clock() };
        match self.device.receive(&record, hop, &mut confirmation) {
            Ok(run) => {
                self.sight.vouch();
                Outcome::Authenticated(run, confirmation)
            }
            Err(AnswerError::BrokerNotVouched) => Outcome::Refused(PeerFault::BrokerNotVouched),
            Err(AnswerError::Attestation) => Outcome::Refused(PeerFault::Attestation),
            Err(_) => Outcome::Ignored,
        }
    }

    /// Milliseconds, on a clock that never goes back.
    pub(super) fn clock(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// One end publishes and the other subscribes.
fn topic(text: &str) -> Result<TopicName<'_>, TopicError> {
    TopicName::parse(text).and_then(TopicName::subscribable)
}

/// A client ID that says nothing.
#[cfg(feature = "tls")]
pub(super) fn random_id() -> Result<String, NoEntropy> {
    let mut random = [0; 32];
    getrandom::SysRng.fill(&mut random)?;
    let (used, _) = random.split_first_chunk::<PROBE_ID>().ok_or(NoEntropy)?;
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or('0');
    Ok(used.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect())
}

#[cfg(test)]
#[cfg(feature = "tls")]
mod tests {
    use super::*;
    use crate::secret::SharedKey;

    const FIRST: SpkiHash = [1; 32];
    const SECOND: SpkiHash = [2; 32];

    fn peer() -> Peer {
        peer_with(&[])
    }

    fn peer_with(pins: &[SpkiHash]) -> Peer {
        let key = PeerKey::pairwise(&SharedKey::take(&mut [7; 32]), "test").unwrap();
        let [device, authority] = ["d", "a"].map(|id| PeerId::parse(id).unwrap());
        let [request, response] = ["req", "res"].map(|topic| TopicName::parse(topic).unwrap());
        let auth = PeerAuth::new(key, device, authority, request, response).pins(pins);
        let tls = TlsConfig::builder().verify_by_peer_alone().build().unwrap();
        Peer::new(&auth, &("broker".into(), 8883), Sight::tls(&(&tls).into()).unwrap()).unwrap()
    }

    fn probes(peer: &mut Peer, sent: &[SpkiHash]) -> bool {
        peer.look(sent).0
    }

    #[test]
    fn key_of_an_update_counts_again_after_a_probe_that_is_not_let_in() {
        let mut peer = peer();
        assert!(probes(&mut peer, &[]));
        assert!(!probes(&mut peer, &[FIRST]));
        // somebody else stood between for a moment
        peer.forget_server();
        assert!(probes(&mut peer, &[FIRST]));
        peer.probe_refused();
        assert!(!probes(&mut peer, &[FIRST]), "no probe gets in there");
        assert!(probes(&mut peer, &[]));
    }

    #[test]
    fn key_of_the_device_counts_until_the_server_has_another_or_an_update_names_one() {
        let mut peer = peer_with(&[FIRST]);
        assert!(!probes(&mut peer, &[]), "it is pinned");
        assert!(!probes(&mut peer, &[SECOND]));
        peer.forget_server();
        assert!(probes(&mut peer, &[]), "the server has another");
        peer.probe_refused();
        assert!(!probes(&mut peer, &[]), "no probe gets in there");
    }

    #[test]
    fn key_that_was_vouched_for_is_forgotten_when_an_update_leaves_it_out() {
        let mut peer = peer();
        let vouched = |peer: &Peer| match &peer.sight {
            Sight::Tls { vouched, .. } => vouched.map(SpkiPin::to_bytes),
            Sight::Plain => None,
        };
        let vouch = |peer: &mut Peer, key| match &mut peer.sight {
            Sight::Tls { vouched, .. } => *vouched = Some(SpkiPin::from_bytes(key)),
            Sight::Plain => {}
        };
        vouch(&mut peer, FIRST);
        peer.keys_named(&[]);
        assert_eq!(vouched(&peer), Some(FIRST), "it says nothing of keys");
        peer.keys_named(&[SECOND, FIRST]);
        assert_eq!(vouched(&peer), Some(FIRST));
        peer.forget_server();
        vouch(&mut peer, FIRST);
        peer.keys_named(&[SECOND]);
        assert_eq!(vouched(&peer), None);
        assert!(!probes(&mut peer, &[SECOND]), "the keys of the update are pinned");
    }
}
