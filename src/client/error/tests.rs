use super::*;
use std::string::ToString;
#[cfg(feature = "tls")]
use std::sync::Arc;

#[test]
fn config_errors_say_what_and_what_to_do() {
    let link = Link::Tcp;
    for (error, text) in [
        (ConfigError::NoLink, "the options name no link: add tcp, tls or both"),
        (
            ConfigError::OtherLinks,
            "the guard was made for other links than the options name: name the same",
        ),
        (
            ConfigError::Transport { link },
            "the mqtt options of the tcp link set a transport: leave it as it is",
        ),
        (
            ConfigError::CredentialsOnPlainLink,
            "the tcp link would send the credentials in clear: give them to the tls link",
        ),
        (ConfigError::SameClientId, "both links have the same client id: give each its own"),
        (
            ConfigError::PersistentSession { link },
            "the tcp link asks for a persistent session: set clean_session to true, or make the \
             client a persistent_subscriber",
        ),
        (
            ConfigError::PersistentSubscriber,
            "a persistent subscriber needs a client id, one link, and no durable outbox",
        ),
        (
            ConfigError::Will { link, error: SealError::NoKey },
            "the will on the tcp link: no key of the keyring seals in the topic's scope: grant one",
        ),
        (
            ConfigError::WillOnOtherLink { link },
            "the policy does not let the topic of the will go by the tcp link: give the will to \
             the other",
        ),
        (
            ConfigError::NoThread(io::ErrorKind::OutOfMemory),
            "no thread for the durable outbox or the replay log: out of memory",
        ),
        (
            ConfigError::ReplayLog(RestoreError::NewerVersion),
            "the replay log was written by a newer version: use that, or another log",
        ),
        (
            ConfigError::WillTopic(TopicError::Empty),
            "the topic of the will is none: a topic name has at least one character",
        ),
        (
            ConfigError::WillTooLarge { len: 65_536 },
            "the will has 65536 bytes, and at most 65535 are possible",
        ),
        (
            ConfigError::KeepAlive { link },
            "the keep-alive of the tcp link is above 65535 seconds: shorten it",
        ),
        (
            ConfigError::PeerName(NameError::IdLevel),
            "a name for peer authentication: an id is one level of a topic: leave out '/', '+', \
             '#' and U+0000",
        ),
        (
            ConfigError::PeerTopic(TopicError::Empty),
            "a topic for peer authentication: a topic name has at least one character",
        ),
        (
            ConfigError::PeerNeedsTlsConfig,
            "peer authentication has to see the server's key: give the tls link a TlsConfig of \
             this crate",
        ),
        (
            ConfigError::PeerAuthNeeded,
            "nothing verifies the server of the tls link: add require_peer_auth, or a root or pin",
        ),
        (
            ConfigError::UpdatesNeedRun,
            "no key update is stored yet, and the first could be an old one: add require_peer_auth",
        ),
        (
            ConfigError::UpdatesOfOther(WrongRun::OtherDevice),
            "peer authentication does not go with the key updates: the run was made for another \
             device or realm",
        ),
        (
            ConfigError::WillOnKeyTopic,
            "the topic of the will belongs to key updates: choose another",
        ),
        (ConfigError::NoRuntime, "no tokio runtime is running: start the client in one"),
    ] {
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn client_errors_pass_on_their_cause() {
    for (error, text) in [
        (ClientError::Seal(SealError::Refused), SealError::Refused.to_string()),
        (ClientError::Filter(FilterError::Empty), FilterError::Empty.to_string()),
        (ClientError::Subscribe(SubscribeError::NeedsTls), SubscribeError::NeedsTls.to_string()),
        (
            ClientError::TooLarge { len: 11, max: 10 },
            "the packet has 11 bytes, and the link's limit is 10".into(),
        ),
        (ClientError::Reply(ReplyError::Refused), ReplyError::Refused.to_string()),
        (ClientError::QoS { max: QoS::AtLeastOnce }, "the broker takes no qos above 1".into()),
        (
            ClientError::OnlySubscribes,
            "a persistent subscriber publishes nothing: publish by another client".into(),
        ),
        (ClientError::SubscriberQoS, "a persistent subscriber takes no qos 2: ask for 1".into()),
        (ClientError::NoRetain, "the broker keeps no retained messages".into()),
        (
            ClientError::Dropped,
            "a message of qos 0 was let go: its link was down or had no room".into(),
        ),
        (
            ClientError::NotStored { kind: io::ErrorKind::StorageFull },
            "the durable outbox could not store the message: no storage space".into(),
        ),
        (
            ClientError::AuthTopic,
            "the topic belongs to peer authentication: publish on another".into(),
        ),
        (ClientError::KeyTopic, "the topic belongs to key updates: use another".into()),
        (ClientError::Full, "the queue is full: poll, or wait for room".into()),
        (ClientError::Closed, "the client was disconnected".into()),
    ] {
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn link_errors_say_what_happened() {
    for (error, text) in [
        (LinkError::Io(io::ErrorKind::ConnectionRefused), "the network failed: connection refused"),
        (LinkError::Timeout, "the broker did not answer in time"),
        (LinkError::Closed, "the connection was closed from outside"),
        (
            LinkError::Will(SealError::ClockNeeded),
            "the will could not be sealed: the topic's rule needs a clock: set it",
        ),
        (
            LinkError::SessionUsedUp,
            "the session of the will is used up: the connection is made anew",
        ),
        (
            LinkError::OutOfStep,
            "the mqtt client sent something else than it was given: the connection is made anew",
        ),
        (LinkError::HostName, "the broker's host is neither a dns name nor an ip address"),
        (LinkError::PacketTooLarge { len: 9 }, "an incoming packet of 9 bytes exceeds the limit"),
        (
            LinkError::NotAskedFor,
            "the broker used a topic alias or a subscription identifier without being asked",
        ),
        (
            LinkError::TooMuchWaiting,
            "more than 64 MiB of messages wait for the application: poll, and acknowledge",
        ),
        (LinkError::ManyRefused, "the broker refused many messages: the connection is made anew"),
        (LinkError::Protocol, "the broker broke the rules of mqtt"),
    ] {
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn refusals_are_told_apart() {
    for (refusal, text) in [
        (Refusal::ProtocolVersion, "it does not speak this version of mqtt"),
        (Refusal::ClientId, "it does not allow the client id"),
        (Refusal::Unavailable, "it is not available"),
        (Refusal::Credentials, "user name or password are wrong"),
        (Refusal::NotAuthorized, "the client is not authorized"),
        (Refusal::Banned, "the client is banned"),
        (Refusal::Limit, "a limit is exceeded"),
        (Refusal::Moved, "another broker is to be used"),
        (Refusal::Will, "it does not accept the will"),
        (Refusal::Other, "it does not say why"),
    ] {
        let text = std::format!("the broker refused the connection: {text}");
        assert_eq!(LinkError::Refused(refusal).to_string(), text);
    }
}

#[test]
fn endings_are_told_apart() {
    for (ending, text) in [
        (Ending::Unavailable, "it is not available"),
        (Ending::TakenOver, "another connection has the same client id"),
        (Ending::KeepAlive, "it heard nothing for too long"),
        (Ending::NotAuthorized, "the client is not authorized"),
        (Ending::Limit, "a limit is exceeded"),
        (Ending::NotSupported, "it does not support what was asked for"),
        (Ending::Moved, "another broker is to be used"),
        (Ending::Protocol, "it takes what was sent for a breach of mqtt"),
        (Ending::Other, "it does not say why"),
    ] {
        let text = std::format!("the broker ended the connection: {text}");
        assert_eq!(LinkError::Ended(ending).to_string(), text);
    }
}

#[test]
fn refusals_of_messages_are_told_apart_and_have_their_code() {
    for (refusal, code, text) in [
        (PublishRefusal::Unspecified, 0x80, "it does not say why"),
        (PublishRefusal::ImplementationSpecific, 0x83, "it has a reason of its own"),
        (PublishRefusal::NotAuthorized, 0x87, "the client is not authorized"),
        (PublishRefusal::TopicName, 0x90, "it does not accept the topic"),
        (PublishRefusal::PacketIdInUse, 0x91, "it takes the packet id for one in use"),
        (PublishRefusal::QuotaExceeded, 0x97, "a quota is exceeded"),
        (
            PublishRefusal::PayloadFormat,
            0x99,
            "the payload is not of the format that its indicator says",
        ),
    ] {
        assert_eq!(refusal.code(), code);
        let text = std::format!("the broker refused the message: {text}");
        assert_eq!(ClientError::Refused(refusal).to_string(), text);
    }
}

#[test]
fn property_faults_say_what_and_what_to_do() {
    for (fault, text) in [
        (PropertyFault::TopicAlias, "a topic alias cannot be set: leave it out"),
        (
            PropertyFault::SubscriptionIdentifier,
            "a subscription identifier cannot be set: leave it out",
        ),
        (PropertyFault::PayloadFormat, "the payload format indicator is neither 0 nor 1"),
    ] {
        assert_eq!(ClientError::Property(fault).to_string(), text);
    }
}

#[test]
fn certificate_faults_are_told_apart() {
    for (fault, text) in [
        (CertificateFault::UnknownIssuer, "no trusted root stands behind it"),
        (CertificateFault::Expired, "it has expired"),
        (CertificateFault::NotYetValid, "it is not valid yet, or this clock is wrong"),
        (CertificateFault::WrongName, "it was made for another host"),
        (CertificateFault::BadSignature, "its signature is wrong"),
        (CertificateFault::Revoked, "it was revoked"),
        (CertificateFault::Pin, "its key is none of those pinned"),
        (CertificateFault::Other, "it is damaged or not meant for this use"),
    ] {
        let text = std::format!("the broker's certificate was not accepted: {text}");
        assert_eq!(LinkError::Certificate(fault).to_string(), text);
    }
}

#[test]
fn io_errors_of_the_network_keep_their_kind() {
    for (kind, expected) in [
        (io::ErrorKind::TimedOut, LinkError::Timeout),
        (io::ErrorKind::UnexpectedEof, LinkError::Closed),
        (io::ErrorKind::ConnectionReset, LinkError::Io(io::ErrorKind::ConnectionReset)),
    ] {
        assert_eq!(LinkError::from(&io::Error::from(kind)), expected);
    }
}

#[cfg(feature = "tls")]
#[test]
fn certificate_errors_are_dug_out_of_io_errors() {
    use rustls::CertificateError as E;
    for (error, fault) in [
        (E::UnknownIssuer, CertificateFault::UnknownIssuer),
        (E::Expired, CertificateFault::Expired),
        (E::NotValidYet, CertificateFault::NotYetValid),
        (E::NotValidForName, CertificateFault::WrongName),
        (E::BadSignature, CertificateFault::BadSignature),
        (E::Revoked, CertificateFault::Revoked),
        (E::BadEncoding, CertificateFault::Other),
        (E::Other(rustls::OtherError(Arc::new(fmt::Error))), CertificateFault::Other),
    ] {
        let tls = rustls::Error::InvalidCertificate(error);
        let io = io::Error::new(io::ErrorKind::InvalidData, tls);
        assert_eq!(LinkError::from(&io), LinkError::Certificate(fault));
    }
}

#[cfg(feature = "tls")]
#[test]
fn other_tls_errors_keep_their_name() {
    let tls = rustls::Error::AlertReceived(rustls::AlertDescription::HandshakeFailure);
    let io = io::Error::new(io::ErrorKind::InvalidData, tls.clone());
    let error = LinkError::from(&io);
    assert_eq!(error.to_string(), std::format!("tls failed: {tls}"));
    assert_eq!(error, LinkError::Tls(tls));
}

#[test]
fn faults_of_peer_authentication_say_what_to_do() {
    for (fault, text) in [
        (
            PeerFault::BrokerNotVouched,
            "the authority does not know the broker's tls key: somebody stands between, or tell \
             the authority",
        ),
        (PeerFault::Attestation, "the authority's attestation is malformed: look at the authority"),
        (
            PeerFault::PinNeeded,
            "the broker refuses clients without a password, and its key is not known: pin it",
        ),
        (
            PeerFault::NotSubscribed,
            "the broker refuses the topic of the authority's answers: allow it to this client",
        ),
        (PeerFault::NoEntropy, "the random generator failed"),
        (
            PeerFault::Silent,
            "the authority did not answer: see whether it runs, and knows this device and broker",
        ),
    ] {
        let error = LinkError::Peer(fault).to_string();
        assert_eq!(error, std::format!("peer authentication failed: {text}"));
    }
    assert_eq!(
        LinkError::Reloaded.to_string(),
        "the will is sealed under another key now: the client connects again"
    );
}
