//! Arbitrary values of what the codecs carry.

use base::{EntryData, EntryId, LedgerId, OwnerId, Position, RegionId, RegionName, RequestId, TopicName};
use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use wire::bookie::{
    AddOutcome, BookieRequest, BookieResponse, EntryRange, InLimbo, LacOutcome, LimboFound, ReadOutcome, StoredEntry,
};
use wire::pulsar::{EncryptionKeys, KeyValue, MessageMetadata, SingleMessageMetadata};
use wire::region::RegionFrame;
use wire::stored::{EntryFormat, Origin, StoredHead};

pub(crate) fn body_bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..200).prop_map(Bytes::from)
}

fn entry_id() -> impl Strategy<Value = EntryId> {
    (-1..i64::MAX).prop_map(EntryId)
}

fn position() -> impl Strategy<Value = Position> {
    (any::<u64>(), entry_id()).prop_map(|(ledger, entry)| Position { ledger: LedgerId(ledger), entry })
}

fn entry_data() -> impl Strategy<Value = EntryData> {
    (body_bytes(), body_bytes()).prop_map(|(head, body)| EntryData::new(head, body))
}

fn properties() -> impl Strategy<Value = Vec<KeyValue>> {
    vec((".{0,8}", ".{0,8}").prop_map(|(key, value)| KeyValue { key, value }), 0..3)
}

pub(crate) fn metadata() -> impl Strategy<Value = MessageMetadata> {
    let always = (".{0,12}", any::<u64>(), any::<u64>(), properties());
    let routing = (option::of(".{0,12}"), option::of(body_bytes()), vec("[a-z]{1,5}", 0..3), option::of(any::<bool>()));
    let numbers = (option::of(any::<u64>()), option::of(1..=10_000), option::of(any::<i64>()), option::of(0..5));
    let chunk =
        (option::of("[a-z]{0,9}"), option::of(any::<i32>()), option::of(any::<i32>()), option::of(any::<i32>()));
    let rest = (option::of(any::<u64>()), option::of(any::<u64>()), option::of(any::<bool>()), 0usize..2);
    (always, routing, numbers, chunk, rest).prop_map(|(always, routing, numbers, chunk, rest)| MessageMetadata {
        producer_name: always.0,
        sequence_id: always.1,
        publish_time: always.2,
        properties: always.3,
        partition_key: routing.0,
        ordering_key: routing.1,
        replicate_to: routing.2,
        partition_key_b64_encoded: routing.3,
        highest_sequence_id: numbers.0,
        num_messages_in_batch: numbers.1,
        deliver_at_time: numbers.2,
        compression: numbers.3,
        uuid: chunk.0,
        num_chunks_from_msg: chunk.1,
        total_chunk_msg_size: chunk.2,
        chunk_id: chunk.3,
        txnid_most_bits: rest.0,
        txnid_least_bits: rest.0,
        event_time: rest.1,
        null_value: rest.2,
        encryption_keys: vec![EncryptionKeys::default(); rest.3],
        ..MessageMetadata::default()
    })
}

pub(crate) fn single_message() -> impl Strategy<Value = (SingleMessageMetadata, Bytes)> {
    (properties(), option::of(any::<u64>()), body_bytes()).prop_map(|(properties, sequence_id, payload)| {
        let payload_size = i32::try_from(payload.len()).unwrap();
        let metadata =
            SingleMessageMetadata { properties, sequence_id, payload_size, ..SingleMessageMetadata::default() };
        (metadata, payload)
    })
}

pub(crate) fn stored_head() -> impl Strategy<Value = StoredHead> {
    let origin = (1..=255u8, position()).prop_map(|(region, position)| Origin { region: RegionId(region), position });
    (any::<u64>(), any::<u64>(), any::<u32>(), option::of(origin)).prop_map(
        |(broker_timestamp_ms, index, messages, origin)| StoredHead {
            format: EntryFormat::Pulsar,
            broker_timestamp_ms,
            index,
            messages,
            origin,
        },
    )
}

pub(crate) fn region_frame() -> impl Strategy<Value = RegionFrame> {
    let link = any::<u64>();
    prop_oneof![
        (any::<u16>(), "[a-z]{1,9}", any::<u8>()).prop_map(|(version, name, number)| RegionFrame::Hello {
            version,
            region: RegionName::parse(&name).unwrap(),
            number: RegionId(number),
        }),
        (link, "[a-z]{1,9}")
            .prop_map(|(link, name)| RegionFrame::Open { link, topic: TopicName::parse(&name).unwrap() }),
        (link, any::<u64>(), option::of(position()), any::<u64>()).prop_map(
            |(link, incarnation, watermark, credit_bytes)| RegionFrame::Opened {
                link,
                incarnation,
                watermark,
                credit_bytes
            }
        ),
        (link, any::<bool>(), ".{0,20}").prop_map(|(link, retry, reason)| RegionFrame::Refused { link, retry, reason }),
        (link, position(), position(), entry_data()).prop_map(|(link, previous, position, data)| RegionFrame::Entry {
            link,
            previous,
            position,
            data
        }),
        (link, position(), any::<u64>()).prop_map(|(link, position, credit_bytes)| RegionFrame::Ack {
            link,
            position,
            credit_bytes
        }),
        (link, option::of(position())).prop_map(|(link, watermark)| RegionFrame::Rewind { link, watermark }),
        (link, ".{0,20}").prop_map(|(link, reason)| RegionFrame::Close { link, reason }),
        ("[a-z/]{0,20}", any::<u64>(), any::<u8>(), option::of(body_bytes())).prop_map(
            |(key, version, writer, value)| RegionFrame::Policy { key, version, writer: RegionId(writer), value }
        ),
    ]
}

fn request_and_ledger() -> impl Strategy<Value = (RequestId, LedgerId)> {
    (any::<u64>(), any::<u64>(), any::<u64>())
        .prop_map(|(owner, seq, ledger)| (RequestId { owner: OwnerId(owner), seq }, LedgerId(ledger)))
}

fn range() -> impl Strategy<Value = EntryRange> {
    (entry_id(), entry_id()).prop_map(|(first, end)| EntryRange { first, end })
}

pub(crate) fn request() -> impl Strategy<Value = BookieRequest> {
    let ids = request_and_ledger;
    prop_oneof![
        (ids(), entry_id(), entry_id(), any::<bool>(), entry_data()).prop_map(
            |((id, ledger), entry, lac, recovery, data)| BookieRequest::Add { id, ledger, entry, lac, recovery, data }
        ),
        (ids(), entry_id(), any::<u32>(), any::<u32>(), any::<bool>()).prop_map(
            |((id, ledger), from, entries_max, bytes_max, fence)| BookieRequest::Read {
                id,
                ledger,
                from,
                entries_max,
                bytes_max,
                fence
            }
        ),
        (ids(), any::<bool>()).prop_map(|((id, ledger), fence)| BookieRequest::ReadLac { id, ledger, fence }),
        ids().prop_map(|(id, ledger)| BookieRequest::Delete { id, ledger }),
        (ids(), any::<u32>()).prop_map(|((id, ledger), loss)| BookieRequest::Repaired { id, ledger, loss }),
        ids().prop_map(|(id, after)| BookieRequest::Limbo { id, after }),
        (ids(), range()).prop_map(|((id, ledger), range)| BookieRequest::Missing { id, ledger, range }),
    ]
}

pub(crate) fn response() -> impl Strategy<Value = BookieResponse> {
    let ids = request_and_ledger;
    let entry = (entry_id(), entry_id(), entry_data()).prop_map(|(entry, lac, data)| StoredEntry { entry, lac, data });
    let added = prop_oneof![
        Just(AddOutcome::Stored),
        Just(AddOutcome::Fenced),
        Just(AddOutcome::ReadOnly),
        Just(AddOutcome::Unknown)
    ];
    let read = prop_oneof![
        vec(entry, 0..5).prop_map(ReadOutcome::Entries),
        Just(ReadOutcome::NoSuchEntry),
        Just(ReadOutcome::NoSuchLedger),
        Just(ReadOutcome::Unknown)
    ];
    let lac = prop_oneof![
        (entry_id(), entry_id()).prop_map(|(lac, last)| LacOutcome::Lac { lac, last }),
        Just(LacOutcome::NoSuchLedger),
        Just(LacOutcome::Unknown)
    ];
    let in_limbo = (any::<u64>(), any::<u32>()).prop_map(|(id, loss)| InLimbo { ledger: LedgerId(id), loss });
    let limbo = prop_oneof![
        Just(LimboFound::Unmeasured),
        (vec(in_limbo, 0..5), any::<bool>()).prop_map(|(ledgers, more)| LimboFound::Ledgers { ledgers, more })
    ];
    prop_oneof![
        (ids(), entry_id(), added).prop_map(|((id, ledger), entry, outcome)| BookieResponse::Added {
            id,
            ledger,
            entry,
            outcome
        }),
        (ids(), read).prop_map(|((id, ledger), outcome)| BookieResponse::Read { id, ledger, outcome }),
        (ids(), lac).prop_map(|((id, ledger), outcome)| BookieResponse::Lac { id, ledger, outcome }),
        ids().prop_map(|(id, ledger)| BookieResponse::Deleted { id, ledger }),
        (ids(), any::<bool>()).prop_map(|((id, ledger), lifted)| BookieResponse::Repaired { id, ledger, lifted }),
        (ids(), limbo).prop_map(|((id, _), found)| BookieResponse::Limbo { id, found }),
        (ids(), entry_id(), vec(range(), 0..5)).prop_map(|((id, ledger), until, ranges)| BookieResponse::Missing {
            id,
            ledger,
            until,
            ranges
        }),
    ]
}
