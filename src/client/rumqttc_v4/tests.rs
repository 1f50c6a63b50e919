use super::*;
use crate::client::protocol::Call;
use std::io;

use rumqttc::mqttbytes::Error as BytesError;
use rumqttc::{PubAck, PubComp, PubRec, SubAck, UnsubAck};

fn incoming(packet: Packet) -> Input {
    Input::from(rumqttc::Event::Incoming(packet))
}

#[test]
fn acknowledgements_end_a_message_and_pubrec_does_not() {
    for packet in [Packet::PubAck(PubAck::new(7)), Packet::PubComp(PubComp::new(7))] {
        assert!(matches!(incoming(packet), Input::Acknowledged { id: 7 }));
    }
    let received = incoming(Packet::PubRec(PubRec::new(7)));
    assert!(matches!(received, Input::Other));
}

#[test]
fn answers_to_subscriptions_are_told_apart() {
    let suback = |code| incoming(Packet::SubAck(SubAck::new(3, code)));
    let granted = suback(std::vec![SubscribeReasonCode::Success(rumqttc::QoS::AtLeastOnce)]);
    let granted_qos = Some(QoS::AtLeastOnce);
    assert!(matches!(granted, Input::Subscribed { id: 3, granted } if granted == granted_qos));
    for codes in [std::vec![SubscribeReasonCode::Failure], std::vec![]] {
        let refused = suback(codes);
        assert!(matches!(refused, Input::Subscribed { id: 3, granted: None }));
    }
    let unsuback = incoming(Packet::UnsubAck(UnsubAck { pkid: 4 }));
    assert!(matches!(unsuback, Input::Unsubscribed { id: 4 }));
}

#[test]
fn outgoing_packets_are_told_apart() {
    let outgoing = |o| Input::from(rumqttc::Event::Outgoing(o));
    assert!(matches!(outgoing(Outgoing::Publish(5)), Input::Published { id: 5 }));
    assert!(matches!(outgoing(Outgoing::Subscribe(6)), Input::Requested { id: 6 }));
    assert!(matches!(outgoing(Outgoing::Unsubscribe(7)), Input::Requested { id: 7 }));
    assert!(matches!(outgoing(Outgoing::Disconnect), Input::Disconnected));
    assert!(matches!(outgoing(Outgoing::PingReq), Input::Other));
}

#[test]
fn publish_keeps_all_that_was_received() {
    let mut publish = rumqttc::Publish::new("a/b", rumqttc::QoS::ExactlyOnce, "text");
    publish.pkid = 9;
    publish.dup = true;
    publish.retain = true;
    let Input::Received(received) = incoming(Packet::Publish(publish)) else {
        panic!("not a message");
    };
    assert_eq!((&*received.topic, received.id), (&b"a/b"[..], 9));
    assert_eq!((received.qos, received.dup), (QoS::ExactlyOnce, true));
    assert!(received.retain && received.payload == "text");
}

#[test]
fn connection_errors_are_named() {
    let state = |error| ConnectionError::MqttState(error);
    let reset = || io::Error::from(io::ErrorKind::ConnectionReset);
    let io = LinkError::Io(io::ErrorKind::ConnectionReset);
    for (theirs, ours) in [
        (ConnectionError::Io(reset()), io.clone()),
        (state(StateError::Io(reset())), io.clone()),
        (state(StateError::Deserialization(BytesError::Io(reset()))), io),
        (ConnectionError::NetworkTimeout, LinkError::Timeout),
        (ConnectionError::FlushTimeout, LinkError::Timeout),
        (state(StateError::AwaitPingResp), LinkError::Timeout),
        (state(StateError::ConnectionAborted), LinkError::Closed),
        (state(StateError::Unsolicited(1)), LinkError::Protocol),
        (
            state(StateError::Deserialization(BytesError::PayloadSizeLimitExceeded(11))),
            LinkError::PacketTooLarge { len: 11 },
        ),
        (
            ConnectionError::ConnectionRefused(ConnectReturnCode::NotAuthorized),
            LinkError::Refused(Refusal::NotAuthorized),
        ),
        (
            ConnectionError::ConnectionRefused(ConnectReturnCode::BadClientId),
            LinkError::Refused(Refusal::ClientId),
        ),
        (
            ConnectionError::ConnectionRefused(ConnectReturnCode::BadUserNamePassword),
            LinkError::Refused(Refusal::Credentials),
        ),
        (
            ConnectionError::ConnectionRefused(ConnectReturnCode::ServiceUnavailable),
            LinkError::Refused(Refusal::Unavailable),
        ),
        (
            ConnectionError::ConnectionRefused(ConnectReturnCode::RefusedProtocolVersion),
            LinkError::Refused(Refusal::ProtocolVersion),
        ),
    ] {
        assert_eq!(LinkError::from(&theirs), ours, "{theirs:?}");
    }
}

#[test]
fn qos_is_the_same_there_and_back() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        assert_eq!(QoS::from(rumqttc::QoS::from(qos)), qos);
    }
}

#[test]
fn setup_takes_the_place_of_the_options() {
    let mut options = MqttOptions::new("id", "localhost", 1883);
    options.set_inflight(3).set_max_packet_size(1, 1);
    let dialer = V4::dial(
        options,
        Setup {
            persistent: false,
            max_incoming: 500,
            max_outgoing: 400,
            ids: 28,
            packets: 3,
            requests: 67,
            #[cfg(feature = "tls")]
            tls: None,
        },
    );
    assert_eq!(dialer.client_id(), "id");
    let (_, network) = dialer.dial(Call::default());
    let options = &network.mqtt_options;
    assert!(options.manual_acks() && options.clean_session());
    assert_eq!((options.inflight(), options.max_packet_size()), (28, 500));
}

#[test]
fn channel_without_room_is_full() {
    let options = MqttOptions::new("id", "localhost", 1883);
    let (client, _network) = rumqttc::AsyncClient::new(options, 1);
    assert_eq!(client.request(Request::Disconnect), Ok(()));
    assert_eq!(client.request(Request::Disconnect), Err(Full));
}

#[test]
fn slow_network_is_waited_for() {
    let dialer = Dialer { options: MqttOptions::new("id", "localhost", 1883), requests: 1 };
    for anonymous in [None, Some("probe")] {
        let (_, network) = dialer.dial(Call { anonymous, ..Call::default() });
        assert_eq!(network.network_options.connection_timeout(), 30);
    }
}
