//! How much a link may have accepted, in messages and bytes, and whether it is up. Knows no
//! messages.

use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

use super::error::ClientError;

/// The bounds of a link's outbox.
#[derive(Debug)]
pub(super) struct Room {
    messages: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    max_bytes: u32,
    up: AtomicBool,
}

/// A message's place in the outbox, free again when dropped.
#[derive(Debug)]
pub(super) struct Place {
    message: Option<OwnedSemaphorePermit>,
    _bytes: OwnedSemaphorePermit,
}

impl Place {
    /// The message waits no more, but it is kept until it is acknowledged.
    pub(super) fn leave_queue(&mut self) {
        self.message = None;
    }
}

impl Room {
    /// Room for so many messages that wait, at least one, and so many bytes of messages that are
    /// kept.
    pub(super) fn new(messages: usize, bytes: usize) -> Self {
        let max_bytes = u32::try_from(bytes.min(Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
        let messages = messages.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            messages: Arc::new(Semaphore::new(messages)),
            bytes: Arc::new(Semaphore::new(usize::try_from(max_bytes).unwrap_or(bytes))),
            max_bytes,
            up: AtomicBool::new(false),
        }
    }

    // One that is longer than all room goes alone.
    fn permits(&self, len: usize) -> u32 {
        u32::try_from(len).unwrap_or(u32::MAX).min(self.max_bytes)
    }

    /// Waits for a place. Cancel safe; who came first goes first.
    ///
    /// # Errors
    /// [`ClientError::Closed`].
    pub(super) async fn take(&self, len: usize) -> Result<Place, ClientError> {
        let message = Arc::clone(&self.messages).acquire_owned().await;
        let message = message.map_err(|_| ClientError::Closed)?;
        let bytes = Arc::clone(&self.bytes).acquire_many_owned(self.permits(len)).await;
        let bytes = bytes.map_err(|_| ClientError::Closed)?;
        Ok(Place { message: Some(message), _bytes: bytes })
    }

    /// Takes a place if there is one.
    ///
    /// # Errors
    /// [`ClientError::Full`], [`ClientError::Closed`].
    pub(super) fn try_take(&self, len: usize) -> Result<Place, ClientError> {
        let message =
            Arc::clone(&self.messages).try_acquire_owned().map_err(|error| refused(&error))?;
        let bytes = Arc::clone(&self.bytes).try_acquire_many_owned(self.permits(len));
        Ok(Place { message: Some(message), _bytes: bytes.map_err(|error| refused(&error))? })
    }

    /// Gives no more places, and tells those that wait.
    pub(super) fn close(&self) {
        self.messages.close();
        self.bytes.close();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.messages.is_closed()
    }

    pub(super) fn set_up(&self, up: bool) {
        self.up.store(up, Ordering::Relaxed);
    }

    /// Whether the link is connected.
    pub(super) fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }
}

const fn refused(error: &TryAcquireError) -> ClientError {
    match error {
        TryAcquireError::NoPermits => ClientError::Full,
        TryAcquireError::Closed => ClientError::Closed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(place: &Result<Place, ClientError>) -> bool {
        matches!(place, Err(ClientError::Full))
    }

    #[test]
    fn room_is_bounded_in_messages() {
        let room = Room::new(2, 1_000);
        let (first, _second) = (room.try_take(1).unwrap(), room.try_take(1).unwrap());
        assert!(full(&room.try_take(1)));
        drop(first);
        room.try_take(1).unwrap();
    }

    #[test]
    fn room_is_bounded_in_bytes_until_a_message_is_done_with() {
        let room = Room::new(10, 100);
        let mut place = room.try_take(60).unwrap();
        place.leave_queue();
        assert!(full(&room.try_take(41)));
        let other = room.try_take(40).unwrap();
        drop((place, other));
        room.try_take(100).unwrap();
    }

    #[test]
    fn what_left_the_queue_makes_room_for_a_message() {
        let room = Room::new(1, 100);
        let mut place = room.try_take(1).unwrap();
        assert!(full(&room.try_take(1)));
        place.leave_queue();
        room.try_take(1).unwrap();
    }

    #[test]
    fn message_longer_than_all_room_goes_alone() {
        let room = Room::new(2, 100);
        let place = room.try_take(101).unwrap();
        assert!(full(&room.try_take(1)));
        drop(place);
        room.try_take(1).unwrap();
    }

    #[tokio::test]
    async fn closing_tells_those_that_wait() {
        let room = Arc::new(Room::new(1, 100));
        let _place = room.try_take(1).unwrap();
        let waiting = tokio::spawn({
            let room = Arc::clone(&room);
            async move { room.take(1).await.map(drop) }
        });
        tokio::task::yield_now().await;
        room.close();
        assert_eq!(waiting.await.unwrap(), Err(ClientError::Closed));
        assert!(room.is_closed());
    }
}
