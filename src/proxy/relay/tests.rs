//! A relay between sockets.

use super::*;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::keyring::{Grant, Keyring};
use crate::proxy::{Listen, Proxy, ProxyOptions};
use crate::secret::SharedKey;
use crate::store::outbox_file::OutboxFile;
use crate::store::policy_file;

const CONNECT: [u8; 18] = *b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04pump";
const CONNACK: [u8; 4] = [0x20, 2, 0, 0];
const PUBLISH: [u8; 11] = *b"\x32\x09\x00\x03s/a\x00\x0127";
const DISCONNECT: [u8; 2] = [0xE0, 0];

#[test]
fn what_waits_for_the_store_leaves_after_its_client_did() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let broker = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let options = ProxyOptions::new()
            .broker("127.0.0.1", broker.local_addr().unwrap().port())
            .listen(Listen::parse("127.0.0.1:0").unwrap())
            .store(OutboxFile::open(folder.path().join("store")).unwrap());
        let policy = policy_file::parse("[[rule]]\ntopics = [\"#\"]\npayload = \"sealed\"\n");
        let shared = SharedKey::take(&mut [7; 32]);
        let keyring = Keyring::new(vec![Grant::shared(&shared, "test").unwrap()]);
        let proxy = Proxy::bind(options, policy.unwrap(), keyring).await.unwrap();
        let address = proxy.addresses()[0];
        let running = tokio::spawn(proxy.run(core::future::pending()));
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(&CONNECT).await.unwrap();
        let (mut far, _) = broker.accept().await.unwrap();
        far.read_exact(&mut [0; CONNECT.len()]).await.unwrap();
        far.write_all(&CONNACK).await.unwrap();
        client.read_exact(&mut [0; CONNACK.len()]).await.unwrap();
        client.write_all(&[PUBLISH.as_slice(), &DISCONNECT].concat()).await.unwrap();
        let mut rest = Vec::new();
        far.read_to_end(&mut rest).await.unwrap();
        // a broker that gets no DISCONNECT publishes the will
        assert_eq!((rest.first(), rest.last_chunk()), (Some(&0x32), Some(&DISCONNECT)));
        running.abort();
    });
}
