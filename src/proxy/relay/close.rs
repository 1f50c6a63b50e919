//! The end of a connection: what waits is written, and what a broker still says is read. Knows no
//! packets.

use core::future::poll_fn;
use core::task::{Context, Poll, ready};

use tokio::io::ReadBuf;

use super::{BUFFER, Leg, Relay, Side, progress};

impl Leg {
    /// Reads what is not needed any more, until the other end has closed.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        BUFFER.with_borrow_mut(|buffer| {
            while !self.closed {
                let mut read = ReadBuf::new(buffer);
                let result = ready!(self.stream.poll_read(cx, &mut read));
                self.closed = result.is_err() || read.filled().is_empty();
            }
            Poll::Ready(())
        })
    }
}

impl Relay {
    /// Writes what waits, that too which waits for the store, and closes all ends.
    pub(super) async fn close(&mut self) {
        let mut stored = self.core.keeper.as_ref().map(|keeper| keeper.progress());
        let mut works = stored.is_some();
        loop {
            let mark = tokio::select! {
                biased;
                mark = progress(stored.as_mut()), if works => mark,
                () = poll_fn(|cx| self.poll_close(cx, works)) => return,
            };
            match mark {
                Some(mark) => self.session.reached(mark),
                None => works = false,
            }
        }
    }

    /// Writes what waits for those ends that still take something, and closes them: first what waits
    /// for the store, as long as that works. The client comes last, which may be told what became of
    /// what it had said.
    fn poll_close(&mut self, cx: &mut Context<'_>, works: bool) -> Poll<()> {
        let mut waits = false;
        for side in [Side::Main, Side::Plain] {
            waits |= self.poll_shut(cx, side, works);
            // a broker whose answers nobody takes reads no further
            waits |= self.poll_rest(cx, side).is_pending();
        }
        if waits && self.listens {
            self.listens = self.poll_write(cx, Side::Client).is_ok();
        } else {
            waits |= self.poll_shut(cx, Side::Client, works);
        }
        if waits { Poll::Pending } else { Poll::Ready(()) }
    }

    /// Writes what waits for `side`, and says that this was all. Whether something still waits.
    fn poll_shut(&mut self, cx: &mut Context<'_>, side: Side, works: bool) -> bool {
        if self.leg(side).is_some_and(|leg| !leg.shut) && self.poll_write(cx, side).is_err() {
            if let Some(leg) = self.leg_mut(side) {
                (leg.closed, leg.shut) = (true, true);
            }
            return false;
        }
        let outbox = match side {
            Side::Client => &self.session.to_client,
            Side::Main => &self.session.to_main,
            Side::Plain => &self.session.to_plain,
        };
        let left = !outbox.ready().is_empty() || (works && outbox.waiting() > 0);
        let Some(leg) = self.leg_mut(side) else { return false };
        if !leg.shut && (left || leg.unflushed) {
            return true;
        }
        leg.shut = true;
        leg.stream.poll_shutdown(cx).is_pending()
    }

    /// Reads what a broker still says, until it has closed: for a client that listens.
    fn poll_rest(&mut self, cx: &mut Context<'_>, side: Side) -> Poll<()> {
        let is_open = |leg: &Leg| !leg.closed;
        while self.listens && self.session.takes(side) && self.leg(side).is_some_and(is_open) {
            if !self.has_room(side) {
                let written = self.poll_write(cx, Side::Client);
                self.listens = written.is_ok() && self.has_room(side);
                continue;
            }
            match self.poll_side(cx, side) {
                Ok(true) => {}
                Ok(false) => return Poll::Pending,
                Err(_) => self.listens = false,
            }
        }
        self.leg_mut(side).map_or(Poll::Ready(()), |leg| leg.poll_drain(cx))
    }
}
