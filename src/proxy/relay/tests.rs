//! A relay between sockets.

use super::*;

use core::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::guard::Config;
use crate::keyring::{Grant, Keyring};
use crate::policy::Links;
use crate::proxy::{Listen, Proxy, ProxyOptions, server};
use crate::secret::SharedKey;
use crate::store::outbox_file::OutboxFile;
use crate::store::policy_file;

const CONNECT: [u8; 18] = *b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04pump";
const CONNACK: [u8; 4] = [0x20, 2, 0, 0];
const PUBLISH: [u8; 11] = *b"\x32\x09\x00\x03s/a\x00\x0127";
const PUBACK: [u8; 4] = [0x40, 2, 0, 1];
const DISCONNECT: [u8; 2] = [0xE0, 0];

/// A broker, and where a proxy in front of it is.
async fn scene(change: impl FnOnce(ProxyOptions) -> ProxyOptions) -> (TcpListener, SocketAddr) {
    let broker = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = ProxyOptions::new()
        .broker("127.0.0.1", broker.local_addr().unwrap().port())
        .listen(Listen::parse("127.0.0.1:0").unwrap());
    let policy = policy_file::parse("[[rule]]\ntopics = [\"#\"]\npayload = \"sealed\"\n");
    let shared = SharedKey::take(&mut [7; 32]);
    let keyring = Keyring::new(vec![Grant::shared(&shared, "test").unwrap()]);
    let proxy = Proxy::bind(change(options), policy.unwrap(), keyring).await.unwrap();
    let address = proxy.addresses()[0];
    tokio::spawn(proxy.run(core::future::pending()));
    (broker, address)
}

/// What a proxy has with these links, all of whose topics are for the plain one.
fn core(links: Links) -> Core {
    let policy = "[[rule]]\ntopics = [\"#\"]\npayload = \"sealed\"\ntransport = \"tcp\"\n";
    let shared = SharedKey::take(&mut [7; 32]);
    let keyring = Keyring::new(vec![Grant::shared(&shared, "test").unwrap()]);
    let config = Config::new(policy_file::parse(policy).unwrap(), keyring, links);
    server::core(ProxyOptions::new(), links, None, config).unwrap()
}

/// A client that has said these bytes, and what serves it between it and these brokers.
async fn relayed(
    core: &Arc<Core>,
    said: &[u8],
    main: &TcpListener,
    plain: Option<&TcpListener>,
) -> (TcpStream, tokio::task::JoinHandle<()>) {
    let target = |listener: &TcpListener| {
        Target::tcp("127.0.0.1".into(), listener.local_addr().unwrap().port())
    };
    let targets = Targets { main: target(main), plain: plain.map(target) };
    let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(door.local_addr().unwrap()).await.unwrap();
    client.write_all(said).await.unwrap();
    let relay = Relay::new(Arc::clone(core), Stream::Tcp(door.accept().await.unwrap().0), 1);
    let relay = async move {
        let (_goes_on, stop) = watch::channel(false);
        relay.run(&targets, stop).await;
    };
    (client, tokio::spawn(relay))
}

/// Takes a connection to the broker, and lets it in.
async fn let_in(broker: &TcpListener) -> TcpStream {
    let (mut far, _) = broker.accept().await.unwrap();
    far.read_exact(&mut [0; CONNECT.len()]).await.unwrap();
    far.write_all(&CONNACK).await.unwrap();
    far
}

/// A client that is let in, and its other end.
async fn connected(broker: &TcpListener, proxy: SocketAddr) -> (TcpStream, TcpStream) {
    let mut client = TcpStream::connect(proxy).await.unwrap();
    client.write_all(&CONNECT).await.unwrap();
    let far = let_in(broker).await;
    client.read_exact(&mut [0; CONNACK.len()]).await.unwrap();
    (client, far)
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(test);
}

#[test]
fn what_waits_for_the_store_leaves_after_its_client_did() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let store = OutboxFile::open(folder.path().join("store")).unwrap();
        let (broker, proxy) = scene(|options| options.store(store)).await;
        let (mut client, mut far) = connected(&broker, proxy).await;
        client.write_all(&[PUBLISH.as_slice(), &DISCONNECT].concat()).await.unwrap();
        let mut rest = Vec::new();
        far.read_to_end(&mut rest).await.unwrap();
        // a broker that gets no DISCONNECT publishes the will
        assert_eq!((rest.first(), rest.last_chunk()), (Some(&0x32), Some(&DISCONNECT)));
    });
}

#[test]
fn what_was_said_before_connack_leaves_although_the_client_says_no_more() {
    run(async {
        let (broker, proxy) = scene(|options| options).await;
        let mut client = TcpStream::connect(proxy).await.unwrap();
        client.write_all(&[CONNECT.as_slice(), &PUBLISH].concat()).await.unwrap();
        client.shutdown().await.unwrap();
        let mut rest = Vec::new();
        let_in(&broker).await.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest.first(), Some(&0x32));
    });
}

#[test]
fn broker_that_answers_a_client_that_left_gets_all_that_was_written() {
    run(async {
        let (broker, proxy) = scene(|options| options).await;
        let (mut client, mut far) = connected(&broker, proxy).await;
        client.write_all(&[PUBLISH.as_slice(), &DISCONNECT].concat()).await.unwrap();
        client.read_to_end(&mut Vec::new()).await.unwrap();
        // who cannot answer what it reads first reads no further
        for _ in 0..2 {
            far.write_all(&PUBACK).await.unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let mut rest = Vec::new();
        far.read_to_end(&mut rest).await.unwrap();
        assert_eq!((rest.first(), rest.last_chunk()), (Some(&0x32), Some(&DISCONNECT)));
    });
}

#[test]
fn client_that_says_no_more_hears_what_became_of_what_it_had_said() {
    run(async {
        let (broker, proxy) = scene(|options| options).await;
        let mut client = TcpStream::connect(proxy).await.unwrap();
        client.write_all(&[CONNECT.as_slice(), &PUBLISH].concat()).await.unwrap();
        client.shutdown().await.unwrap();
        let mut far = let_in(&broker).await;
        // the broker hears of it at once: there may be a will
        far.read_to_end(&mut Vec::new()).await.unwrap();
        far.write_all(&PUBACK).await.unwrap();
        drop(far);
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, [CONNACK, PUBACK].concat());
    });
}

#[test]
fn what_is_kept_for_clients_is_bounded_when_one_leaves() {
    run(async {
        let broker = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut core = core(Links::Tcp);
        core.clients.max_away = 0;
        let core = Arc::new(core);
        let said = [CONNECT.as_slice(), &PUBLISH].concat();
        let (client, relay) = relayed(&core, &said, &broker, None).await;
        let mut far = let_in(&broker).await;
        far.read_exact(&mut [0; PUBLISH.len()]).await.unwrap();
        drop((client, far));
        relay.await.unwrap();
        assert_eq!(core.clients.forgotten.get(), 1);
    });
}

#[test]
fn plain_link_that_stalls_ends_its_clients_connection() {
    run(async {
        let main = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let core = Arc::new(core(Links::Both));
        let said = [CONNECT.as_slice(), &PUBLISH].concat();
        let (mut client, relay) = relayed(&core, &said, &main, Some(&plain)).await;
        let _far = let_in(&main).await;
        let (mut stalled, _) = plain.accept().await.unwrap();
        stalled.read_exact(&mut [0; CONNECT.len() + "-tcp".len()]).await.unwrap();
        stalled.write_all(&CONNACK).await.unwrap();
        stalled.read_exact(&mut [0; PUBLISH.len()]).await.unwrap();
        // as soon as everybody waits it is later, by as much as the first of them waits for
        tokio::time::pause();
        let rest = timeout(Duration::from_hours(1), client.read_to_end(&mut Vec::new())).await;
        assert!(rest.is_ok(), "the client waits for ever");
        relay.await.unwrap();
        assert_eq!(core.meters.broker_failures.get(), 1);
    });
}

#[test]
fn client_that_says_no_more_and_is_refused_is_let_go_at_once() {
    run(async {
        let broker = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let core = Arc::new(core(Links::Tcp));
        let (mut client, relay) = relayed(&core, &CONNECT, &broker, None).await;
        client.shutdown().await.unwrap();
        let (mut far, _) = broker.accept().await.unwrap();
        far.read_to_end(&mut Vec::new()).await.unwrap();
        far.write_all(&[0x20, 2, 0, 5]).await.unwrap();
        drop(far);
        // time goes on where everybody waits, and nowhere else
        tokio::time::pause();
        let before = tokio::time::Instant::now();
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, [0x20, 2, 0, 5]);
        relay.await.unwrap();
        assert!(before.elapsed() < LINGER);
    });
}
