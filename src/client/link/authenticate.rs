//! Peer authentication on a connection: listen, ask, take the answer, and only then let the
//! application's traffic through.

use std::string::String;

use tokio::time::Instant;

use super::{Dialed, Worker};
use crate::client::connection::{Connection, Leave, Stage};
use crate::client::entry::Entry;
use crate::client::error::{ClientError, LinkError, PeerFault};
use crate::client::event::Event;
use crate::client::guards::now;
use crate::client::log::Mark;
use crate::client::outbox::Item;
use crate::client::peer::Outcome;
#[cfg(feature = "tls")]
use crate::client::peer::random_id;
use crate::client::protocol::{Call, Dial, Received};
use crate::client::will::lacks_key;
use crate::guard::QoS;
use crate::peer::Authenticated;

impl<D: Dial> Worker<D> {
    /// The next connection: a probe, or the real one with its own will.
    pub(super) fn dial(&mut self) -> Result<Dialed<D>, LinkError> {
        let mut call = Call::default();
        #[cfg(feature = "tls")]
        if let Some(peer) = &mut self.parts.peer {
            let sent = self.parts.updates.as_ref().map(|updates| updates.pins());
            let (probe, config) = peer.look(&sent.unwrap_or_default());
            call.tls = config;
            if probe {
                let id = random_id().map_err(|_| LinkError::Peer(PeerFault::NoEntropy))?;
                call.anonymous = Some(&id);
                let (requests, network) = self.parts.dial.dial(call);
                return Ok((Connection::probe(requests), network));
            }
        }
        let will = self.sealed_will()?;
        let super::Parts { dial, .. } = &self.parts;
        call.will = will.as_ref().map(Entry::publish);
        let (requests, network) = dial.dial(call);
        let mut connection = Connection::new(requests);
        connection.will_key = will.as_ref().and_then(Entry::session).map(|(kid, _)| kid);
        connection.without_will = will.is_none();
        Ok((connection, network))
    }

    /// The will of the next connection. One whose key is to come by that connection is left out.
    fn sealed_will(&self) -> Result<Option<Entry>, LinkError> {
        let super::Parts { link, dial, will, guards, updates, feed, .. } = &self.parts;
        let Some(will) = will else { return Ok(None) };
        match will.seal(&mut guards.tx(), *link, &dial.client_id()) {
            Ok(entry) => Ok(Some(entry)),
            Err(reason) if updates.is_some() && lacks_key(reason) => {
                let topic = String::from_utf8_lossy(&will.topic).into_owned();
                feed.push_or_miss(Event::PublishFailed {
                    topic,
                    reason: ClientError::Seal(reason),
                });
                Ok(None)
            }
            Err(error) => Err(LinkError::Will(error)),
        }
    }

    /// The broker took the connection: the authority's answers are subscribed before all else.
    // SPEC §9, "holds application traffic"
    pub(super) fn listen(&mut self, connection: &mut Connection<D::Requests>) {
        let Some(peer) = &self.parts.peer else { return };
        connection.run_ends = Instant::now().checked_add(peer.patience);
        let filter = peer.response_topic().into();
        self.parts.outbox.push_control(Item::Listen { filter });
    }

    /// The broker answered the subscription.
    pub(super) fn listening(
        &mut self,
        connection: &mut Connection<D::Requests>,
        granted: bool,
    ) -> Result<(), LinkError> {
        if !granted {
            return Err(self.refuse(PeerFault::NotSubscribed));
        }
        connection.stage = Stage::Listening;
        self.start_run(connection)
    }

    fn start_run(&mut self, connection: &mut Connection<D::Requests>) -> Result<(), LinkError> {
        let super::Parts { link, dial, peer, .. } = &mut self.parts;
        let Some(peer) = peer else { return Ok(()) };
        connection.run_ends = Instant::now().checked_add(peer.patience);
        let id = if connection.probe { String::new() } else { dial.client_id() };
        let challenge = peer.start(*link, &id);
        let payload = challenge.map_err(|_| LinkError::Peer(PeerFault::NoEntropy))?;
        let topic = peer.request_topic().into();
        self.parts.outbox.push_control(Item::Record { topic, payload });
        Ok(())
    }

    /// Nobody answered in time: that is told, and another run begins. A probe is given up, since its
    /// server may be anybody.
    pub(super) fn run_over(
        &mut self,
        connection: &mut Connection<D::Requests>,
    ) -> Result<(), LinkError> {
        let patience = self.parts.peer.as_ref().map(|peer| peer.patience);
        connection.run_ends = patience.and_then(|patience| Instant::now().checked_add(patience));
        let _ = self.parts.feed.push(Event::PeerSilent { link: self.parts.link });
        if connection.probe {
            // whoever it is would keep this client for as long as it likes
            return Err(LinkError::Peer(PeerFault::Silent));
        }
        if connection.stage == Stage::Listening { self.start_run(connection) } else { Ok(()) }
    }

    /// Whether a message is part of a run; what is on those topics is never delivered.
    pub(super) fn is_record(&self, received: &Received) -> bool {
        self.parts.peer.as_ref().is_some_and(|peer| peer.has_topic(&received.topic))
    }

    pub(super) async fn take_record(
        &mut self,
        connection: &mut Connection<D::Requests>,
        received: &Received,
    ) -> Result<(), LinkError> {
        if received.qos != QoS::AtMostOnce {
            connection.acks.push_back((received.id, received.qos, Mark::default()));
        }
        let Some(peer) = &mut self.parts.peer else { return Ok(()) };
        match peer.take(&received.topic, &received.payload) {
            Outcome::Ignored => Ok(()),
            Outcome::Refused(fault) => Err(self.refuse(fault)),
            Outcome::Authenticated(run, payload) => {
                let topic = peer.request_topic().into();
                self.parts.outbox.push_control(Item::Record { topic, payload });
                self.authenticated(connection, run).await;
                Ok(())
            }
        }
    }

    async fn authenticated(
        &mut self,
        connection: &mut Connection<D::Requests>,
        run: Authenticated,
    ) {
        connection.run_ends = None;
        if let Some(updates) = &self.parts.updates {
            // checked at the start: the run is one of the same device and key
            let _ = updates.attested(&run).await;
        }
        if connection.probe {
            connection.leave = Leave::Wanted;
            return;
        }
        if let Some(peer) = &self.parts.peer {
            let clock_offset = now().map(|own| run.clock_offset(own, peer.clock()));
            let event = Event::Authenticated {
                link: self.parts.link,
                peer: peer.authority().into(),
                rtt: core::time::Duration::from_millis(run.rtt()),
                clock_offset,
                run: run.into(),
            };
            let _ = self.parts.feed.push(event);
        }
        self.admit(connection);
    }

    fn refuse(&mut self, fault: PeerFault) -> LinkError {
        let _ = self.parts.feed.push(Event::PeerRefused { link: self.parts.link, fault });
        LinkError::Peer(fault)
    }

    /// What an error means for the next connection, and what it is called.
    pub(super) fn judge_loss(&mut self, error: LinkError, probe: bool) -> LinkError {
        let Some(peer) = &mut self.parts.peer else { return error };
        match error {
            error if probe && error.wants_login() => {
                peer.probe_refused();
                self.refuse(PeerFault::PinNeeded)
            }
            LinkError::Peer(PeerFault::Silent) => {
                peer.probe_refused();
                error
            }
            // a probe shows no certificate, and somebody may have insisted on one
            #[cfg(feature = "tls")]
            LinkError::Tls(_) if probe => {
                peer.probe_refused();
                error
            }
            LinkError::Certificate(_) | LinkError::Peer(_) => {
                peer.forget_server();
                error
            }
            error => error,
        }
    }
}
