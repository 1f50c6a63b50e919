//! A broker of hand-written MQTT 5 packets, for what a real one does not do.

use core::net::Ipv4Addr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::DEADLINE;

/// A listener whose every answer the test writes.
pub(crate) struct FakeBroker {
    listener: TcpListener,
}

/// A connection of a client to it.
pub(crate) struct FakeConnection {
    stream: TcpStream,
}

impl FakeBroker {
    pub(crate) async fn start() -> Self {
        Self { listener: TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap() }
    }

    pub(crate) fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }

    /// The flags and the properties of the next CONNECT.
    pub(crate) async fn connect(&self) -> (u8, Vec<u8>) {
        let (_, body) = self.next().await.1;
        // the protocol's name and version, flags, keep-alive, length of the properties
        let (flags, len) = (body[7], usize::from(body[10]));
        (flags, body[11..][..len].to_vec())
    }

    async fn next(&self) -> (FakeConnection, (u8, Vec<u8>)) {
        let accepted = tokio::time::timeout(DEADLINE, self.listener.accept()).await;
        let (stream, _) = accepted.expect("nobody connected").unwrap();
        stream.set_nodelay(true).unwrap();
        let mut connection = FakeConnection { stream };
        let connect = connection.receive().await;
        assert_eq!(connect.0 >> 4, 1);
        (connection, connect)
    }

    /// Takes the next connection and answers its CONNECT with these properties.
    pub(crate) async fn accept(&self, properties: &[u8]) -> FakeConnection {
        let (mut connection, _) = self.next().await;
        let len = u8::try_from(properties.len()).unwrap();
        connection.send(0x20, &[&[0, 0, len], properties].concat()).await;
        connection
    }
}

impl FakeConnection {
    /// The next packet: first byte and body.
    pub(crate) async fn receive(&mut self) -> (u8, Vec<u8>) {
        self.try_receive().await.expect("the client closed the connection")
    }

    /// The next packet; `None` when the client closed the connection.
    pub(crate) async fn try_receive(&mut self) -> Option<(u8, Vec<u8>)> {
        let packet = tokio::time::timeout(DEADLINE, self.read_packet()).await;
        packet.expect("no packet came")
    }

    async fn read_packet(&mut self) -> Option<(u8, Vec<u8>)> {
        let first = self.stream.read_u8().await.ok()?;
        let mut len = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.stream.read_u8().await.ok()?;
            len |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; len];
        self.stream.read_exact(&mut body).await.ok()?;
        Some((first, body))
    }

    /// Sends a packet of less than 128 bytes of body.
    pub(crate) async fn send(&mut self, first: u8, body: &[u8]) {
        let len = u8::try_from(body.len()).unwrap();
        assert!(len < 128, "the length of a short packet has one byte");
        self.stream.write_all(&[&[first, len], body].concat()).await.unwrap();
    }
}

/// The body of a PUBLISH of QoS 1 or 2.
pub(crate) fn publish_packet(topic: &[u8], id: u16, properties: &[u8], payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(topic.len()).unwrap().to_be_bytes();
    let properties_len = [u8::try_from(properties.len()).unwrap()];
    [&len, topic, &id.to_be_bytes(), &properties_len, properties, payload].concat()
}
