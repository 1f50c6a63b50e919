//! Why a message is not delivered, and what to do. Knows no command.

use mqtt_seal::guard::OpenError;
use mqtt_seal::replay::Rejected;

use crate::fault::Fault;

/// What to do about a message that is not delivered.
pub(crate) const fn fix(error: OpenError) -> &'static str {
    match error {
        OpenError::Refused => "add a rule for the topic, or name its topic with --topic",
        OpenError::WrongTransport => {
            "let the sender publish by TLS, or change transport in the rule"
        }
        OpenError::Cleared(_) => "nothing, if it was meant",
        OpenError::ClearOnSealedTopic => {
            "let the sender seal, or say payload = \"mixed\" with an end date while it cannot"
        }
        OpenError::UnknownKey => {
            "compare the key ID by mqtt-seal inspect with mqtt-seal keys --topic; ask for a new grant"
        }
        OpenError::NotAuthentic => {
            "check that topic, topic_binding and suite are the sender's; else it was changed on the way"
        }
        OpenError::Rejected(Rejected::Own) => "nothing: this client sealed it itself",
        OpenError::Rejected(_) => "nothing, if it came twice; else compare the clocks",
        OpenError::Unsupported => "use the version of mqtt-seal that the sender has",
        _ => "check that the bytes are whole",
    }
}

/// Whether it is rejected in the ordinary course of things, and nobody need care.
pub(crate) const fn is_harmless(error: OpenError) -> bool {
    matches!(error, OpenError::Rejected(Rejected::Duplicate | Rejected::Own))
}

/// The failure of a command that opens one message.
pub(crate) fn fault(error: OpenError) -> Fault {
    Fault::new(error.to_string(), fix(error))
}
