//! What tells a publisher how its message ended. Knows no network.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use tokio::sync::oneshot;

use super::error::ClientError;

/// How a message that was accepted ended: await it, or drop it.
///
/// `Ok` at `QoS` 1 and 2: the broker has acknowledged the message (PUBACK, PUBCOMP), which says
/// nothing of its subscribers. `Ok` at `QoS` 0: it was handed to the connection.
///
/// # Errors
/// [`ClientError::Dropped`] for a message of `QoS` 0 that found no link or no room;
/// [`ClientError::Refused`] if the broker refused it; [`ClientError::Seal`],
/// [`ClientError::TooLarge`], [`ClientError::QoS`], [`ClientError::NoRetain`],
/// [`ClientError::NotStored`] if it was given up; [`ClientError::Closed`] if the client ended
/// first, in which case the message may have arrived, and one in a durable outbox is sent at the
/// next start.
#[derive(Debug)]
pub struct Ticket(oneshot::Receiver<Result<(), ClientError>>);

/// The end of a ticket that a message keeps.
#[derive(Debug)]
pub(super) struct Teller(oneshot::Sender<Result<(), ClientError>>);

impl Ticket {
    pub(super) fn new() -> (Teller, Self) {
        let (teller, told) = oneshot::channel();
        (Teller(teller), Self(told))
    }
}

impl Teller {
    /// Tells the end; nobody need listen.
    pub(super) fn tell(self, outcome: Result<(), ClientError>) {
        let _ = self.0.send(outcome);
    }
}

impl Future for Ticket {
    type Output = Result<(), ClientError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let told = Pin::new(&mut self.0).poll(cx);
        told.map(|told| told.unwrap_or(Err(ClientError::Closed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ticket_of_a_message_that_was_dropped_untold_says_closed() {
        let (teller, ticket) = Ticket::new();
        drop(teller);
        assert_eq!(ticket.await, Err(ClientError::Closed));
    }

    #[test]
    fn telling_where_nobody_listens_is_fine() {
        let (teller, ticket) = Ticket::new();
        drop(ticket);
        teller.tell(Ok(()));
    }
}
