//! Why a certificate will be refused, in plain words, and how to mend it. Knows no files.

use crate::moment;

/// One reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Finding {
    /// X.509 version 1 or 2, which has no extensions.
    Version { number: u32 },
    /// No subject alternative name.
    NoNames,
    /// Other names than the one that clients connect to.
    WrongHost { host: String, names: Vec<String> },
    /// Past its last day; in Unix seconds.
    Expired { end: u64 },
    /// Before its first day; in Unix seconds.
    NotYet { start: u64 },
    /// An RSA key of fewer than 2,048 bits.
    SmallKey { bits: usize },
    /// Signed with SHA-1 or MD5.
    WeakSignature,
    /// An extended key usage, and not that of a server.
    NotForServers,
    /// It is a CA's own, where a server's is needed.
    IsCa,
    /// Signed by another than the CA that clients trust.
    WrongCa { issuer: String, ca: String },
    /// Signed under the CA's name, but not with its key.
    OtherCaKey { ca: String },
    /// What should be a CA may not sign certificates.
    NoCa { ca: String },
    /// The private key is of another certificate.
    WrongKey,
    /// Whatever else rustls says.
    Refused { why: String },
}

impl Finding {
    /// What is wrong.
    pub(super) fn what(&self) -> String {
        match self {
            Self::Version { number } => format!(
                "it is X.509 version {number}, which openssl x509 -req makes without extensions: \
                 it can name no host, and rustls and browsers refuse it"
            ),
            Self::NoNames => "it names no host: there is no subject alternative name, and the \
                              common name has not counted since 2017"
                .into(),
            Self::WrongHost { host, names } => {
                format!("clients connect to {host}, and it is for {}", names.join(", "))
            }
            Self::Expired { end } => format!("it expired on {}", moment::day(*end)),
            Self::NotYet { start } => format!("it is not valid before {}", moment::day(*start)),
            Self::SmallKey { bits } => format!("its RSA key has {bits} bits, and 2048 are needed"),
            Self::WeakSignature => "it is signed with SHA-1 or MD5, which can be forged".into(),
            Self::NotForServers => "its extended key usage does not allow it for servers".into(),
            Self::IsCa => "it is that of a CA, and a broker needs one of its own".into(),
            Self::WrongCa { issuer, ca } => {
                format!("it was signed by {issuer:?}, and the CA is {ca:?}")
            }
            Self::OtherCaKey { ca } => {
                format!("it names {ca:?} as its CA, and was signed with another key")
            }
            Self::NoCa { ca } => {
                format!("what should be the CA, {ca:?}, may not sign certificates")
            }
            Self::WrongKey => "the private key belongs to another certificate".into(),
            Self::Refused { why } => format!("rustls refuses it: {why}"),
        }
    }

    /// What to do.
    pub(super) const fn fix(&self) -> &'static str {
        match self {
            Self::Version { .. } => {
                "make it with mqtt-seal certs --host NAME, or give openssl x509 -req the option \
                 -extfile with a file that says subjectAltName=DNS:NAME"
            }
            Self::NoNames | Self::WrongHost { .. } => {
                "make it anew with mqtt-seal certs --host NAME, with the name that clients use"
            }
            Self::Expired { .. } => {
                "make it anew with mqtt-seal certs, or set the clock if it is wrong"
            }
            Self::NotYet { .. } => "set the clock of this machine, or of the one that made it",
            Self::SmallKey { .. } | Self::WeakSignature => {
                "make key and certificate anew with mqtt-seal certs"
            }
            Self::NotForServers => "make it with extendedKeyUsage=serverAuth, or mqtt-seal certs",
            Self::IsCa => "give the broker a certificate that the CA signed: mqtt-seal certs",
            Self::WrongCa { .. } | Self::OtherCaKey { .. } => {
                "give clients the CA that signed it, or have it signed by theirs"
            }
            Self::NoCa { .. } => "name the certificate of the CA, with CA:TRUE, not the broker's",
            Self::WrongKey => "name the key that the certificate was made for",
            Self::Refused { .. } => "make it anew with mqtt-seal certs",
        }
    }
}
