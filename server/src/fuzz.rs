//! What this server reads from strangers, as functions of bytes that must not panic: the targets of `server/fuzz`, and
//! of a bounded test with a seed.
//!
//! Left out: what the libraries read (HTTP/1.1, TLS, protocol buffers).

/// The peer protocol.
pub fn peers(bytes: &[u8]) {
    crate::net::fuzz(bytes);
}

/// The JSON gateway's requests.
pub fn gateway(bytes: &[u8]) {
    crate::gateway::fuzz(bytes);
}

/// What clients say over HTTP/2, after the preface.
pub fn front(bytes: &[u8]) {
    crate::http2::fuzz(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{
        prelude::*,
        test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
    };

    /// Good input, which is damaged in a few places, cut and doubled.
    fn damaged(samples: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
        let edits = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 0..6);
        (prop::sample::select(samples), edits).prop_map(|(mut bytes, edits)| {
            for (at, byte, how) in edits {
                let at = at.index(bytes.len() + 1);
                match how {
                    0 if at < bytes.len() => bytes[at] = byte,
                    1 => bytes.insert(at, byte),
                    2 => bytes.truncate(at),
                    _ => bytes.extend_from_within(at..),
                }
                bytes.truncate(1 << 16);
            }
            bytes
        })
    }

    fn run(samples: &[&[u8]], target: fn(&[u8])) {
        let config = Config { cases: 3000, failure_persistence: None, ..Config::default() };
        let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]));
        let samples = samples.iter().map(|sample| sample.to_vec()).collect();
        let noise = prop::collection::vec(any::<u8>(), 0..300);
        let bytes = prop_oneof![4 => damaged(samples), 1 => noise];
        let tried = runner.run(&bytes, |bytes| {
            target(&bytes);
            Ok(())
        });
        tried.unwrap_or_else(|error| panic!("{error}"));
    }

    #[test]
    fn the_peer_protocol_takes_anything() {
        let append =
            b"\x01\x05\0\0\0\0\0\0\0\x05\x05\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0\0\0\0\0";
        let call = b"ASSAYNET\x01\0\x01\0\x05\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\0\0\0\0";
        let hello = b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03";
        let framed = b"\x09\0\0\0\x57\x1c\xd2\x88\x0a\x07\0\0\0\0\0\0\0";
        run(&[append, call, hello, framed], peers);
    }

    #[test]
    fn the_gateway_takes_anything() {
        let txn =
            br#"{"compare":[{"key":"Zm9v","target":"MOD","result":"GREATER","mod_revision":"99"}],"success":
            [{"requestPut":{"key":"azI=","value":"djI=","lease":-4}},{"request_txn":{"failure":[{}]}}]}"#;
        let watch =
            br#"{"create_request":{"key":"Zg==","filters":["NOPUT",1],"start_revision":1e3}} {"x":null}"#;
        let range = br#"{"key":"Zm9v","range_end":"AA==","limit":"1","sort_order":2,"serializable":true}"#;
        run(&[txn, watch, range], gateway);
    }

    #[test]
    fn the_front_takes_anything() {
        let settings = b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64";
        let headers =
            b"\0\0\x18\x01\x05\0\0\0\x01\x83\x86\x41\x10\x9d\x29\xae\xe3\x0c\x04\x4e\xae\x05\xc0\xb8\x6e\x34\
                        \xe3\x8f\x3f\x40\x01a\x01b";
        let whole = [&b"\xff"[..], settings, headers].concat();
        let window = b"\0\0\x04\x08\0\0\0\0\0\0\0\x10\0";
        let data = b"\0\0\x03\0\x01\0\0\0\x01abc";
        let reset = b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\x08";
        run(&[&whole, &[&whole[..], data, window].concat(), &[&whole[..], reset].concat()], front);
    }
}
