//! Requests of etcd's KV service, written as octets without building messages first.
//! Source of the field numbers: etcd's `rpc.proto`, and protobuf's encoding.

/// Appends a tag with this wire type: 0 for numbers, 2 for octets.
fn tag(out: &mut Vec<u8>, field: u32, wire: u32) {
    varint(out, u64::from(field << 3 | wire));
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn varint_bytes(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

fn octets(out: &mut Vec<u8>, field: u32, octets: &[u8]) {
    tag(out, field, 2);
    varint(out, octets.len() as u64);
    out.extend_from_slice(octets);
}

/// Octets that such a field takes.
fn octets_bytes(octets: &[u8]) -> usize {
    1 + varint_bytes(octets.len() as u64) + octets.len()
}

/// A field that is left out when it is 0, as protobuf has it.
fn number(out: &mut Vec<u8>, field: u32, value: u64) {
    if value != 0 {
        tag(out, field, 0);
        varint(out, value);
    }
}

/// What a range asks for beside its keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RangeOptions {
    pub limit: u64,
    pub serializable: bool,
    pub count_only: bool,
    pub keys_only: bool,
}

/// Appends a `PutRequest`.
pub(super) fn put(out: &mut Vec<u8>, key: &[u8], value: &[u8], lease: i64) {
    octets(out, 1, key);
    octets(out, 2, value);
    number(out, 3, lease.cast_unsigned());
}

/// Appends a `RangeRequest`; an empty `end` asks for the one key.
pub(super) fn range(out: &mut Vec<u8>, key: &[u8], end: &[u8], options: RangeOptions) {
    octets(out, 1, key);
    if !end.is_empty() {
        octets(out, 2, end);
    }
    number(out, 3, options.limit);
    number(out, 7, options.serializable.into());
    number(out, 8, options.keys_only.into());
    number(out, 9, options.count_only.into());
}

/// Appends a `DeleteRangeRequest` for one key.
pub(super) fn delete(out: &mut Vec<u8>, key: &[u8]) {
    octets(out, 1, key);
}

/// Appends a `LeaseGrantRequest`; the server chooses the lease's number.
pub(super) fn lease_grant(out: &mut Vec<u8>, ttl_s: i64) {
    number(out, 1, ttl_s.cast_unsigned());
}

/// Appends a comparison of a key's mod revision to a `TxnRequest`.
pub(super) fn compare_mod_revision(out: &mut Vec<u8>, key: &[u8], revision: i64) {
    let revision = revision.cast_unsigned();
    // Target MOD, the key, and the revision, which is sent even when it is 0: it is one of a union.
    let length = 2 + octets_bytes(key) + 1 + varint_bytes(revision);
    tag(out, 1, 2);
    varint(out, length as u64);
    number(out, 2, 2);
    octets(out, 3, key);
    tag(out, 6, 0);
    varint(out, revision);
}

/// Appends a put to a `TxnRequest`'s list of what is done on success.
pub(super) fn then_put(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    operation(out, 2, 2, octets_bytes(key) + octets_bytes(value), |out| put(out, key, value, 0));
}

/// Appends the reading of a key to a `TxnRequest`'s list of what is done otherwise.
pub(super) fn else_get(out: &mut Vec<u8>, key: &[u8]) {
    operation(out, 3, 1, octets_bytes(key), |out| range(out, key, &[], RangeOptions::default()));
}

/// A `RequestOp` in a list: `field` is the list's, `which` the operation's.
fn operation(out: &mut Vec<u8>, field: u32, which: u32, length: usize, write: impl FnOnce(&mut Vec<u8>)) {
    tag(out, field, 2);
    varint(out, (1 + varint_bytes(length as u64) + length) as u64);
    tag(out, which, 2);
    varint(out, length as u64);
    write(out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;
    use server::proto::etcdserverpb::{
        DeleteRangeRequest, LeaseGrantRequest, PutRequest, RangeRequest, TxnRequest, compare, request_op,
    };

    #[test]
    fn requests_are_what_protobuf_makes_of_them() {
        for length in [1, 127, 128, 20_000] {
            let (key, value) = (vec![7u8; length], vec![9u8; length]);
            let mut out = Vec::new();
            put(&mut out, &key, &value, -5);
            let message = PutRequest::decode(&*out).unwrap();
            assert_eq!((&message.key[..], &message.value[..], message.lease), (&key[..], &value[..], -5));
            assert_eq!(out, message.encode_to_vec());

            out.clear();
            let options = RangeOptions { limit: 300, serializable: true, count_only: true, keys_only: true };
            range(&mut out, &key, b"end", options);
            let message = RangeRequest::decode(&*out).unwrap();
            assert_eq!((message.limit, message.serializable), (300, true));
            assert!(message.count_only && message.keys_only && message.range_end[..] == b"end"[..]);
            assert_eq!(out, message.encode_to_vec());

            out.clear();
            delete(&mut out, &key);
            assert_eq!(out, DeleteRangeRequest::decode(&*out).unwrap().encode_to_vec());

            out.clear();
            lease_grant(&mut out, 3600);
            assert_eq!(out, LeaseGrantRequest { ttl: 3600, id: 0 }.encode_to_vec());

            for revision in [0, 1, 1 << 40] {
                out.clear();
                compare_mod_revision(&mut out, &key, revision);
                then_put(&mut out, &key, &value);
                else_get(&mut out, &key);
                let message = TxnRequest::decode(&*out).unwrap();
                assert_eq!(out, message.encode_to_vec());
                let compared = &message.compare[0];
                assert_eq!(compared.target_union, Some(compare::TargetUnion::ModRevision(revision)));
                assert!(matches!(message.success[0].request, Some(request_op::Request::RequestPut(_))));
                assert!(matches!(message.failure[0].request, Some(request_op::Request::RequestRange(_))));
            }
        }
    }
}
