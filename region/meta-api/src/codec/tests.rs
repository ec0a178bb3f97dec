//! Golden bytes, round trips and refusals of requests and snapshots.

use super::*;
use crate::{MetaResponse, MetaState, SnapshotError};
use proptest::prelude::*;

fn encoded(request: &MetaRequest) -> Bytes {
    let mut out = BytesMut::new();
    request.encode(&mut out);
    out.freeze()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn txn() -> MetaRequest {
    MetaRequest::Txn {
        compare: vec![
            Compare::Absent { key: "a".into() },
            Compare::Version { key: "b".into(), version: 7 },
            Compare::Exists { key: "c".into() },
            Compare::NoneWithPrefix { prefix: "d/".into() },
        ],
        writes: vec![
            Write::Put { key: "a".into(), value: Bytes::from_static(b"xy") },
            Write::Delete { key: "b".into() },
        ],
    }
}

#[test]
fn requests_have_these_golden_bytes() {
    assert_eq!(hex(&encoded(&MetaRequest::Get { key: "k".into() })), "0100010000006b");
    assert_eq!(
        hex(&encoded(&MetaRequest::Range { prefix: "/t".into(), after: Some("/tz".into()), limit: 9 })),
        "0101020000002f7401030000002f747a09000000"
    );
    assert_eq!(hex(&encoded(&MetaRequest::Reserve { key: "n".into(), by: 258 })), "0103010000006e0201000000000000");
    assert_eq!(
        hex(&encoded(&txn())),
        "01020400000000010000006101010000006207000000000000000201000000630302000000642f\
         020000000001000000610200000078790101000000\
         62"
    );
}

#[test]
fn a_snapshot_has_these_golden_bytes() {
    let mut state = MetaState::new();
    state.apply(&MetaRequest::Reserve { key: "n".into(), by: 3 });
    assert_eq!(
        hex(&state.to_snapshot()),
        "4d444e4d4554410101000000000000000100000000000000010000006e0100000000000000010000003312f4c93a"
    );
    assert_eq!(MetaState::from_snapshot(&state.to_snapshot()), Ok(state));
}

#[test]
fn the_length_is_known_without_encoding() {
    let requests = [
        MetaRequest::Get { key: "key".into() },
        MetaRequest::Range { prefix: "/t".into(), after: None, limit: 1 },
        MetaRequest::Range { prefix: "/t".into(), after: Some("/t/1".into()), limit: 1 },
        MetaRequest::Reserve { key: "n".into(), by: 1 },
        txn(),
    ];
    for request in requests {
        assert_eq!(request.encoded_len(), encoded(&request).len(), "{request:?}");
    }
}

#[test]
fn a_cut_or_extended_request_is_refused() {
    let bytes = encoded(&txn());
    for len in 0..bytes.len() {
        assert!(MetaRequest::decode(&bytes[..len]).is_err(), "cut to {len}");
    }
    let mut longer = bytes.to_vec();
    longer.push(0);
    assert!(matches!(MetaRequest::decode(&longer), Err(DecodeError::Trailing { extra: 1, .. })));
}

#[test]
fn an_unknown_format_or_tag_is_named() {
    assert!(matches!(MetaRequest::decode(&[9, 0]), Err(DecodeError::Format { format: 9, known: 1, .. })));
    assert!(matches!(MetaRequest::decode(&[1, 4]), Err(DecodeError::Tag { tag: 4, offset: 1, .. })));
}

#[test]
fn a_damaged_count_reserves_no_memory() {
    // A transaction that claims four billion conditions.
    assert!(matches!(MetaRequest::decode(&[1, 2, 255, 255, 255, 255]), Err(DecodeError::Truncated { .. })));
}

#[test]
fn every_flipped_bit_of_a_snapshot_is_refused() {
    let mut state = MetaState::new();
    state.apply(&txn_puts(&[("a", "1"), ("b", "2")]));
    let bytes = state.to_snapshot();
    for index in 0..bytes.len() * 8 {
        let mut damaged = bytes.to_vec();
        damaged[index / 8] ^= 1 << (index % 8);
        assert!(MetaState::from_snapshot(&damaged).is_err(), "bit {index}");
    }
    for len in 0..bytes.len() {
        assert!(MetaState::from_snapshot(&bytes[..len]).is_err(), "cut to {len}");
    }
}

#[test]
fn a_snapshot_with_keys_out_of_order_is_refused_despite_a_good_checksum() {
    let mut out = BytesMut::new();
    out.put_slice(b"MDNMETA\x01");
    out.put_u64_le(1);
    out.put_u64_le(2);
    for key in ["b", "a"] {
        put_bytes(&mut out, key.as_bytes());
        out.put_u64_le(1);
        put_bytes(&mut out, b"v");
    }
    let crc = crc32c::crc32c(&out);
    out.put_u32_le(crc);
    assert_eq!(MetaState::from_snapshot(&out), Err(SnapshotError::Order { key: "a".into() }));
}

fn txn_puts(items: &[(&str, &str)]) -> MetaRequest {
    let put = |(key, value): &(&str, &str)| Write::Put {
        key: (*key).to_owned(),
        value: Bytes::copy_from_slice(value.as_bytes()),
    };
    MetaRequest::Txn { compare: vec![], writes: items.iter().map(put).collect() }
}

proptest! {
    #[test]
    fn decoding_arbitrary_bytes_never_panics_and_keeps_what_it_accepts(bytes in prop::collection::vec(0u8..6, 0..64)) {
        if let Ok(request) = MetaRequest::decode(&bytes) {
            prop_assert_eq!(encoded(&request).len(), request.encoded_len());
            prop_assert_eq!(MetaRequest::decode(&encoded(&request)), Ok(request));
        }
        let _ = MetaState::from_snapshot(&bytes);
    }

    #[test]
    fn a_snapshot_restores_the_same_state(items in prop::collection::btree_map("[a-z/]{0,6}", "[a-z]{0,9}", 0..40)) {
        let mut state = MetaState::new();
        for (key, value) in &items {
            let (response, _) = state.apply(&txn_puts(&[(key, value)]));
            prop_assert!(matches!(response, MetaResponse::Committed { .. }), "committed");
        }
        let restored = MetaState::from_snapshot(&state.to_snapshot());
        prop_assert_eq!(restored.as_ref(), Ok(&state));
    }
}
