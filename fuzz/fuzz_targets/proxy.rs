//! PROXY headers: a whole header is found in any longer input, and no part of it is one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailbell::net::proxy::{LONGEST, Parsed, parse};

fuzz_target!(|octets: &[u8]| {
    match parse(octets) {
        Ok(Parsed::Whole(source, length)) => {
            assert!(length <= octets.len() && length <= LONGEST);
            assert_eq!(parse(&octets[..length]), Ok(Parsed::Whole(source, length)));
            for part in 0..length {
                assert_eq!(parse(&octets[..part]), Ok(Parsed::Partial));
            }
        }
        // A reader that waits for more must not wait for ever.
        Ok(Parsed::Partial) => assert!(octets.len() < LONGEST),
        Err(fault) => assert!(!fault.0.is_empty()),
    }
});
