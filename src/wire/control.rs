//! Control records of peer authentication: three messages to bytes and back. Knows no keys and
//! trusts no input.

use super::Reader;
use super::header::{KeyId, MAGIC};

/// VF of a control record of type 1, peer authentication (SPEC §2, §9).
const CONTROL_AUTH: u8 = 0b1000_0001;
/// Length of nD and nA in bytes (SPEC §9).
pub const NONCE_LEN: usize = 16;
/// Length of mac1, macA and macD in bytes (SPEC §9).
pub const MAC_LEN: usize = 16;

/// Which of the three messages a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Step {
    /// m1, from the device.
    Challenge,
    /// m2, from the authority.
    Answer,
    /// m3, from the device.
    Confirmation,
}

impl Step {
    const fn byte(self) -> u8 {
        match self {
            Self::Challenge => 1,
            Self::Answer => 2,
            Self::Confirmation => 3,
        }
    }

    /// The step that a record says it is; `None` if it is no record of this format.
    #[must_use]
    pub fn of(record: &[u8]) -> Option<Self> {
        let [MAGIC, CONTROL_AUTH, step, ..] = record else { return None };
        [Self::Challenge, Self::Answer, Self::Confirmation]
            .into_iter()
            .find(|known| known.byte() == *step)
    }
}

/// m1: who asks, and for the keys of which broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the format is frozen, so are its fields")]
pub struct Challenge<'a> {
    /// akid.
    pub key_id: KeyId,
    /// nD.
    pub nonce: [u8; NONCE_LEN],
    /// idD.
    pub device: &'a str,
    /// The broker as the device was told it.
    pub broker: &'a str,
}

/// m2: what the authority says, and its proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the format is frozen, so are its fields")]
pub struct Answer<'a> {
    /// akid.
    pub key_id: KeyId,
    /// nA.
    pub nonce: [u8; NONCE_LEN],
    /// macA.
    pub mac: [u8; MAC_LEN],
    /// The attestation, which means nothing before macA was found right.
    pub attestation: &'a [u8],
}

/// m3: everything that an authority without a memory needs to see that the device is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the format is frozen, so are its fields")]
pub struct Confirmation<'a> {
    /// akid.
    pub key_id: KeyId,
    /// nD.
    pub device_nonce: [u8; NONCE_LEN],
    /// nA.
    pub authority_nonce: [u8; NONCE_LEN],
    /// macD.
    pub mac: [u8; MAC_LEN],
    /// idD.
    pub device: &'a str,
    /// The broker as the device was told it.
    pub broker: &'a str,
    /// The attestation of the answer.
    pub attestation: &'a [u8],
}

impl<'a> Challenge<'a> {
    /// Reads a whole record: itself, the bytes that mac1 covers, and mac1. `None` if it is no
    /// challenge, byte for byte.
    #[must_use]
    pub fn parse(record: &'a [u8]) -> Option<(Self, &'a [u8], [u8; MAC_LEN])> {
        let (covered, mac) = record.split_last_chunk::<MAC_LEN>()?;
        let (mut reader, key_id) = start(covered, Step::Challenge)?;
        let challenge = Self {
            key_id,
            nonce: reader.array()?,
            device: reader.lp_text()?,
            broker: reader.lp_text()?,
        };
        reader.0.is_empty().then_some((challenge, covered, *mac))
    }

    /// Writes what mac1 covers; mac1 follows it. Texts of more than 65,535 bytes cannot be
    /// written: check them before.
    // SPEC §9, m1
    pub fn encode(&self, mut put: impl FnMut(&[u8])) {
        head(Step::Challenge, self.key_id, &mut put);
        put(&self.nonce);
        lp(self.device.as_bytes(), &mut put);
        lp(self.broker.as_bytes(), &mut put);
    }
}

impl<'a> Answer<'a> {
    /// Reads a whole record; `None` if it is no answer, byte for byte.
    #[must_use]
    pub fn parse(record: &'a [u8]) -> Option<Self> {
        let (mut reader, key_id) = start(record, Step::Answer)?;
        let answer = Self {
            key_id,
            nonce: reader.array()?,
            mac: reader.array()?,
            attestation: reader.lp()?,
        };
        reader.0.is_empty().then_some(answer)
    }

    /// Writes the record. An attestation has at most 65,535 bytes: check it before.
    // SPEC §9, m2
    pub fn encode(&self, mut put: impl FnMut(&[u8])) {
        head(Step::Answer, self.key_id, &mut put);
        put(&self.nonce);
        put(&self.mac);
        lp(self.attestation, &mut put);
    }
}

impl<'a> Confirmation<'a> {
    /// Reads a whole record; `None` if it is no confirmation, byte for byte.
    #[must_use]
    pub fn parse(record: &'a [u8]) -> Option<Self> {
        let (mut reader, key_id) = start(record, Step::Confirmation)?;
        let confirmation = Self {
            key_id,
            device_nonce: reader.array()?,
            authority_nonce: reader.array()?,
            mac: reader.array()?,
            device: reader.lp_text()?,
            broker: reader.lp_text()?,
            attestation: reader.lp()?,
        };
        reader.0.is_empty().then_some(confirmation)
    }

    /// Writes the record. Texts and the attestation have at most 65,535 bytes: check them before.
    // SPEC §9, m3
    pub fn encode(&self, mut put: impl FnMut(&[u8])) {
        head(Step::Confirmation, self.key_id, &mut put);
        put(&self.device_nonce);
        put(&self.authority_nonce);
        put(&self.mac);
        lp(self.device.as_bytes(), &mut put);
        lp(self.broker.as_bytes(), &mut put);
        lp(self.attestation, &mut put);
    }
}

fn start(record: &[u8], step: Step) -> Option<(Reader<'_>, KeyId)> {
    let mut reader = Reader(record);
    let expected = [MAGIC, CONTROL_AUTH, step.byte()];
    let key_id = (reader.array()? == expected).then_some(&mut reader)?.array()?;
    Some((reader, KeyId::new(key_id)))
}

fn head(step: Step, key_id: KeyId, mut put: impl FnMut(&[u8])) {
    put(&[MAGIC, CONTROL_AUTH, step.byte()]);
    put(&key_id.to_bytes());
}

fn lp(part: &[u8], mut put: impl FnMut(&[u8])) {
    put(&u16::try_from(part.len()).unwrap_or(u16::MAX).to_be_bytes());
    put(part);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const ID: KeyId = KeyId::new([1, 2, 3, 4]);
    const CHALLENGE: Challenge<'_> =
        Challenge { key_id: ID, nonce: [5; NONCE_LEN], device: "dev-17", broker: "b:1" };
    const ANSWER: Answer<'_> =
        Answer { key_id: ID, nonce: [5; NONCE_LEN], mac: [6; MAC_LEN], attestation: b"xyz" };
    const CONFIRMATION: Confirmation<'_> = Confirmation {
        key_id: ID,
        device_nonce: [5; NONCE_LEN],
        authority_nonce: [6; NONCE_LEN],
        mac: [7; MAC_LEN],
        device: "dev-17",
        broker: "b:1",
        attestation: b"xyz",
    };

    fn records() -> [Vec<u8>; 3] {
        let [mut challenge, mut answer, mut confirmation] = [const { Vec::new() }; 3];
        CHALLENGE.encode(|part| challenge.extend(part));
        challenge.extend([8; MAC_LEN]);
        ANSWER.encode(|part| answer.extend(part));
        CONFIRMATION.encode(|part| confirmation.extend(part));
        [challenge, answer, confirmation]
    }

    #[test]
    fn what_is_written_is_read_again() {
        let [challenge, answer, confirmation] = records();
        let covered = &challenge[..challenge.len() - MAC_LEN];
        assert_eq!(Challenge::parse(&challenge), Some((CHALLENGE, covered, [8; MAC_LEN])));
        assert_eq!(Answer::parse(&answer), Some(ANSWER));
        assert_eq!(Confirmation::parse(&confirmation), Some(CONFIRMATION));
        let steps = [&challenge, &answer, &confirmation].map(|record| Step::of(record));
        let expected = [Step::Challenge, Step::Answer, Step::Confirmation].map(Some);
        assert_eq!(steps, expected);
    }

    #[test]
    fn a_record_of_another_length_or_step_is_none() {
        let reads = |record: &[u8]| {
            [
                Challenge::parse(record).is_some(),
                Answer::parse(record).is_some(),
                Confirmation::parse(record).is_some(),
            ]
        };
        for (place, record) in records().into_iter().enumerate() {
            let own: [bool; 3] = core::array::from_fn(|at| at == place);
            assert_eq!(reads(&record), own);
            for len in 0..record.len() {
                assert_eq!(reads(&record[..len]), [false; 3], "{len} of {place}");
            }
            let longer = [&record[..], &[0]].concat();
            assert_eq!(reads(&longer), [false; 3], "{place}");
        }
    }

    #[test]
    fn a_message_is_no_record() {
        for vf in (0..=255).filter(|vf| *vf != CONTROL_AUTH) {
            assert_eq!(Step::of(&[MAGIC, vf, 1]), None);
        }
        assert_eq!(Step::of(&[MAGIC, CONTROL_AUTH, 4]), None);
        assert_eq!(Step::of(&[MAGIC, CONTROL_AUTH]), None);
    }
}
