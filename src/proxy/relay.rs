//! Moves bytes between sockets and a session. Knows no packets and no keys.
//!
//! All sockets of a connection are driven by one task. What was read at once is dealt with and
//! written at once: under load one call of the system carries many packets, and a lone one waits
//! for nothing.

mod close;

use core::cell::RefCell;
use core::future::poll_fn;
use core::task::{Context, Poll};
use core::time::Duration;
use std::io;
use std::string::String;
use std::sync::Arc;
use std::time::Instant;
use std::vec;
use std::vec::Vec;

use tokio::io::ReadBuf;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::Core;
use super::keeper::Mark;
use super::meters::unix_ms;
use super::session::{Ended, Session, Side};
use super::stream::Stream;
use super::target::Target;

/// Bytes that are read at once.
const READ: usize = 64 << 10;
/// Bytes that wait for one end; beyond, the other end is not read.
const BACKLOG: usize = 256 << 10;
/// A CONNECT has to be there by then, and the broker's answer.
const CONNECT_PATIENCE: Duration = Duration::from_secs(20);
/// How often it is looked whether the plain link goes on.
const LOOK: Duration = Duration::from_secs(30);
/// What waits when a connection ends is written within this time.
const LINGER: Duration = Duration::from_secs(5);

std::thread_local! {
    /// What is being read. Connections that wait have no buffer of their own.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
}

/// Where the broker is: by the main link, and by a plain one beside it.
#[derive(Clone)]
pub(super) struct Targets {
    pub(super) main: Target,
    pub(super) plain: Option<Target>,
}

/// Why a connection is no more.
#[derive(Debug)]
pub(super) enum End {
    /// An end closed it.
    Closed(Side),
    /// A socket failed.
    Failed(Side, io::Error),
    /// The client left, or was refused by the broker.
    Left,
    /// What was said cannot be.
    Ended(Ended),
    /// The broker cannot be reached.
    NoBroker(io::Error),
    /// The broker is there, and has not answered CONNECT.
    NoAnswer(Option<io::Error>),
    /// Nothing came in time.
    Silent,
    /// The plain link neither takes nor answers anything.
    Stalled,
    /// The store cannot be written.
    Store,
    /// The proxy stops.
    Stopped,
}

impl End {
    /// The same, told from a broker's that has not answered yet.
    fn of(self, session: &Session) -> Self {
        match self {
            Self::Closed(side) if session.waits_for(side) => Self::NoAnswer(None),
            Self::Failed(side, error) if session.waits_for(side) => Self::NoAnswer(Some(error)),
            Self::Silent if session.waits_for(Side::Main) || session.waits_for(Side::Plain) => {
                Self::NoAnswer(Some(io::ErrorKind::TimedOut.into()))
            }
            other => other,
        }
    }
}

/// What a step of the relay leads to.
enum Step {
    Main,
    Plain,
    End(End),
}

/// One end, with what came from it and is no whole packet.
struct Leg {
    stream: Stream,
    inbox: Vec<u8>,
    closed: bool,
    unflushed: bool,
    /// Whether nothing more is written.
    shut: bool,
}

impl Leg {
    const fn new(stream: Stream) -> Self {
        Self { stream, inbox: Vec::new(), closed: false, unflushed: false, shut: false }
    }
}

/// One client's connection.
pub(super) struct Relay {
    core: Arc<Core>,
    session: Session,
    client: Leg,
    main: Option<Leg>,
    plain: Option<Leg>,
    /// Whether the client has said all, and may still listen.
    listens: bool,
    /// When what was read last came, and how many packets of it are not written.
    read: Option<Instant>,
    packets: u64,
}

impl Relay {
    pub(super) fn new(core: Arc<Core>, client: Stream, number: u64) -> Self {
        let session = Session::new(Arc::clone(&core), number);
        let client = Leg::new(client);
        let (main, plain) = (None, None);
        Self { core, session, client, main, plain, listens: false, read: None, packets: 0 }
    }

    /// Serves the client until its connection ends.
    pub(super) async fn run(mut self, targets: &Targets, mut stop: watch::Receiver<bool>) {
        let end = self.serve(targets, &mut stop).await.of(&self.session);
        match &end {
            End::NoBroker(_) => self.session.no_broker(),
            End::Stopped => self.session.stop(),
            End::Closed(Side::Client) => {
                self.session.client_closed();
                self.listens = true;
            }
            // no side is told what the other did not say
            _ => {}
        }
        self.session.ended(unix_ms());
        self.tell(&end);
        // an end that takes nothing is left behind
        let _ = timeout(LINGER, self.close()).await;
        let Self { core, session, .. } = self;
        let left = session.keeps().then(|| String::from(session.client_id()));
        drop(session);
        if let Some(client_id) = left {
            core.clients.left(&client_id);
        }
    }

    fn tell(&self, end: &End) {
        let client_id = self.session.client_id();
        match end {
            End::Ended(error) => tracing::warn!(client_id, %error, "connection ended"),
            End::NoBroker(error) => {
                self.core.meters.broker_failures.add(1);
                tracing::warn!(client_id, %error, "the broker cannot be reached");
            }
            End::NoAnswer(error) => {
                self.core.meters.broker_failures.add(1);
                let error = error.as_ref().map(tracing::field::display);
                tracing::warn!(client_id, error, "the broker has not answered CONNECT");
            }
            End::Store => tracing::error!(client_id, "the store cannot be written"),
            End::Closed(side) => tracing::debug!(client_id, ?side, "an end closed the connection"),
            End::Failed(side, error) => tracing::debug!(client_id, ?side, %error, "an end failed"),
            End::Silent => tracing::debug!(client_id, "no CONNECT in time"),
            End::Stalled => {
                self.core.meters.broker_failures.add(1);
                tracing::warn!(client_id, "the plain link neither takes nor answers anything");
            }
            End::Left | End::Stopped => tracing::debug!(client_id, "connection ended"),
        }
    }

    async fn serve(&mut self, targets: &Targets, stop: &mut watch::Receiver<bool>) -> End {
        let mut stored = self.core.keeper.as_ref().map(|keeper| keeper.progress());
        // the client has to speak, then the broker
        let deadline = tokio::time::sleep(CONNECT_PATIENCE);
        tokio::pin!(deadline);
        let mut waits = true;
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let step = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => Step::End(End::Stopped),
                mark = progress(stored.as_mut()) => match mark {
                    Some(mark) => { self.session.reached(mark); continue }
                    None => Step::End(End::Store),
                },
                step = poll_fn(|cx| self.poll(cx)) => step,
                // asked when it is over: much may have come while this waited
                () = &mut deadline, if waits => {
                    waits = false;
                    if !self.session.waits_for_answer() { continue }
                    Step::End(End::Silent)
                }
                _ = look.tick(), if self.session.has_plain_link() => {
                    if self.session.look_at_plain() { continue }
                    Step::End(End::Stalled)
                }
            };
            let target = match step {
                Step::Main => &targets.main,
                Step::Plain => match &targets.plain {
                    Some(plain) => plain,
                    None => return End::Left,
                },
                Step::End(end) => return end,
            };
            let stream = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return End::Stopped,
                stream = target.connect() => stream,
            };
            let leg = match stream {
                Ok(stream) => Some(Leg::new(stream)),
                Err(error) => return End::NoBroker(error),
            };
            if matches!(step, Step::Plain) {
                self.plain = leg;
                self.session.plain_open();
                deadline.set(tokio::time::sleep(CONNECT_PATIENCE));
                waits = true;
            } else {
                self.main = leg;
            }
        }
    }

    /// Moves what can be moved.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        loop {
            let mut moved = false;
            for side in [Side::Client, Side::Main, Side::Plain] {
                match self.poll_side(cx, side) {
                    Ok(did) => moved |= did,
                    Err(end) => return Poll::Ready(Step::End(end)),
                }
            }
            for side in [Side::Main, Side::Client, Side::Plain] {
                match self.poll_write(cx, side) {
                    Ok(true) if side == Side::Plain => {
                        self.session.wrote_plain();
                        moved = true;
                    }
                    Ok(did) => moved |= did,
                    Err(end) => return Poll::Ready(Step::End(end)),
                }
            }
            self.measure();
            if let Some(step) = self.next_step() {
                return Poll::Ready(step);
            }
            if moved {
                continue;
            }
            // only now: what a side said before it closed may just have become due
            let sides = [Side::Client, Side::Main, Side::Plain];
            return sides
                .into_iter()
                .find(|side| self.is_done(*side))
                .map_or(Poll::Pending, |side| Poll::Ready(Step::End(End::Closed(side))));
        }
    }

    fn next_step(&self) -> Option<Step> {
        if self.session.wants_main() && self.main.is_none() {
            return Some(Step::Main);
        }
        if self.session.wants_plain() && self.plain.is_none() {
            return Some(Step::Plain);
        }
        self.session.is_over().then_some(Step::End(End::Left))
    }

    /// Whether a side has closed, and everything that it said is dealt with.
    fn is_done(&self, side: Side) -> bool {
        let Some(leg) = self.leg(side).filter(|leg| leg.closed) else { return false };
        let waits =
            self.session.is_connecting() || !self.session.takes(side) || !self.has_room(side);
        leg.inbox.is_empty() || side != Side::Client || !waits
    }

    /// What was read is written, or waits for its end.
    fn measure(&mut self) {
        if let Some(read) = self.read.take()
            && self.packets > 0
        {
            self.core.meters.took(read.elapsed(), core::mem::take(&mut self.packets));
        }
    }

    const fn leg(&self, side: Side) -> Option<&Leg> {
        match side {
            Side::Client => Some(&self.client),
            Side::Main => self.main.as_ref(),
            Side::Plain => self.plain.as_ref(),
        }
    }

    const fn leg_mut(&mut self, side: Side) -> Option<&mut Leg> {
        match side {
            Side::Client => Some(&mut self.client),
            Side::Main => self.main.as_mut(),
            Side::Plain => self.plain.as_mut(),
        }
    }

    /// Whether what comes from `side` has somewhere to go.
    fn has_room(&self, side: Side) -> bool {
        let Session { to_client, to_main, to_plain, .. } = &self.session;
        match side {
            Side::Client => to_main.waiting() < BACKLOG && to_plain.waiting() < BACKLOG,
            Side::Main | Side::Plain => to_client.waiting() < BACKLOG,
        }
    }

    /// Deals with what came from `side`, and with what comes. Whether anything did.
    fn poll_side(&mut self, cx: &mut Context<'_>, side: Side) -> Result<bool, End> {
        if !self.has_room(side) {
            return Ok(false);
        }
        let mut moved = self.take_inbox(side)?;
        if !self.session.takes(side) || !self.has_room(side) {
            return Ok(moved);
        }
        BUFFER.with_borrow_mut(|buffer| {
            let mut read = ReadBuf::new(buffer);
            let Some(leg) = self.leg_mut(side).filter(|leg| !leg.closed) else { return Ok(moved) };
            // what waits for the broker's answer is not read behind
            if leg.inbox.len() > BACKLOG && side == Side::Client && self.session.is_connecting() {
                return Ok(moved);
            }
            let Some(leg) = self.leg_mut(side) else { return Ok(moved) };
            match leg.stream.poll_read(cx, &mut read) {
                Poll::Pending => return Ok(moved),
                Poll::Ready(Err(error)) => return Err(End::Failed(side, error)),
                Poll::Ready(Ok(())) => moved = true,
            }
            if read.filled().is_empty() {
                leg.closed = true;
                return Ok(true);
            }
            self.read.get_or_insert_with(Instant::now);
            self.take(side, read.filled())?;
            Ok(moved)
        })
    }

    /// Deals with what came before, if it can be now.
    fn take_inbox(&mut self, side: Side) -> Result<bool, End> {
        let Some(leg) = self.leg_mut(side) else { return Ok(false) };
        if leg.inbox.is_empty() {
            return Ok(false);
        }
        let mut inbox = core::mem::take(&mut leg.inbox);
        let taken = self.session.take(side, &inbox, Some(unix_ms()));
        let taken = taken.map_err(End::Ended)?;
        self.packets = self.packets.saturating_add(taken.packets);
        inbox.drain(..taken.bytes.min(inbox.len()));
        if inbox.is_empty() {
            inbox = Vec::new();
        }
        if let Some(leg) = self.leg_mut(side) {
            leg.inbox = inbox;
        }
        Ok(taken.bytes > 0)
    }

    /// Deals with bytes that were read.
    fn take(&mut self, side: Side, bytes: &[u8]) -> Result<(), End> {
        let Some(leg) = self.leg_mut(side) else { return Ok(()) };
        if !leg.inbox.is_empty() {
            leg.inbox.extend_from_slice(bytes);
            return self.take_inbox(side).map(drop);
        }
        let taken = self.session.take(side, bytes, Some(unix_ms())).map_err(End::Ended)?;
        self.packets = self.packets.saturating_add(taken.packets);
        let rest = bytes.get(taken.bytes..).unwrap_or_default();
        if let Some(leg) = self.leg_mut(side).filter(|_| !rest.is_empty()) {
            leg.inbox.extend_from_slice(rest);
        }
        Ok(())
    }

    /// Writes what waits for `side`. Whether anything was.
    fn poll_write(&mut self, cx: &mut Context<'_>, side: Side) -> Result<bool, End> {
        let Self { session, client, main, plain, .. } = self;
        let (leg, outbox) = match side {
            Side::Client => (Some(client), &mut session.to_client),
            Side::Main => (main.as_mut(), &mut session.to_main),
            Side::Plain => (plain.as_mut(), &mut session.to_plain),
        };
        let Some(leg) = leg else { return Ok(false) };
        let mut moved = false;
        while !outbox.ready().is_empty() {
            match leg.stream.poll_write(cx, outbox.ready()) {
                Poll::Pending => return Ok(moved),
                Poll::Ready(Ok(0)) => return Err(End::Closed(side)),
                Poll::Ready(Ok(len)) => outbox.wrote(len),
                Poll::Ready(Err(error)) => return Err(End::Failed(side, error)),
            }
            (moved, leg.unflushed) = (true, true);
        }
        if leg.unflushed {
            match leg.stream.poll_flush(cx) {
                Poll::Pending => return Ok(moved),
                Poll::Ready(Ok(())) => leg.unflushed = false,
                Poll::Ready(Err(error)) => return Err(End::Failed(side, error)),
            }
        }
        Ok(moved)
    }
}

/// The next mark of the store; `None` if it failed. Without a store nothing ever comes.
async fn progress(stored: Option<&mut watch::Receiver<Mark>>) -> Option<Mark> {
    let Some(stored) = stored else { return core::future::pending().await };
    stored.changed().await.ok()?;
    Some(*stored.borrow_and_update())
}

#[cfg(test)]
mod tests;
