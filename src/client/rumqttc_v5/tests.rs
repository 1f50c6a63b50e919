use super::*;
use crate::client::protocol::Call;
use std::io;
use std::vec;

use rumqttc::v5::mqttbytes::Error as BytesError;
use rumqttc::v5::mqttbytes::v5::{
    DisconnectReasonCode, PubAck, PubAckReason, PubComp, PubRec, PubRecReason, SubAck, UnsubAck,
};
use rumqttc::v5::{ConnectionError, StateError};

fn setup(ids: u16, packets: u16) -> Setup {
    Setup {
        persistent: false,
        max_incoming: 500,
        max_outgoing: 400,
        ids,
        packets,
        requests: 67,
        #[cfg(feature = "tls")]
        tls: None,
    }
}

#[test]
fn acknowledgements_end_a_message_and_good_pubrec_does_not() {
    let puback = incoming(Packet::PubAck(PubAck::new(7, None)));
    assert!(matches!(puback, Ok(Input::Acknowledged { id: 7 })));
    let pubcomp = incoming(Packet::PubComp(PubComp::new(7, None)));
    assert!(matches!(pubcomp, Ok(Input::Acknowledged { id: 7 })));
    let pubrec = incoming(Packet::PubRec(PubRec::new(7, None)));
    assert!(matches!(pubrec, Ok(Input::Other)));
}

#[test]
fn message_without_a_subscriber_is_acknowledged() {
    let mut puback = PubAck::new(7, None);
    puback.reason = PubAckReason::NoMatchingSubscribers;
    assert!(matches!(incoming(Packet::PubAck(puback)), Ok(Input::Acknowledged { id: 7 })));
    let mut pubrec = PubRec::new(7, None);
    pubrec.reason = PubRecReason::NoMatchingSubscribers;
    assert!(matches!(incoming(Packet::PubRec(pubrec)), Ok(Input::Other)));
}

#[test]
fn refusals_keep_their_reason() {
    for (qos1, qos2, code) in [
        (PubAckReason::UnspecifiedError, PubRecReason::UnspecifiedError, 0x80),
        (
            PubAckReason::ImplementationSpecificError,
            PubRecReason::ImplementationSpecificError,
            0x83,
        ),
        (PubAckReason::NotAuthorized, PubRecReason::NotAuthorized, 0x87),
        (PubAckReason::TopicNameInvalid, PubRecReason::TopicNameInvalid, 0x90),
        (PubAckReason::PacketIdentifierInUse, PubRecReason::PacketIdentifierInUse, 0x91),
        (PubAckReason::QuotaExceeded, PubRecReason::QuotaExceeded, 0x97),
        (PubAckReason::PayloadFormatInvalid, PubRecReason::PayloadFormatInvalid, 0x99),
    ] {
        let mut puback = PubAck::new(7, None);
        puback.reason = qos1;
        let mut pubrec = PubRec::new(7, None);
        pubrec.reason = qos2;
        for packet in [Packet::PubAck(puback), Packet::PubRec(pubrec)] {
            let Ok(Input::Refused { id: 7, reason }) = incoming(packet) else {
                panic!("{code:#x} is no refusal");
            };
            assert_eq!(reason.code(), code);
        }
    }
}

#[test]
fn answers_to_subscriptions_are_told_apart() {
    let suback = |code| {
        let properties = None;
        incoming(Packet::SubAck(SubAck { pkid: 3, return_codes: vec![code], properties }))
    };
    let granted_qos = Some(QoS::AtLeastOnce);
    let granted = suback(SubscribeReasonCode::Success(TheirQoS::AtLeastOnce));
    assert!(matches!(granted, Ok(Input::Subscribed { id: 3, granted }) if granted == granted_qos));
    let refused = suback(SubscribeReasonCode::NotAuthorized);
    assert!(matches!(refused, Ok(Input::Subscribed { id: 3, granted: None })));
    let unsuback = UnsubAck { pkid: 4, reasons: vec![], properties: None };
    let unsuback = incoming(Packet::UnsubAck(unsuback));
    assert!(matches!(unsuback, Ok(Input::Unsubscribed { id: 4 })));
}

#[test]
fn outgoing_packets_are_told_apart() {
    let outgoing = |o| input(rumqttc::v5::Event::Outgoing(o));
    assert!(matches!(outgoing(Outgoing::Publish(5)), Ok(Input::Published { id: 5 })));
    assert!(matches!(outgoing(Outgoing::Subscribe(6)), Ok(Input::Requested { id: 6 })));
    assert!(matches!(outgoing(Outgoing::Unsubscribe(7)), Ok(Input::Requested { id: 7 })));
    assert!(matches!(outgoing(Outgoing::Disconnect), Ok(Input::Disconnected)));
    assert!(matches!(outgoing(Outgoing::PingReq), Ok(Input::Other)));
}

fn their_properties() -> PublishProperties {
    PublishProperties {
        payload_format_indicator: Some(1),
        message_expiry_interval: Some(60),
        topic_alias: None,
        response_topic: Some("a/b".into()),
        correlation_data: Some(Bytes::from_static(&[1, 2])),
        user_properties: vec![("k".into(), "v".into()), ("k".into(), "w".into())],
        subscription_identifiers: vec![],
        content_type: Some("text".into()),
    }
}

#[test]
fn publish_keeps_all_that_was_received() {
    let mut publish =
        v5::Publish::new("a/b", TheirQoS::ExactlyOnce, "text", Some(their_properties()));
    publish.topic = Bytes::from_static(b"a/\xff");
    publish.pkid = 9;
    publish.dup = true;
    publish.retain = true;
    let Ok(Input::Received(received)) = incoming(Packet::Publish(publish)) else {
        panic!("not a message");
    };
    assert_eq!((&*received.topic, received.id), (&b"a/\xff"[..], 9));
    assert_eq!((received.qos, received.dup), (QoS::ExactlyOnce, true));
    assert!(received.retain && received.payload == "text");
    assert_eq!(received.properties, their_properties().into());
}

#[test]
fn properties_are_the_same_there_and_back() {
    let attached = attached(their_properties()).unwrap();
    assert_eq!(PublishProperties::from(&attached), their_properties());
    assert_eq!(attached.properties.user.len(), 2);
}

#[test]
fn unknown_format_indicator_counts_as_none() {
    for (theirs, ours) in
        [(None, None), (Some(0), Some(false)), (Some(1), Some(true)), (Some(2), None)]
    {
        let properties =
            PublishProperties { payload_format_indicator: theirs, ..PublishProperties::default() };
        assert_eq!(Properties::from(properties).payload_format, ours);
    }
}

#[test]
fn alias_and_subscription_identifier_are_refused_in_both_directions() {
    let alias = PublishProperties { topic_alias: Some(1), ..PublishProperties::default() };
    let id =
        PublishProperties { subscription_identifiers: vec![1], ..PublishProperties::default() };
    for (properties, fault) in
        [(alias, PropertyFault::TopicAlias), (id, PropertyFault::SubscriptionIdentifier)]
    {
        let publish = v5::Publish::new("a", TheirQoS::AtMostOnce, "", Some(properties.clone()));
        let received = incoming(Packet::Publish(publish));
        assert!(matches!(received, Err(LinkError::NotAskedFor)));
        assert!(matches!(attached(properties), Err(ClientError::Property(f)) if f == fault));
    }
}

#[test]
fn limits_of_the_broker_are_taken_over() {
    assert_eq!(limits(&NO_CONNACK_PROPERTIES), ServerLimits::NONE);
    let told = ConnAckProperties {
        receive_max: Some(5),
        max_qos: Some(1),
        retain_available: Some(0),
        max_packet_size: Some(200),
        ..NO_CONNACK_PROPERTIES
    };
    let expected = ServerLimits {
        receive_max: Some(5),
        max_packet: 200,
        max_qos: QoS::AtLeastOnce,
        retain: false,
    };
    assert_eq!(limits(&told), expected);
}

#[test]
fn connection_errors_are_named() {
    let state = ConnectionError::MqttState;
    let reset = || io::Error::from(io::ErrorKind::ConnectionReset);
    let io = LinkError::Io(io::ErrorKind::ConnectionReset);
    let ended = |reason_code| StateError::ServerDisconnect { reason_code, reason_string: None };
    for (theirs, ours) in [
        (ConnectionError::Io(reset()), io.clone()),
        (state(StateError::Io(reset())), io.clone()),
        (state(StateError::Deserialization(BytesError::Io(reset()))), io),
        (state(StateError::AwaitPingResp), LinkError::Timeout),
        (state(StateError::ConnectionAborted), LinkError::Closed),
        (state(StateError::Unsolicited(1)), LinkError::Protocol),
        (
            state(StateError::Deserialization(BytesError::PayloadSizeLimitExceeded {
                pkt_size: 11,
                max: 10,
            })),
            LinkError::PacketTooLarge { len: 11 },
        ),
        (state(ended(DisconnectReasonCode::SessionTakenOver)), LinkError::Ended(Ending::TakenOver)),
        (state(ended(DisconnectReasonCode::PacketTooLarge)), LinkError::Ended(Ending::Limit)),
        (
            ConnectionError::ConnectionRefused(ConnectReturnCode::NotAuthorized),
            LinkError::Refused(Refusal::NotAuthorized),
        ),
        (
            ConnectionError::ConnectionRefused(ConnectReturnCode::ClientIdentifierNotValid),
            LinkError::Refused(Refusal::ClientId),
        ),
        (
            ConnectionError::ConnectionRefused(ConnectReturnCode::Banned),
            LinkError::Refused(Refusal::Banned),
        ),
        (
            ConnectionError::ConnectionRefused(ConnectReturnCode::ServerBusy),
            LinkError::Refused(Refusal::Unavailable),
        ),
        (
            ConnectionError::ConnectionRefused(ConnectReturnCode::UnsupportedProtocolVersion),
            LinkError::Refused(Refusal::ProtocolVersion),
        ),
        (
            ConnectionError::ConnectionRefused(ConnectReturnCode::RetainNotSupported),
            LinkError::Refused(Refusal::Will),
        ),
    ] {
        assert_eq!(LinkError::from(&theirs), ours, "{theirs:?}");
    }
}

#[test]
fn qos_is_the_same_there_and_back() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        assert_eq!(QoS::from(TheirQoS::from(qos)), qos);
    }
}

#[test]
fn setup_takes_the_place_of_the_options() {
    let mut options = MqttOptions::new("id", "localhost", 1883);
    options.set_outgoing_inflight_upper_limit(3);
    options.set_connect_properties(ConnectProperties {
        session_expiry_interval: Some(9),
        receive_maximum: Some(7),
        max_packet_size: Some(1),
        topic_alias_max: Some(5),
        request_response_info: Some(1),
        request_problem_info: Some(0),
        user_properties: vec![("k".into(), "v".into())],
        authentication_method: None,
        authentication_data: None,
    });
    let dialer = V5::dial(options, setup(28, 3));
    assert_eq!((dialer.client_id().as_str(), dialer.spare), ("id", 25));
    let (_, connection) = dialer.dial(Call::default());
    let options = &connection.network.options;
    assert!(options.manual_acks() && options.clean_start());
    assert_eq!(options.get_outgoing_inflight_upper_limit(), Some(28));
    assert_eq!((options.max_packet_size(), options.topic_alias_max()), (Some(500), Some(0)));
    assert_eq!((options.session_expiry_interval(), options.receive_maximum()), (Some(0), Some(7)));
    assert_eq!(options.user_properties().len(), 1);
}

#[test]
fn session_that_outlives_its_connection_and_credentials_are_seen() {
    let facts = |change: fn(&mut MqttOptions)| {
        let mut options = MqttOptions::new("id", "localhost", 1883);
        change(&mut options);
        V5::facts(&options)
    };
    let plain = facts(|_| ());
    assert!(plain.clean_session && !plain.has_credentials && !plain.own_transport);
    assert_eq!(plain.inflight, INFLIGHT);
    let kept = |expiry| {
        let mut options = MqttOptions::new("id", "localhost", 1883);
        options.set_session_expiry_interval(expiry);
        !V5::facts(&options).clean_session
    };
    assert!(kept(Some(1)) && !kept(Some(0)) && !kept(None));
    let not_clean = facts(|options| {
        options.set_clean_start(false);
    });
    assert!(!not_clean.clean_session);
    let authenticates = facts(|options| {
        options.set_authentication_data(Some(Bytes::from_static(b"secret")));
    });
    assert!(authenticates.has_credentials);
}

#[test]
fn channel_without_room_is_full() {
    let options = MqttOptions::new("id", "localhost", 1883);
    let (client, _network) = rumqttc::v5::AsyncClient::new(options, 1);
    assert_eq!(client.request(Request::Disconnect), Ok(()));
    assert_eq!(client.request(Request::Disconnect), Err(Full));
}

#[test]
fn will_goes_out_as_it_was_sealed_and_keeps_its_delay() {
    let mut options = MqttOptions::new("id", "localhost", 1883);
    let properties = LastWillProperties {
        delay_interval: Some(7),
        message_expiry_interval: Some(60),
        content_type: Some("text".into()),
        ..NO_WILL_PROPERTIES
    };
    let given = v5::LastWill::new("a", "gone", TheirQoS::AtLeastOnce, true, Some(properties));
    options.set_last_will(given);
    let will = V5::facts(&options).will.unwrap();
    assert_eq!((will.topic.as_slice(), will.payload.as_slice()), (&b"a"[..], &b"gone"[..]));
    assert_eq!((will.qos, will.retain), (QoS::AtLeastOnce, true));
    let attached = will.attached.as_ref().unwrap();
    assert_eq!(attached.properties.content_type.as_deref(), Some("text"));
    // what the rule hides is not on the packet
    let message_expiry = attached.message_expiry;
    let left = Attached { properties: Properties::default(), message_expiry };
    let sealed = Publish {
        topic: "a",
        qos: QoS::AtLeastOnce,
        retain: true,
        payload: b"sealed",
        attached: Some(&left),
    };
    let (_, connection) =
        V5::dial(options, setup(28, 3)).dial(Call { will: Some(sealed), ..Call::default() });
    let sent = connection.network.options.last_will().unwrap();
    assert_eq!(
        (&sent.message[..], sent.qos, sent.retain),
        (&b"sealed"[..], TheirQoS::AtLeastOnce, true)
    );
    let kept = LastWillProperties {
        delay_interval: Some(7),
        message_expiry_interval: Some(60),
        ..NO_WILL_PROPERTIES
    };
    assert_eq!(sent.properties, Some(kept));
}

#[test]
fn slow_network_is_waited_for_at_least_as_long_as_the_options_say() {
    for (said, taken) in [(5, 30), (40, 40)] {
        let mut options = MqttOptions::new("id", "localhost", 1883);
        options.set_connection_timeout(said);
        let (_, connection) = V5::dial(options, setup(28, 3)).dial(Call::default());
        assert_eq!(connection.network.options.connection_timeout(), taken);
    }
    let dialer = V5::dial(MqttOptions::new("id", "localhost", 1883), setup(28, 3));
    let (_, probe) = dialer.dial(Call { anonymous: Some("probe"), ..Call::default() });
    assert_eq!(probe.network.options.connection_timeout(), 30);
}
