//! The status page and the metrics, by HTTP on loopback. Knows requests; what they are answered with
//! is in files of its own.
//!
//! Whoever can reach the address reads it: every user of the machine. A page of the web cannot, even
//! if its name is made to lead here: the `Host` has to be a loopback one.

mod http;
mod json;
mod metrics;
mod page;

use core::convert::Infallible;
use core::net::SocketAddr;
use core::time::Duration;
use std::io;
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Core;
use super::listener::REST;

/// HTTP connections at a time; more have to wait.
const MAX_CONNECTIONS: usize = 16;
/// Bytes of a request's head, and lines in it.
const MAX_HEAD: usize = 16 << 10;
const MAX_HEADERS: usize = 64;
/// A request is there, answered and taken by then. Each connection carries one.
const PATIENCE: Duration = Duration::from_secs(10);

/// An open listener of the status page.
pub(super) struct StatusPage {
    listener: TcpListener,
    patience: Duration,
}

impl StatusPage {
    pub(super) async fn open(address: SocketAddr) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address).await?, patience: PATIENCE })
    }

    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// Answers requests for as long as it is polled.
    pub(super) async fn serve(self, core: Arc<Core>) {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut guests = JoinSet::new();
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            while guests.try_join_next().is_some() {}
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    guests.spawn(answer(Arc::clone(&core), stream, place, self.patience));
                }
                Err(error) => {
                    tracing::warn!(%error, "a request for the status page cannot be accepted");
                    sleep(REST).await;
                }
            }
        }
    }
}

/// Answers one request.
async fn answer(
    core: Arc<Core>,
    stream: TcpStream,
    place: OwnedSemaphorePermit,
    patience: Duration,
) {
    let service = service_fn(|request| {
        let response = http::answer(&core, &request);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD)
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .serve_connection(TokioIo::new(stream), service);
    // who asks nothing, or no HTTP, is left without an answer
    let _ = timeout(patience, connection).await;
    drop(place);
}

#[cfg(test)]
mod tests;
