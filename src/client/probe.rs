//! The first contact with a broker whose key is not known yet, for whoever makes the real
//! connections elsewhere: a run of peer authentication on a connection of its own, and no more. Seals
//! nothing.

use core::time::Duration;
use std::string::String;

use tokio::time::timeout;

use super::error::{ConfigError, LinkError, PeerFault};
use super::peer::{Outcome, Peer, PeerAuth, Sight, random_id};
use super::protocol::{Call, Dial, Full, Input, Network, Publish, Request, Requests};
use super::rumqttc_v4::Dialer;
use crate::guard::QoS;
use crate::peer::Proof;
use crate::policy::Link;
use crate::tls::{LinkTls, SpkiPin, TlsConfig};

/// Asks an authority whether a broker's key is the broker's.
pub(crate) struct Prober {
    peer: Peer,
    dial: Dialer,
    patience: Duration,
    /// Whether the challenge of the latest run went out.
    asked: bool,
}

/// What a run showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Vouched {
    /// The key that the server proved to hold, and that the authority knows.
    pub(crate) pin: SpkiPin,
    pub(crate) proof: Proof,
    /// Milliseconds.
    pub(crate) rtt: u64,
}

impl Prober {
    /// For a broker that `tls` verifies by its peer alone. A run waits no longer than `patience`,
    /// nor than `auth` says.
    ///
    /// # Errors
    /// [`ConfigError::PeerName`], [`ConfigError::PeerTopic`].
    pub(crate) fn new(
        auth: &PeerAuth,
        broker: &(String, u16),
        tls: &TlsConfig,
        patience: Duration,
    ) -> Result<Self, ConfigError> {
        let peer = Peer::new(auth, broker, Sight::tls(&LinkTls::from(tls))?)?;
        let patience = patience.min(peer.patience);
        Ok(Self { peer, dial: Dialer::stranger(broker), patience, asked: false })
    }

    /// Whom it asks.
    pub(crate) fn authority(&self) -> &str {
        self.peer.authority()
    }

    /// The keys that the broker may have before anybody is asked.
    pub(crate) fn pins(&self) -> impl Iterator<Item = SpkiPin> {
        self.peer.pins()
    }

    /// Connects as nobody, asks, and leaves.
    ///
    /// # Errors
    /// [`LinkError`], in which case no key is vouched for, whatever one was before.
    // SPEC §9, "the first contact is a probe"
    pub(crate) async fn probe(&mut self) -> Result<Vouched, LinkError> {
        self.asked = false;
        match timeout(self.patience, self.run()).await {
            Ok(Err(error)) if error.wants_login() => Err(LinkError::Peer(PeerFault::PinNeeded)),
            Ok(outcome) => outcome,
            Err(_) if self.asked => Err(LinkError::Peer(PeerFault::Silent)),
            Err(_) => Err(LinkError::Timeout),
        }
    }

    async fn run(&mut self) -> Result<Vouched, LinkError> {
        self.peer.forget_server();
        let (_, tls) = self.peer.look(&[]);
        let id = random_id().map_err(|_| LinkError::Peer(PeerFault::NoEntropy))?;
        let (requests, mut network) =
            self.dial.dial(Call { anonymous: Some(&id), tls, ..Call::default() });
        let mut vouched = None;
        loop {
            match (Network::poll(&mut network).await, vouched) {
                // the authority has spoken: what becomes of the connection is all the same
                (Ok(Input::Disconnected) | Err(_), Some(vouched)) => return Ok(vouched),
                (Err(error), None) => return Err(error),
                (Ok(Input::Disconnected), None) => return Err(LinkError::Protocol),
                (Ok(input), None) => vouched = self.step(&requests, &input)?,
                (Ok(_), Some(_)) => {}
            }
        }
    }

    /// Does what comes next in a run.
    fn step(
        &mut self,
        requests: &impl Requests,
        input: &Input,
    ) -> Result<Option<Vouched>, LinkError> {
        match input {
            Input::Connected { .. } => {
                let filter = self.peer.response_topic();
                hand(requests, Request::Subscribe { filter, qos: QoS::AtMostOnce })?;
            }
            Input::Subscribed { granted: None, .. } => {
                return Err(LinkError::Peer(PeerFault::NotSubscribed));
            }
            Input::Subscribed { .. } => {
                let challenge = self.peer.start(Link::Tls, "");
                let challenge = challenge.map_err(|_| LinkError::Peer(PeerFault::NoEntropy))?;
                self.record(requests, &challenge)?;
                self.asked = true;
            }
            Input::Received(received) => {
                return self.take(requests, &received.topic, &received.payload);
            }
            _ => {}
        }
        Ok(None)
    }

    fn take(
        &mut self,
        requests: &impl Requests,
        topic: &[u8],
        bytes: &[u8],
    ) -> Result<Option<Vouched>, LinkError> {
        match self.peer.take(topic, bytes) {
            Outcome::Ignored => Ok(None),
            Outcome::Refused(fault) => Err(LinkError::Peer(fault)),
            Outcome::Authenticated(run, confirmation) => {
                self.record(requests, &confirmation)?;
                hand(requests, Request::Disconnect)?;
                let pin = self.peer.vouched();
                let pin = pin.ok_or(LinkError::Peer(PeerFault::BrokerNotVouched))?;
                Ok(Some(Vouched { pin, proof: run.proof(), rtt: run.rtt() }))
            }
        }
    }

    fn record(&self, requests: &impl Requests, payload: &[u8]) -> Result<(), LinkError> {
        let topic = self.peer.request_topic();
        let (qos, retain, attached) = (QoS::AtMostOnce, false, None);
        hand(requests, Request::Publish(Publish { topic, qos, retain, payload, attached }))
    }
}

/// A run has fewer packets than the client has room for.
fn hand(requests: &impl Requests, request: Request<'_>) -> Result<(), LinkError> {
    requests.request(request).map_err(|Full| LinkError::OutOfStep)
}
