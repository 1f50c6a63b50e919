//! The second link of a client, for messages of `tcp` rules: how far it is, and whether it goes on.
//! Knows no payload and no socket.

use std::collections::{HashSet, VecDeque};
use std::string::String;
use std::vec::Vec;

use super::{Ended, Flow, Limits, Session, Side};
use crate::proxy::clients::Client;
use crate::proxy::packet::{Frame, Kind};

/// A sign of life.
const PINGREQ: [u8; 2] = [0xC0, 0];
/// A plain link on which something waits, and of which nothing is seen so often, counts as lost.
const MAX_QUIET: u8 = 4;

/// How far the plain link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum PlainStage {
    #[default]
    Unused,
    /// A message waits for it.
    Wanted,
    /// Its CONNECT is written.
    Connecting,
    Running,
}

/// The second link.
#[derive(Debug, Default)]
pub(super) struct Plain {
    pub(super) stage: PlainStage,
    /// Its CONNECT, once the client's has come.
    pub(super) connect: Vec<u8>,
    pub(super) client_id: String,
    pub(super) limits: Limits,
    /// Seconds between signs of life, and when the broker was given the last one.
    pub(super) keep_alive: u16,
    pub(super) heard: Option<u64>,
    /// IDs of messages of `QoS` 1 and 2 that are not acknowledged, and the messages that wait until
    /// some are.
    pub(super) in_flight: HashSet<u16>,
    pub(super) queued: VecDeque<(u16, Vec<u8>)>,
    pub(super) queued_bytes: usize,
    /// Whether the broker owes an answer to a sign of life.
    asked: bool,
    /// How often in a row nothing had come of what waits.
    quiet: u8,
}

impl Session {
    /// Lets the plain broker know that the client lives, whatever the client says to the other.
    pub(super) fn live(&mut self, kind: Kind) {
        if self.plain.stage != PlainStage::Running {
            return;
        }
        let quarter = u64::from(self.plain.keep_alive).saturating_mul(250);
        let since = self.now.zip(self.plain.heard).map(|(now, heard)| now.saturating_sub(heard));
        let due = quarter > 0 && since.is_none_or(|since| since >= quarter);
        if due || kind == Kind::Pingreq {
            self.ask_plain();
            self.plain.heard = self.now;
        }
    }

    fn ask_plain(&mut self) {
        self.to_plain.put(&PINGREQ);
        self.plain.asked = true;
    }

    /// Whether the plain link is there.
    pub(in crate::proxy) fn has_plain_link(&self) -> bool {
        self.plain.stage == PlainStage::Running
    }

    /// Everything is written that the plain link takes. What waits nevertheless shows that it is slow,
    /// and goes on.
    pub(in crate::proxy) fn wrote_plain(&mut self) {
        if !self.to_plain.ready().is_empty() {
            self.plain.quiet = 0;
        }
    }

    /// Looks whether the plain link goes on, from time to time: without that one which neither takes
    /// nor answers anything would hold up its client for ever. A sign of life is asked for where the
    /// client asks for none. Whether it still may.
    pub(in crate::proxy) fn look_at_plain(&mut self) -> bool {
        let waits = self.plain.asked
            || !self.plain.in_flight.is_empty()
            || !self.to_plain.ready().is_empty();
        if !waits {
            self.plain.quiet = 0;
            return true;
        }
        if !self.plain.asked {
            self.ask_plain();
        }
        self.plain.quiet = self.plain.quiet.saturating_add(1);
        self.plain.quiet < MAX_QUIET
    }

    pub(super) fn take_from_plain(
        &mut self,
        client: &mut Client,
        frame: &Frame<'_>,
    ) -> Result<Flow, Ended> {
        (self.plain.asked, self.plain.quiet) = (false, 0);
        match frame.kind {
            Kind::Connack => self.plain_connack(client, frame)?,
            Kind::Puback | Kind::Pubrec | Kind::Pubcomp => {
                self.broker_acknowledges(client, Side::Plain, frame)?;
            }
            // it closes behind DISCONNECT
            Kind::Pingresp | Kind::Disconnect => {}
            // nothing is subscribed there
            _ => return Err(Ended::UnexpectedPacket(frame.kind)),
        }
        Ok(Flow::Done)
    }
}
