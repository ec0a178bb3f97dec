//! Tests of hints, key hash and batches where single cases say more than properties.

use super::{
    BatchBuilder, BatchView, Checksum, Chunk, PayloadError, PayloadHints, PayloadView, build_body, ensure_checksum,
    key_hash, murmur3_32, sticky_key_slot, verify_checksum,
};
use crate::protobuf::FieldError;
use crate::pulsar::{KeyValue, MessageMetadata, SingleMessageMetadata};
use bytes::{BufMut, Bytes, BytesMut};

fn metadata() -> MessageMetadata {
    MessageMetadata { producer_name: "p".to_owned(), sequence_id: 3, publish_time: 5, ..MessageMetadata::default() }
}

fn scan(metadata: &MessageMetadata) -> Result<PayloadHints, PayloadError> {
    PayloadHints::scan(&build_body(metadata, b"payload"))
}

/// A body without checksum around bytes that need not be metadata.
fn raw(metadata: &[u8]) -> Bytes {
    let mut body = BytesMut::new();
    body.put_u32(u32::try_from(metadata.len()).unwrap());
    body.put_slice(metadata);
    body.freeze()
}

#[test]
fn murmur3_gives_the_published_values() {
    let cases: [(&str, u32); 6] = [
        ("", 0),
        ("hello", 0x248b_fa47),
        ("hello, world", 0x149b_bb7f),
        ("19 Jan 2038 at 3:14:07 AM", 0xe31e_8a70),
        ("The quick brown fox jumps over the lazy dog.", 0xd5c4_8bfc),
        ("The quick brown fox jumps over the lazy dog", 0x2e4f_f723),
    ];
    for (text, hash) in cases {
        assert_eq!(murmur3_32(text.as_bytes()), hash, "{text}");
    }
}

#[test]
fn the_key_of_a_message_is_its_ordering_key_before_its_partition_key_before_its_sequence() {
    let hash = |metadata: &MessageMetadata| key_hash(&scan(metadata).unwrap());
    let mut metadata = MessageMetadata { sequence_id: u64::MAX, ..metadata() };
    assert_eq!(hash(&metadata), murmur3_32(b"p--1") & 0x7fff_ffff);
    metadata.partition_key = Some("aGVsbG8".to_owned());
    assert_eq!(hash(&metadata), murmur3_32(b"aGVsbG8") & 0x7fff_ffff);
    metadata.partition_key_b64_encoded = Some(true);
    assert_eq!(hash(&metadata), murmur3_32(b"hello") & 0x7fff_ffff);
    metadata.partition_key = Some("not Base64".to_owned());
    assert_eq!(hash(&metadata), murmur3_32(b"not Base64") & 0x7fff_ffff);
    metadata.ordering_key = Some(Bytes::from_static(b"order"));
    assert_eq!(hash(&metadata), murmur3_32(b"order") & 0x7fff_ffff);
}

#[test]
fn slot_zero_is_never_given() {
    assert_eq!((sticky_key_slot(0), sticky_key_slot(0x1_0000)), (1, 1));
    assert_eq!((sticky_key_slot(1), sticky_key_slot(0x7fff_ffff)), (1, 65_535));
}

#[test]
fn hints_are_slices_of_the_body() {
    let metadata = MessageMetadata { partition_key: Some("key".to_owned()), ..metadata() };
    let body = build_body(&metadata, b"payload");
    let hints = PayloadHints::scan(&body).unwrap();
    for slice in [&hints.producer_name, hints.partition_key.as_ref().unwrap()] {
        assert!(body.as_ptr_range().contains(&slice.as_ptr()), "hints I1: nothing is copied");
    }
    assert_eq!(hints.replicate_to.capacity(), 0, "hints I1: no list without regions");
    let view = PayloadView::parse(&body).unwrap();
    assert!(body.as_ptr_range().contains(&view.payload.as_ptr()));
}

#[test]
fn a_batch_of_one_is_told_from_a_single_message() {
    let single = scan(&metadata()).unwrap();
    assert_eq!((single.num_messages, single.is_batch), (1, false));
    let batch = scan(&MessageMetadata { num_messages_in_batch: Some(1), ..metadata() }).unwrap();
    assert_eq!((batch.num_messages, batch.is_batch), (1, true));
}

#[test]
fn counts_outside_the_limits_are_refused() {
    for messages in [0, -1, 10_001] {
        let refused = scan(&MessageMetadata { num_messages_in_batch: Some(messages), ..metadata() });
        assert_eq!(refused, Err(PayloadError::BatchCount { messages, max: 10_000 }), "hints I2");
    }
    let property = KeyValue { key: "k".to_owned(), value: String::new() };
    let with = |properties| scan(&MessageMetadata { properties, ..metadata() });
    assert!(with(vec![property.clone(); 1024]).is_ok());
    assert!(matches!(with(vec![property; 1025]), Err(PayloadError::TooManyProperties { .. })));
    let large = KeyValue { key: "k".to_owned(), value: "v".repeat(64 * 1024) };
    assert!(matches!(with(vec![large]), Err(PayloadError::TooManyProperties { .. })));
    let regions = |count| scan(&MessageMetadata { replicate_to: vec!["west".to_owned(); count], ..metadata() });
    assert_eq!(regions(255).unwrap().replicate_to.len(), 255);
    assert_eq!(regions(256), Err(PayloadError::TooManyRegions { max: 255 }));
}

#[test]
fn absent_required_fields_are_named() {
    let missing = |bytes: &[u8]| PayloadHints::scan(&raw(bytes)).unwrap_err();
    assert_eq!(missing(b""), PayloadError::MissingField { field: "producer_name" });
    assert_eq!(missing(b"\x0a\x01p"), PayloadError::MissingField { field: "sequence_id" });
    assert_eq!(missing(b"\x0a\x01p\x10\x03"), PayloadError::MissingField { field: "publish_time" });
}

#[test]
fn fields_of_a_wrong_wire_type_are_refused_and_unknown_ones_skipped() {
    let good = b"\x0a\x01p\x10\x03\x18\x05";
    let with = |more: &[u8]| PayloadHints::scan(&raw(&[good, more].concat()));
    let wrong = |number| Err(PayloadError::MalformedMetadata(FieldError::WrongType(number)));
    assert_eq!(with(b"\x08\x01"), wrong(1));
    assert_eq!(with(b"\x12\x01x"), wrong(2));
    assert_eq!(with(b"\x1d\x01\x02\x03\x04"), wrong(3));
    assert_eq!(with(b"\x31\x01\x02\x03\x04\x05\x06\x07\x08"), wrong(6));
    // Field 100 as varint, as bytes and as fixed32.
    assert_eq!(with(b"\xa0\x06\x01\xa2\x06\x01x\xa5\x06abcd"), with(b""));
    assert!(with(b"").is_ok());
}

#[test]
fn malformed_fields_say_what_is_wrong() {
    let error = |bytes: &[u8]| PayloadHints::scan(&raw(bytes)).unwrap_err();
    let malformed = PayloadError::MalformedMetadata;
    assert_eq!(error(b"\x0a\x05p"), malformed(FieldError::Truncated));
    assert_eq!(error(b"\x10\xff"), malformed(FieldError::Truncated));
    assert_eq!(error(b"\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"), malformed(FieldError::LongVarint));
    assert_eq!(error(b"\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), malformed(FieldError::LongVarint));
    assert_eq!(error(b"\x00\x01"), malformed(FieldError::BadNumber));
    assert_eq!(error(b"\x80\x80\x80\x80\x10\x01"), malformed(FieldError::BadNumber));
    assert_eq!(error(b"\x0b"), malformed(FieldError::BadWireType(3)));
}

#[test]
fn chunks_and_transactions_are_recognised() {
    let chunked = MessageMetadata {
        uuid: Some("u".to_owned()),
        chunk_id: Some(1),
        num_chunks_from_msg: Some(4),
        total_chunk_msg_size: Some(99),
        txnid_least_bits: Some(7),
        ..metadata()
    };
    let hints = scan(&chunked).unwrap();
    assert_eq!(hints.chunk, Some(Chunk { uuid: Bytes::from_static(b"u"), id: 1, count: 4, total_bytes: 99 }));
    assert_eq!(hints.txn, Some((0, 7)));
    let plain = scan(&metadata()).unwrap();
    assert_eq!((plain.chunk, plain.txn), (None, None));
}

#[test]
fn a_body_that_ends_early_says_where() {
    let body = build_body(&metadata(), b"");
    let truncated = |part| PayloadError::Truncated { part };
    assert_eq!(verify_checksum(&body[..5]), Err(truncated("checksum")));
    assert_eq!(PayloadHints::scan(&body.slice(..8)), Err(truncated("metadata size")));
    assert_eq!(PayloadHints::scan(&body.slice(..body.len() - 1)), Err(truncated("metadata")));
    assert_eq!(PayloadHints::scan(&Bytes::new()), Err(truncated("metadata size")));
    assert!(matches!(PayloadView::parse(&body.slice(..12)), Err(PayloadError::ChecksumMismatch { .. })));
}

#[test]
fn a_body_without_checksum_gets_one_and_one_with_a_checksum_keeps_it() {
    let with = build_body(&metadata(), b"payload");
    assert_eq!(ensure_checksum(&with).unwrap().as_ptr(), with.as_ptr(), "not copied");
    let without = with.slice(6..);
    assert_eq!(verify_checksum(&without), Ok(Checksum::Absent));
    assert_eq!(ensure_checksum(&without).unwrap(), with);
}

#[test]
fn a_batch_with_a_negative_or_overlong_size_is_refused_once() {
    let sizes = |payload_size: i32| {
        let single = SingleMessageMetadata { payload_size, ..SingleMessageMetadata::default() };
        let mut batch = BytesMut::new();
        let encoded = prost::Message::encode_to_vec(&single);
        batch.put_u32(u32::try_from(encoded.len()).unwrap());
        batch.put_slice(&encoded);
        batch.put_slice(b"abc");
        batch.freeze()
    };
    for size in [-1, 4, i32::MIN, i32::MAX] {
        let mut view = BatchView::new(sizes(size), 2);
        assert_eq!(view.next(), Some(Err(PayloadError::Truncated { part: "batched message" })));
        assert_eq!(view.next(), None);
    }
    let mut view = BatchView::new(Bytes::from_static(b"\xff\xff\xff\xff"), 1);
    assert_eq!(view.next(), Some(Err(PayloadError::Truncated { part: "single metadata" })));
    assert_eq!(BatchView::new(BatchBuilder::default().finish(), 0).next(), None);
}
