//! The authority: answers the one device that it knows, over plain TCP.

use std::time::{SystemTime, UNIX_EPOCH};

use mqtt_seal::peer::{Action, Authority, BrokerName, Enrolled, PeerId, PeerKey, Record, SpkiHash};
use mqtt_seal::topic::TopicName;
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};
use sha2::{Digest, Sha256};
use tokio::task::JoinHandle;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::server::ParsedCertificate;

use super::{Broker, Outcome, REQUEST, RESPONSE, pairwise};

/// The hash of the key in a certificate.
pub(crate) fn pin(pem: &[u8]) -> Outcome<SpkiHash> {
    let cert = CertificateDer::from_pem_slice(pem)?;
    let spki = ParsedCertificate::try_from(&cert)?.subject_public_key_info();
    Ok(Sha256::digest(&spki).into())
}

/// Returns when it listens at `broker`; it vouches for that with this key alone.
pub(crate) async fn start(broker: &Broker, pin: SpkiHash) -> Outcome<JoinHandle<()>> {
    let request = TopicName::parse(REQUEST)?;
    let mut authority = Authority::new(PeerId::parse("authority")?, request, now()?);
    let name = format!("localhost:{}", broker.tls);
    authority.vouch(BrokerName::parse(&name)?, vec![pin]);
    let options = MqttOptions::new("authority", "localhost", broker.tcp);
    let (client, mut events) = AsyncClient::new(options, 10);
    client.subscribe(REQUEST, QoS::AtMostOnce).await?;
    while !matches!(events.poll().await?, Event::Incoming(Packet::SubAck(_))) {}
    let key = pairwise()?;
    Ok(tokio::spawn(async move { serve(authority, key, client, events).await }))
}

async fn serve(mut authority: Authority, key: PeerKey, client: AsyncClient, mut events: EventLoop) {
    while let Ok(event) = events.poll().await {
        let Event::Incoming(Packet::Publish(publish)) = event else { continue };
        match answer(&mut authority, &key, &publish.payload) {
            Ok(Some(answer)) => {
                // a full queue loses an answer, and the device asks again
                let _ = client.try_publish(RESPONSE, QoS::AtMostOnce, false, answer);
            }
            Ok(None) => println!("authority: the device proved itself"),
            Err(error) => println!("authority: {error}"),
        }
    }
}

/// The answer to a challenge; `None` for a confirmation.
fn answer(authority: &mut Authority, key: &PeerKey, bytes: &[u8]) -> Outcome<Option<Vec<u8>>> {
    let response = TopicName::parse(RESPONSE)?;
    let ledger = |id: &str| (id == "sensor-7").then_some(Enrolled { key, response, serial: 0 });
    let record = Record { topic: REQUEST, bytes, now: now()? };
    let mut out = Vec::new();
    let action = authority.receive(&record, ledger, &mut getrandom::SysRng, &[], &mut out)?;
    Ok(matches!(action, Action::Answer { .. }).then_some(out))
}

/// Unix milliseconds.
fn now() -> Outcome<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis().try_into()?)
}
