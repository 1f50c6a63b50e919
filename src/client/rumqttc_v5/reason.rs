//! The reason codes and errors of rumqttc's MQTT 5 client as ours.

use rumqttc::v5::mqttbytes::v5::{
    ConnectReturnCode, DisconnectReasonCode, PubAckReason, PubRecReason,
};
use rumqttc::v5::{ConnectionError, StateError};

use crate::client::{Ending, LinkError, PublishRefusal, Refusal};

/// Why the broker refuses a message of `QoS` 1, if it does.
pub(super) const fn refusal_of_qos1(reason: PubAckReason) -> Option<PublishRefusal> {
    use PublishRefusal as R;
    Some(match reason {
        PubAckReason::Success | PubAckReason::NoMatchingSubscribers => return None,
        PubAckReason::UnspecifiedError => R::Unspecified,
        PubAckReason::ImplementationSpecificError => R::ImplementationSpecific,
        PubAckReason::NotAuthorized => R::NotAuthorized,
        PubAckReason::TopicNameInvalid => R::TopicName,
        PubAckReason::PacketIdentifierInUse => R::PacketIdInUse,
        PubAckReason::QuotaExceeded => R::QuotaExceeded,
        PubAckReason::PayloadFormatInvalid => R::PayloadFormat,
    })
}

/// The same at `QoS` 2.
pub(super) const fn refusal_of_qos2(reason: PubRecReason) -> Option<PublishRefusal> {
    use PublishRefusal as R;
    Some(match reason {
        PubRecReason::Success | PubRecReason::NoMatchingSubscribers => return None,
        PubRecReason::UnspecifiedError => R::Unspecified,
        PubRecReason::ImplementationSpecificError => R::ImplementationSpecific,
        PubRecReason::NotAuthorized => R::NotAuthorized,
        PubRecReason::TopicNameInvalid => R::TopicName,
        PubRecReason::PacketIdentifierInUse => R::PacketIdInUse,
        PubRecReason::QuotaExceeded => R::QuotaExceeded,
        PubRecReason::PayloadFormatInvalid => R::PayloadFormat,
    })
}

impl From<&ConnectionError> for LinkError {
    fn from(error: &ConnectionError) -> Self {
        match error {
            ConnectionError::MqttState(error) => error.into(),
            ConnectionError::Timeout(_) => Self::Timeout,
            #[cfg(feature = "tls")]
            ConnectionError::Tls(error) => error.into(),
            ConnectionError::Io(error) => error.into(),
            ConnectionError::ConnectionRefused(code) => refusal(*code),
            _ => Self::Protocol,
        }
    }
}

impl From<&StateError> for LinkError {
    fn from(error: &StateError) -> Self {
        use rumqttc::v5::mqttbytes::Error as Bytes;
        match error {
            StateError::Io(error) | StateError::Deserialization(Bytes::Io(error)) => error.into(),
            StateError::ConnectionAborted => Self::Closed,
            StateError::AwaitPingResp => Self::Timeout,
            StateError::Deserialization(Bytes::PayloadSizeLimitExceeded { pkt_size, .. }) => {
                Self::PacketTooLarge { len: *pkt_size }
            }
            StateError::ServerDisconnect { reason_code, .. } => Self::Ended(ending(*reason_code)),
            StateError::ConnFail { reason } => refusal(*reason),
            _ => Self::Protocol,
        }
    }
}

fn refusal(code: ConnectReturnCode) -> LinkError {
    use ConnectReturnCode as C;
    LinkError::Refused(match code {
        C::RefusedProtocolVersion | C::UnsupportedProtocolVersion => Refusal::ProtocolVersion,
        C::BadClientId | C::ClientIdentifierNotValid => Refusal::ClientId,
        C::BadUserNamePassword | C::BadAuthenticationMethod => Refusal::Credentials,
        C::NotAuthorized => Refusal::NotAuthorized,
        C::Banned => Refusal::Banned,
        C::ServiceUnavailable | C::ServerUnavailable | C::ServerBusy => Refusal::Unavailable,
        C::QuotaExceeded | C::ConnectionRateExceeded | C::PacketTooLarge => Refusal::Limit,
        C::UseAnotherServer | C::ServerMoved => Refusal::Moved,
        C::TopicNameInvalid
        | C::PayloadFormatInvalid
        | C::RetainNotSupported
        | C::QoSNotSupported => Refusal::Will,
        C::UnspecifiedError
        | C::ImplementationSpecificError
        | C::MalformedPacket
        | C::ProtocolError => Refusal::Other,
        // a refusal with the code of success is none
        C::Success => return LinkError::Protocol,
    })
}

const fn ending(code: DisconnectReasonCode) -> Ending {
    use DisconnectReasonCode as D;
    match code {
        D::ServerBusy | D::ServerShuttingDown | D::AdministrativeAction | D::MaximumConnectTime => {
            Ending::Unavailable
        }
        D::SessionTakenOver => Ending::TakenOver,
        D::KeepAliveTimeout => Ending::KeepAlive,
        D::NotAuthorized => Ending::NotAuthorized,
        D::ReceiveMaximumExceeded
        | D::PacketTooLarge
        | D::MessageRateTooHigh
        | D::QuotaExceeded
        | D::ConnectionRateExceeded => Ending::Limit,
        D::TopicFilterInvalid
        | D::TopicNameInvalid
        | D::RetainNotSupported
        | D::QoSNotSupported
        | D::SharedSubscriptionNotSupported
        | D::SubscriptionIdentifiersNotSupported
        | D::WildcardSubscriptionsNotSupported => Ending::NotSupported,
        D::UseAnotherServer | D::ServerMoved => Ending::Moved,
        D::MalformedPacket | D::ProtocolError | D::TopicAliasInvalid | D::PayloadFormatInvalid => {
            Ending::Protocol
        }
        D::NormalDisconnection
        | D::DisconnectWithWillMessage
        | D::UnspecifiedError
        | D::ImplementationSpecificError => Ending::Other,
    }
}
