//! A TCP relay that keeps a record of every byte it passes on.

use core::mem;
use core::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// A relay between clients and one port on loopback. Dropping it cuts all.
pub(crate) struct Relay {
    port: u16,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    to_target: Mutex<Vec<u8>>,
    to_client: Mutex<Vec<u8>>,
    connections: Mutex<JoinSet<()>>,
}

impl Relay {
    /// Relays connections to `target`; each keeps its bytes in order, and all share one record.
    pub(crate) async fn start(target: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::<Shared>::default();
        let accepting = tokio::spawn(accept(listener, target, Arc::clone(&shared)));
        Self { port, shared, accepting }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// What clients have sent.
    pub(crate) fn to_target(&self) -> Vec<u8> {
        self.shared.to_target.lock().unwrap().clone()
    }

    /// What clients were sent. A byte is recorded before it is passed on: what a
    /// client has seen is in the record.
    pub(crate) fn to_client(&self) -> Vec<u8> {
        self.shared.to_client.lock().unwrap().clone()
    }

    /// Both records, one after the other.
    pub(crate) fn recorded(&self) -> Vec<u8> {
        [self.to_target(), self.to_client()].concat()
    }

    /// Cuts all connections and returns when they are closed. New ones are relayed again.
    pub(crate) async fn cut(&self) {
        let mut connections = mem::take(&mut *self.shared.connections.lock().unwrap());
        connections.shutdown().await;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
        self.shared.connections.lock().unwrap().abort_all();
    }
}

async fn accept(listener: TcpListener, target: u16, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        let relayed = relay(client, target, Arc::clone(&shared));
        shared.connections.lock().unwrap().spawn(relayed);
    }
}

async fn relay(client: TcpStream, target: u16, shared: Arc<Shared>) {
    let target = SocketAddr::from((Ipv4Addr::LOCALHOST, target));
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    tokio::join!(
        pass(client_read, server_write, &shared.to_target),
        pass(server_read, client_write, &shared.to_client),
    );
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, record: &Mutex<Vec<u8>>) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(len @ 1..) = from.read(&mut buffer).await {
        record.lock().unwrap().extend_from_slice(&buffer[..len]);
        if to.write_all(&buffer[..len]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}
