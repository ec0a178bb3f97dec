//! Golden bytes of our own formats: stored heads, frames between regions, frames to and from bookies.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use base::{EntryData, EntryId, LedgerId, OwnerId, Position, RegionId, RegionName, RequestId, TopicName};
use bytes::{Bytes, BytesMut};
use std::collections::BTreeMap;
use support::{golden, to_hex};
use wire::bookie::{
    AddOutcome, BookieFrameSplitter, BookieRequest, BookieResponse, EntryRange, InLimbo, LacOutcome, LimboFound,
    ReadOutcome, StoredEntry, decode_request, decode_response, encode_request, encode_response,
};
use wire::region::{REGION_PROTOCOL_VERSION, RegionFrame, RegionFrameSplitter, encode};
use wire::stored::{EntryFormat, Origin, StoredError, StoredHead};

/// Takes the golden bytes of `name` out of its table.
fn take(table: &mut BTreeMap<&str, Vec<u8>>, name: &str) -> Vec<u8> {
    table.remove(name).unwrap_or_else(|| panic!("no golden bytes of {name}"))
}

fn at(ledger: u64, entry: i64) -> Position {
    Position::new(LedgerId(ledger), entry)
}

fn entry(head: &'static str, body: &'static str) -> EntryData {
    EntryData::new(Bytes::from_static(head.as_bytes()), Bytes::from_static(body.as_bytes()))
}

#[test]
fn stored_heads_have_fixed_bytes() {
    let here = StoredHead {
        format: EntryFormat::Pulsar,
        broker_timestamp_ms: 1_700_000_000_123,
        index: 41,
        messages: 2,
        origin: None,
    };
    let origin = Origin { region: RegionId(7), position: at(7 << 40 | 12, 34) };
    let there = StoredHead { index: u64::MAX, messages: 1, origin: Some(origin), ..here };
    let mut table = golden(include_str!("../conformance/stored.txt")).into_iter().collect();
    for (name, head) in [("published here", here), ("published in region 7", there)] {
        let bytes = take(&mut table, name);
        let mut out = BytesMut::new();
        head.encode(&mut out);
        assert_eq!(to_hex(&out), to_hex(&bytes), "wire I3: {name}");
        assert_eq!(StoredHead::decode(&bytes), Ok(head));
        for cut in 0..bytes.len() {
            assert_eq!(StoredHead::decode(&bytes[..cut]), Err(StoredError::Truncated), "{name} cut at {cut}");
        }
        out.extend_from_slice(b"x");
        assert_eq!(StoredHead::decode(&out), Err(StoredError::TrailingBytes(1)));
        out[1] = 9;
        assert_eq!(StoredHead::decode(&out), Err(StoredError::UnknownFormat(9)));
        out[0] = 2;
        assert_eq!(StoredHead::decode(&out), Err(StoredError::UnknownVersion(2)));
    }
    assert!(table.is_empty());
}

fn region_frames() -> Vec<(&'static str, RegionFrame)> {
    let topic = TopicName::parse("persistent://acme/orders/new").unwrap();
    let opened = |watermark| RegionFrame::Opened { link: 9, incarnation: 77, watermark, credit_bytes: 1 << 20 };
    let policy = |version, value: Option<&'static str>| RegionFrame::Policy {
        key: "acme/orders".to_owned(),
        version,
        writer: RegionId(2),
        value: value.map(|text| Bytes::from_static(text.as_bytes())),
    };
    let refused = |retry, reason: &str| RegionFrame::Refused { link: 9, retry, reason: reason.to_owned() };
    vec![
        (
            "hello",
            RegionFrame::Hello {
                version: REGION_PROTOCOL_VERSION,
                region: RegionName::parse("west").unwrap(),
                number: RegionId(2),
            },
        ),
        ("open", RegionFrame::Open { link: 9, topic }),
        ("opened empty", opened(None)),
        ("opened with a watermark", opened(Some(at(12, 34)))),
        ("refused for good", refused(false, "no such tenant")),
        ("refused for now", refused(true, "loading")),
        (
            "first entry",
            RegionFrame::Entry {
                link: 9,
                previous: Position::EARLIEST,
                position: at(12, 0),
                data: entry("head", "body"),
            },
        ),
        ("empty entry", RegionFrame::Entry { link: 9, previous: at(12, 0), position: at(12, 5), data: entry("", "") }),
        ("ack", RegionFrame::Ack { link: 9, position: at(12, 5), credit_bytes: 0 }),
        ("rewind to the beginning", RegionFrame::Rewind { link: 9, watermark: None }),
        ("rewind", RegionFrame::Rewind { link: 9, watermark: Some(at(12, 34)) }),
        ("close", RegionFrame::Close { link: 9, reason: "deleted".to_owned() }),
        ("policy", policy(5, Some("{}"))),
        ("policy removed", policy(6, None)),
    ]
}

#[test]
fn region_frames_have_fixed_bytes() {
    let mut table = golden(include_str!("../conformance/region.txt")).into_iter().collect();
    for (name, frame) in region_frames() {
        let bytes = take(&mut table, name);
        let mut pieces = Vec::new();
        encode(&frame, &mut pieces);
        assert_eq!(to_hex(&pieces.concat()), to_hex(&bytes), "wire I3: {name}");
        if let RegionFrame::Entry { data, .. } = &frame
            && !data.body.is_empty()
        {
            assert_eq!(pieces[1].as_ptr(), data.body.as_ptr(), "{name}: the body was copied");
        }
        let mut buf = BytesMut::from(&bytes[..]);
        assert_eq!(RegionFrameSplitter::new(1024).next(&mut buf), Ok(Some(frame)), "{name}");
        assert!(buf.is_empty());
    }
    assert!(table.is_empty(), "no frame for {:?}", table.keys());
}

const ID: RequestId = RequestId { owner: OwnerId(3), seq: 4 };
const LEDGER: LedgerId = LedgerId(12);

fn range(first: i64, end: i64) -> EntryRange {
    EntryRange { first: EntryId(first), end: EntryId(end) }
}

fn bookie_requests() -> Vec<(&'static str, BookieRequest)> {
    let (id, ledger) = (ID, LEDGER);
    let add = |entry, lac, recovery, data| BookieRequest::Add {
        id,
        ledger,
        entry: EntryId(entry),
        lac: EntryId(lac),
        recovery,
        data,
    };
    let read = |from, entries_max, bytes_max, fence| BookieRequest::Read {
        id,
        ledger,
        from: EntryId(from),
        entries_max,
        bytes_max,
        fence,
    };
    vec![
        ("add", add(5, 4, false, entry("head", "body"))),
        ("recovery add of an empty entry", add(0, -1, true, entry("", ""))),
        ("read", read(5, 100, 1 << 20, false)),
        ("fencing read", read(0, 1, 0, true)),
        ("read lac", BookieRequest::ReadLac { id, ledger, fence: true }),
        ("delete", BookieRequest::Delete { id, ledger }),
        ("repaired", BookieRequest::Repaired { id, ledger, loss: 2 }),
        ("limbo", BookieRequest::Limbo { id, after: ledger }),
        ("missing", BookieRequest::Missing { id, ledger, range: range(5, 9) }),
    ]
}

fn bookie_responses() -> Vec<(&'static str, BookieResponse)> {
    let (id, ledger) = (ID, LEDGER);
    let added = |outcome| BookieResponse::Added { id, ledger, entry: EntryId(5), outcome };
    let read = |outcome| BookieResponse::Read { id, ledger, outcome };
    let lac = |outcome| BookieResponse::Lac { id, ledger, outcome };
    let stored = |number: i64, data| StoredEntry { entry: EntryId(number), lac: EntryId(number - 1), data };
    let ledgers = vec![InLimbo { ledger, loss: 2 }, InLimbo { ledger: LedgerId(13), loss: 0 }];
    let entries = vec![stored(5, entry("h1", "b1")), stored(6, entry("h2", ""))];
    vec![
        ("stored", added(AddOutcome::Stored)),
        ("add unknown", added(AddOutcome::Unknown)),
        ("fenced", added(AddOutcome::Fenced)),
        ("read only", added(AddOutcome::ReadOnly)),
        ("entries", read(ReadOutcome::Entries(entries))),
        ("read unknown", read(ReadOutcome::Unknown)),
        ("no such entry", read(ReadOutcome::NoSuchEntry)),
        ("no such ledger", read(ReadOutcome::NoSuchLedger)),
        ("lac", lac(LacOutcome::Lac { lac: EntryId(4), last: EntryId(5) })),
        ("lac unknown", lac(LacOutcome::Unknown)),
        ("lac of no ledger", lac(LacOutcome::NoSuchLedger)),
        ("deleted", BookieResponse::Deleted { id, ledger }),
        ("limbo lifted", BookieResponse::Repaired { id, ledger, lifted: true }),
        ("limbo not lifted", BookieResponse::Repaired { id, ledger, lifted: false }),
        ("limbo not measured", BookieResponse::Limbo { id, found: LimboFound::Unmeasured }),
        ("in limbo", BookieResponse::Limbo { id, found: LimboFound::Ledgers { ledgers, more: true } }),
        ("misses", BookieResponse::Missing { id, ledger, until: EntryId(9), ranges: vec![range(5, 6), range(8, 9)] }),
    ]
}

/// The one frame in `bytes`, without its length.
fn only_frame(bytes: &[u8]) -> Bytes {
    let mut buf = BytesMut::from(bytes);
    let frame = BookieFrameSplitter::new(1024).next(&mut buf).unwrap().unwrap();
    assert!(buf.is_empty());
    frame
}

#[test]
fn bookie_frames_have_fixed_bytes() {
    let mut table = golden(include_str!("../conformance/bookie.txt")).into_iter().collect();
    for (name, request) in bookie_requests() {
        let bytes = take(&mut table, name);
        let mut pieces = Vec::new();
        encode_request(&request, &mut pieces);
        assert_eq!(to_hex(&pieces.concat()), to_hex(&bytes), "wire I3: {name}");
        assert_eq!(decode_request(&only_frame(&bytes)), Ok(request), "{name}");
        assert!(decode_response(&only_frame(&bytes)).is_err(), "{name} is no response");
    }
    for (name, response) in bookie_responses() {
        let bytes = take(&mut table, name);
        let mut pieces = Vec::new();
        encode_response(&response, &mut pieces);
        assert_eq!(to_hex(&pieces.concat()), to_hex(&bytes), "wire I3: {name}");
        assert_eq!(decode_response(&only_frame(&bytes)), Ok(response), "{name}");
        assert!(decode_request(&only_frame(&bytes)).is_err(), "{name} is no request");
    }
    assert!(table.is_empty(), "no frame for {:?}", table.keys());
}
