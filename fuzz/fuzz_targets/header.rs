//! What parses as a header is written with the same bytes, and a tag has room behind it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mqtt_seal::wire::header::{Header, HeaderError, MAGIC, TAG_LEN, WILL_COUNTER};

fuzz_target!(|data: &[u8]| {
    match Header::parse(data) {
        Ok((header, len)) => {
            assert_eq!(header.encode().as_bytes(), &data[..len]);
            assert_eq!(header.encoded_len(), len);
            assert!(data.len() - len >= TAG_LEN);
            assert!(header.counter <= WILL_COUNTER);
            // nothing behind the header plays a part
            let mut other = data[..len].to_vec();
            other.extend([0; TAG_LEN]);
            assert_eq!(Header::parse(&other), Ok((header, len)));
        }
        Err(error) => {
            assert_eq!(error == HeaderError::NotSealed, data.first() != Some(&MAGIC));
            let known = |vf: u8| vf & 0b1100_1111 == 0b0100_0000;
            let unsupported =
                data.first() == Some(&MAGIC) && data.get(1).is_some_and(|vf| !known(*vf));
            assert_eq!(error == HeaderError::Unsupported, unsupported);
        }
    }
});
