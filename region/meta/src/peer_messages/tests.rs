//! Golden bytes, round trips, damage.

use super::*;
use crate::raft_types::Entry;
use base::NodeId;
use bytes::Bytes;
use meta_api::{Compare, MetaRequest, Versioned, Write};
use openraft::{CommittedLeaderId, EntryPayload, Membership, SnapshotMeta, Vote};
use std::collections::BTreeSet;

fn log_id(index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(3, 2), index)
}

fn txn() -> MetaRequest {
    let compare = vec![Compare::Version { key: "/a".to_owned(), version: 7 }];
    MetaRequest::Txn { compare, writes: vec![Write::Put { key: "/a".to_owned(), value: Bytes::from_static(b"v") }] }
}

fn membership() -> StoredMembership {
    let configs = vec![BTreeSet::from([1]), BTreeSet::from([1, 2])];
    StoredMembership::new(Some(log_id(4)), Membership::new(configs, BTreeSet::from([1, 2, 3])))
}

fn requests() -> Vec<PeerRequest> {
    let entries = vec![
        Entry { log_id: log_id(5), payload: EntryPayload::Blank },
        Entry { log_id: log_id(6), payload: EntryPayload::Normal(WriteBatch::new(vec![txn()])) },
        Entry { log_id: log_id(7), payload: EntryPayload::Membership(membership().membership().clone()) },
    ];
    let vote = Vote::new_committed(3, 2);
    let meta =
        SnapshotMeta { last_log_id: Some(log_id(4)), last_membership: membership(), snapshot_id: "s".to_owned() };
    vec![
        PeerRequest::Append(AppendEntriesRequest { vote, prev_log_id: None, entries, leader_commit: Some(log_id(4)) }),
        PeerRequest::Vote(VoteRequest { vote: Vote::new(4, 1), last_log_id: Some(log_id(4)) }),
        PeerRequest::Snapshot(InstallSnapshotRequest { vote, meta, offset: 3, data: vec![0, 128, 255], done: true }),
        PeerRequest::Write(WriteBatch::new(vec![txn(), MetaRequest::Reserve { key: "/n".to_owned(), by: 300 }])),
        PeerRequest::ReadIndex,
        PeerRequest::Change(MemberChange::Promote(NodeId(9))),
        PeerRequest::Membership,
        PeerRequest::HasRoom,
        PeerRequest::Read(MetaRequest::Get { key: "/a".to_owned() }),
    ]
}

fn responses() -> Vec<PeerResponse> {
    let actual = Some(Versioned { value: Bytes::from_static(b"w"), version: 8 });
    let vote = Vote::new(4, 1);
    vec![
        PeerResponse::Append(AppendEntriesResponse::HigherVote(vote)),
        PeerResponse::Vote(VoteResponse { vote, vote_granted: true, last_log_id: None }),
        PeerResponse::Snapshot(InstallSnapshotResponse { vote }),
        PeerResponse::Write(vec![
            WriteOutcome::Answered(MetaResponse::Conflict { index: 0, actual }),
            WriteOutcome::NotProposed,
        ]),
        PeerResponse::ReadIndex(Some(log_id(4))),
        PeerResponse::Change(Err(MemberError::Behind { node: NodeId(9), entries: 1000 })),
        PeerResponse::Membership(membership()),
        PeerResponse::NotLeader,
        PeerResponse::HasRoom(true),
        PeerResponse::Read(MetaResponse::Value(None)),
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn messages_have_these_bytes() {
    let encoded: Vec<String> = requests().iter().map(|request| hex(&request.encode().unwrap())).collect();
    assert_eq!(encoded, GOLDEN_REQUESTS);
    let encoded: Vec<String> = responses().iter().map(|response| hex(&response.encode().unwrap())).collect();
    assert_eq!(encoded, GOLDEN_RESPONSES);
}

#[test]
fn what_was_encoded_reads_back() {
    for request in requests() {
        let read = PeerRequest::decode(&request.encode().unwrap()).unwrap();
        assert_eq!(format!("{read:?}"), format!("{request:?}"));
    }
    for response in responses() {
        let read = PeerResponse::decode(&response.encode().unwrap()).unwrap();
        assert_eq!(format!("{read:?}"), format!("{response:?}"));
    }
}

#[test]
fn every_cut_and_every_damaged_byte_is_refused() {
    for bytes in requests().iter().map(|request| request.encode().unwrap()) {
        for at in 0..bytes.len() {
            assert!(PeerRequest::decode(&bytes[..at]).is_err(), "cut at {at}");
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert!(PeerRequest::decode(&damaged).is_err(), "damaged at {at}");
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert!(PeerRequest::decode(&longer).is_err());
    }
}

#[test]
fn another_format_and_bytes_behind_the_end_are_told_apart_from_damage() {
    let seal = |mut bytes: Vec<u8>| {
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    };
    assert_eq!(PeerRequest::decode(&seal(vec![9, 4])).unwrap_err(), PeerCodecError::Format { format: 9 });
    let behind = PeerRequest::decode(&seal(vec![FORMAT, 4, 0])).unwrap_err();
    assert!(behind.to_string().contains("behind its end"), "{behind}");
    assert!(PeerRequest::decode(&seal(vec![FORMAT, 77])).is_err(), "an unknown request");
}

#[test]
fn a_message_above_the_limit_is_neither_made_nor_read() {
    let value = Bytes::from(vec![0; PEER_MESSAGE_BYTES_MAX]);
    let write = MetaRequest::Txn { compare: vec![], writes: vec![Write::Put { key: "/a".to_owned(), value }] };
    let refused = PeerRequest::Write(WriteBatch::new(vec![write])).encode();
    assert!(matches!(refused, Err(PeerCodecError::TooLarge { .. })), "PeerMessages I1");
    let refused = PeerRequest::decode(&vec![0; PEER_MESSAGE_BYTES_MAX + 1]);
    assert!(matches!(refused, Err(PeerCodecError::TooLarge { .. })), "PeerMessages I1");
}

const GOLDEN_REQUESTS: [&str; 9] = [
    "01000302010003030205000302060101020101022f61070100022f610176030207020201010201020301020301030204ed5e788f",
    "0101040100010302043ea0839b",
    "0102030201010302040103020402010102010203010203017303030080ff012952c7f2",
    "010302020101022f61070100022f61017603022f6eac0293c2915e",
    "0104ba785925",
    "01050109a094adc5",
    "01064d0862c4",
    "01074e8b0936",
    "010800022f6191b74d39",
];
const GOLDEN_RESPONSES: [&str; 10] = [
    "010003040100c7a24457",
    "01010401000100c3a1af12",
    "01020401007506784f",
    "0104020003000101770801067c01e3",
    "010501030204b50bfab7",
    "0106010109e80712c081f0",
    "01070103020402010102010203010203d58a9520",
    "01086ab71a68",
    "010901c8e9f8b9",
    "010a0000b78d1ce2",
];
