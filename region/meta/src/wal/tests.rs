//! The file format: golden bytes, and what a start makes of every cut, every flipped bit and every torn write.

use super::file::LogFile;
use super::group::{FILE_HEADER_LEN, FileHeader, Group, GroupHead};
use super::scan::{Scan, scan};
use super::*;
use crate::error::OpenError;
use crate::raft_types::{Entry, LogId, Vote, WriteBatch};
use bytes::{Bytes, BytesMut};
use meta_api::MetaRequest;
use openraft::{CommittedLeaderId, EntryPayload, Membership};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::path::PathBuf;
use tempfile::TempDir;

const SMALL: FileOptions = FileOptions { ahead_bytes: 512, rewrite_bytes_min: 4096, file_bytes_max: 1 << 20 };

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(term, 1), index)
}

fn encoded(record: &LogRecord) -> Bytes {
    let mut out = BytesMut::new();
    record.encode(&mut out);
    out.freeze()
}

fn entry(index: u64, payload: EntryPayload<crate::raft_types::RaftTypes>) -> LogRecord {
    LogRecord::Entry(Entry { log_id: log_id(2, index), payload })
}

fn all_records() -> Vec<LogRecord> {
    let batch = vec![MetaRequest::Get { key: "k".into() }, MetaRequest::Reserve { key: "n".into(), by: 1 }];
    vec![
        LogRecord::Vote(Vote::new(3, 1)),
        LogRecord::Vote(Vote::new_committed(3, 1)),
        LogRecord::Committed(None),
        LogRecord::Committed(Some(log_id(2, 9))),
        LogRecord::Purged(log_id(2, 4)),
        LogRecord::Truncate(log_id(2, 8)),
        entry(9, EntryPayload::Blank),
        entry(10, EntryPayload::Normal(WriteBatch::new(batch))),
        entry(11, EntryPayload::Membership(Membership::new(vec![BTreeSet::from([1, 2])], None))),
    ]
}

/// A log file in a directory of its own, and the offsets at which its groups start.
struct Written {
    _dir: TempDir,
    path: PathBuf,
    starts: Vec<usize>,
}

/// Writes one synced group per body, each with its witness behind it, as the writer thread does.
fn write_log(bodies: &[&[u8]]) -> Written {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut file = LogFile::create(&path, 1, 77, SMALL).unwrap();
    let mut starts = Vec::new();
    for body in bodies {
        starts.push(file.used() as usize);
        file.append(&[Bytes::copy_from_slice(body)]).unwrap();
        file.sync().unwrap();
        file.append_witness().unwrap();
    }
    Written { _dir: dir, path, starts }
}

fn bodies_of<'a>(bytes: &'a [u8], found: &Scan) -> Vec<&'a [u8]> {
    found.bodies.iter().map(|body| &bytes[body.clone()]).collect()
}

#[test]
fn the_file_has_these_golden_bytes() {
    let written = write_log(&[b"abc"]);
    let bytes = std::fs::read(&written.path).unwrap();
    let header = "4d444e524146540101000000000000004d000000000000000100000000000000010000000000000000000000\
                  0000000000000000000000000000000064bff25f";
    assert_eq!(hex(&bytes[..FILE_HEADER_LEN]), header);
    let group = "4d44475003000000010000000000000000000000000000004d00000000000000400000000000000064bff25fdb\
                  1b32246162630000000000";
    assert_eq!(hex(&bytes[64..120]), group);
    let witness = "4d44475000000000020000000000000001000000000000004d000000000000007800000000000000db1b3224e7\
                  24c934";
    assert_eq!(hex(&bytes[120..168]), witness);
    assert!(bytes[168..].iter().all(|byte| *byte == 0), "Wal I4: zeros behind the last group");
}

#[test]
fn records_have_these_golden_bytes() {
    let bytes: Vec<String> = all_records().iter().map(|record| hex(&encoded(record))).collect();
    assert_eq!(
        bytes,
        [
            "010300000000000000010000000000000000",
            "010300000000000000010000000000000001",
            "0200000000000000000000000000000000000000000000000000",
            "0201020000000000000001000000000000000900000000000000",
            "03020000000000000001000000000000000400000000000000",
            "04020000000000000001000000000000000800000000000000",
            "050200000000000000010000000000000009000000000000000000000000",
            "05020000000000000001000000000000000a000000000000000122000000020000000700000001000100\
             00006b0f000000010301000000\
             6e0100000000000000",
            "05020000000000000001000000000000000b00000000000000022b0000007b22636f6e66696773223a5b\
             5b312c325d5d2c226e6f646573223a7b2231223a7b7d2c22\
             32223a7b7d7d7d",
        ]
        .map(|line| line.replace(' ', ""))
    );
}

#[test]
fn every_record_survives_its_bytes_and_no_cut_of_them() {
    let mut body = BytesMut::new();
    all_records().iter().for_each(|record| record.encode(&mut body));
    let decoded = LogRecord::decode_all(&body).unwrap();
    assert_eq!(decoded.iter().map(|(_, len)| len).sum::<usize>(), body.len());
    assert_eq!(decoded.into_iter().map(|(record, _)| record).collect::<Vec<_>>(), all_records());
    for record in all_records() {
        let bytes = encoded(&record);
        (1..bytes.len())
            .for_each(|len| assert!(LogRecord::decode_all(&bytes[..len]).is_err(), "{record:?} cut to {len}"));
    }
}

#[test]
fn a_cut_at_any_byte_leaves_the_groups_before_it() {
    let written = write_log(&[b"first", b"second group", b"", b"fourth"]);
    let bytes = std::fs::read(&written.path).unwrap();
    let whole = scan(&bytes).unwrap();
    for cut in 0..whole.tail {
        let zeros = bytes.len() - cut;
        let shortened = bytes[..cut].to_vec();
        let zeroed = [&bytes[..cut], &vec![0; zeros]].concat();
        let littered = [&bytes[..cut], &vec![0xa5; zeros]].concat();
        for file in [shortened, zeroed, littered] {
            if cut < FILE_HEADER_LEN {
                // A cut among the header's trailing zeros of an otherwise whole header is no cut at all.
                assert!(scan(&file).is_err() || file[..FILE_HEADER_LEN] == bytes[..FILE_HEADER_LEN], "cut at {cut}");
                continue;
            }
            let found = scan(&file).unwrap();
            let expected = whole.bodies.iter().filter(|body| group_end(body.end) <= cut).count();
            // Padding is zeros: a zeroed file may still hold the group whose padding was cut.
            assert!((expected..=expected + 1).contains(&found.bodies.len()), "cut at {cut}");
            assert_eq!(bodies_of(&file, &found), bodies_of(&bytes, &whole)[..found.bodies.len()]);
        }
    }
}

fn group_end(body_end: usize) -> usize {
    body_end.next_multiple_of(8)
}

#[test]
fn a_flipped_bit_in_a_durable_group_is_damage_and_names_the_group() {
    let written = write_log(&[b"first", b"second group", b"third"]);
    let bytes = std::fs::read(&written.path).unwrap();
    let whole = scan(&bytes).unwrap();
    let last_durable_end = group_end(whole.bodies[4].end);
    for bit in FILE_HEADER_LEN * 8..last_durable_end * 8 {
        let mut file = bytes.clone();
        file[bit / 8] ^= 1 << (bit % 8);
        let damage = scan(&file).expect_err("a durable group was damaged");
        let start = whole.bodies.iter().map(|body| body.start - 48).filter(|start| *start <= bit / 8).max();
        assert_eq!(Some(damage.offset), start, "bit {bit}: {}", damage.what);
    }
    for bit in 0..FILE_HEADER_LEN * 8 {
        let mut file = bytes.clone();
        file[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(scan(&file).expect_err("the header was damaged").offset, 0);
    }
    for bit in last_durable_end * 8..whole.tail * 8 {
        let mut file = bytes.clone();
        file[bit / 8] ^= 1 << (bit % 8);
        // The last witness itself was never promised to anybody.
        assert_eq!(scan(&file).unwrap().bodies.len(), 5, "bit {bit}");
    }
}

#[test]
fn a_durable_group_that_turned_to_zeros_or_moved_is_damage() {
    let written = write_log(&[b"first", b"other", b"third"]);
    let bytes = std::fs::read(&written.path).unwrap();
    let (first, second, len) = (written.starts[0], written.starts[1], 56);
    let mut zeroed = bytes.clone();
    zeroed[second..second + len].fill(0);
    assert_eq!(scan(&zeroed).unwrap_err().offset, second);
    let mut swapped = bytes.clone();
    swapped[first..first + len].copy_from_slice(&bytes[second..second + len]);
    swapped[second..second + len].copy_from_slice(&bytes[first..first + len]);
    assert_eq!(scan(&swapped).unwrap_err().offset, first);
    let mut doubled = bytes.clone();
    doubled[second..second + len].copy_from_slice(&bytes[first..first + len]);
    assert_eq!(scan(&doubled).unwrap_err().offset, second);
}

#[test]
fn a_group_lost_before_a_later_one_of_the_same_fsync_is_a_torn_tail() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut file = LogFile::create(&path, 1, 77, SMALL).unwrap();
    file.append(&[Bytes::from_static(b"durable")]).unwrap();
    file.sync().unwrap();
    let start = file.used() as usize;
    // A power cut before the next fsync may keep any of these and lose any other.
    file.append(&[Bytes::from_static(b"lost"), Bytes::from_static(b"kept"), Bytes::from_static(b"kept too")]).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[start..start + 56].fill(0);
    let found = scan(&bytes).unwrap();
    assert_eq!(bodies_of(&bytes, &found), [b"durable"]);
    assert_eq!((found.tail, found.torn.start), (start, start));
    std::fs::write(&path, &bytes).unwrap();
    let opened = LogFile::open(&path, SMALL);
    // The bodies of this test are no records; the group that stands is the first that does not decode.
    assert!(matches!(opened, Err(OpenError::Damaged { offset: 112, .. })), "{opened:?}");
}

#[test]
fn what_looks_like_a_group_inside_a_value_proves_nothing_without_the_streams_number() {
    let mut forged = Vec::new();
    // Offset 248 is where the forgery will stand; everything but the stream number is as it would be.
    GroupHead { seq: 9, durable_seq: 9, stream: 78, offset: 248, prev_crc: 0 }.encode(b"", &mut forged);
    let body = [&[1u8; 32][..], &forged].concat();
    let written = write_log(&[b"first", &body]);
    let mut bytes = std::fs::read(&written.path).unwrap();
    let start = written.starts[1];
    // The group's own head is torn, its body reached the disk, its witness did not.
    bytes[start + 8] ^= 1;
    let end = start + 48 + body.len();
    bytes[end..].fill(0);
    let found = scan(&bytes).unwrap();
    assert_eq!(bytes[248..252], forged[..4], "the forgery stands at its offset");
    assert_eq!(found.tail, start);
}

#[test]
fn a_file_that_was_cut_short_anywhere_is_refused_and_a_step_half_grown_is_not() {
    let vote = encoded(&LogRecord::Vote(Vote::new(1, 1)));
    let written = write_log(&vec![&vote[..]; 40]);
    let bytes = std::fs::read(&written.path).unwrap();
    let (step, tail) = (usize::try_from(SMALL.ahead_bytes).unwrap(), scan(&bytes).unwrap().tail);
    assert!(tail > 3 * step, "cuts between two steps are among these");
    for cut in FILE_HEADER_LEN..tail + 8 {
        std::fs::write(&written.path, &bytes[..cut]).unwrap();
        match LogFile::open(&written.path, SMALL) {
            Err(OpenError::Damaged { offset, what, .. }) => {
                assert!(offset == cut as u64 && what.contains("cut short"), "cut at {cut}: {what}");
                assert_eq!(std::fs::read(&written.path).unwrap(), bytes[..cut], "it is left as it was found");
            }
            other => panic!("cut at {cut}: {other:?}"),
        }
    }
    for cut in tail + 8..bytes.len() {
        std::fs::write(&written.path, &bytes[..cut]).unwrap();
        let found = LogFile::open(&written.path, SMALL).unwrap();
        assert_eq!((found.records.len(), found.torn_bytes), (40, 0), "cut at {cut}");
        assert_eq!(std::fs::metadata(&written.path).unwrap().len(), cut.next_multiple_of(step) as u64, "Wal I5");
    }
}

#[test]
fn a_group_that_ends_with_a_step_is_missed_when_the_file_ends_there() {
    let vote = encoded(&LogRecord::Vote(Vote::new(1, 1)));
    let fills = Bytes::from(vec![0; 512 - 64 - 48]);
    let written = write_log(&[&fills, &vote]);
    let bytes = std::fs::read(&written.path).unwrap();
    assert_eq!(scan(&bytes).unwrap().bodies[0].end, 512);
    std::fs::write(&written.path, &bytes[..512]).unwrap();
    let refused = LogFile::open(&written.path, SMALL);
    assert!(matches!(refused, Err(OpenError::Damaged { offset: 512, .. })), "{refused:?}");
}

/// The same groups in a file of a version that did not know Wal I6.
fn as_older(bytes: &[u8]) -> Vec<u8> {
    let (header, _) = FileHeader::decode(bytes).unwrap();
    let (header, mut prev_crc) = FileHeader { room_first: false, ..header }.encode();
    let mut older = header.to_vec();
    while let Some(group) = Group::decode(bytes, older.len()) {
        prev_crc = GroupHead { prev_crc, ..group.head }.encode(group.body, &mut older);
    }
    older.resize(bytes.len(), 0);
    older
}

#[test]
fn a_file_of_an_older_version_that_was_cut_short_is_refused_unless_it_ends_between_two_steps() {
    let vote = encoded(&LogRecord::Vote(Vote::new(1, 1)));
    let written = write_log(&vec![&vote[..]; 40]);
    let bytes = as_older(&std::fs::read(&written.path).unwrap());
    let (step, whole) = (usize::try_from(SMALL.ahead_bytes).unwrap(), scan(&bytes).unwrap());
    assert!(bytes.len().is_multiple_of(step) && whole.tail > 3 * step, "Wal I5");
    let (mut refused, mut opened) = (0, 0);
    for cut in FILE_HEADER_LEN..whole.tail {
        std::fs::write(&written.path, &bytes[..cut]).unwrap();
        match LogFile::open(&written.path, SMALL) {
            Err(OpenError::Damaged { offset, .. }) => {
                assert!(offset == cut as u64 && !cut.is_multiple_of(step), "cut at {cut}");
                assert_eq!(std::fs::read(&written.path).unwrap(), bytes[..cut], "it is left as it was found");
                refused += 1;
            }
            // So much may be left by a crash in the middle of growing: no group in the last step has a witness.
            Ok(found) => {
                let next = cut.next_multiple_of(step);
                assert!(found.file.used() <= (cut / step * step + 2 * whole.bodies[0].end) as u64, "cut at {cut}");
                assert_eq!(std::fs::metadata(&written.path).unwrap().len(), next as u64, "Wal I5");
                opened += 1;
            }
            Err(error) => panic!("cut at {cut}: {error}"),
        }
    }
    assert!(refused > opened, "{refused} refused, {opened} opened");
}

#[test]
fn no_group_ends_where_the_file_ends() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut file = LogFile::create(&path, 1, 77, SMALL).unwrap();
    let step = SMALL.ahead_bytes;
    for end in [step, 2 * step, 5 * step] {
        let body = vec![7; usize::try_from(end - file.used()).unwrap() - 48];
        file.append(&[Bytes::from(body)]).unwrap();
        assert_eq!((file.used(), std::fs::metadata(&path).unwrap().len()), (end, end + step), "Wal I6");
        assert!(file.room() < step, "what stays free at the end is no room");
    }
}

#[test]
fn a_file_of_an_older_version_goes_on_as_it_is_and_is_a_new_one_once_rewritten() {
    let vote = encoded(&LogRecord::Vote(Vote::new(1, 1)));
    let written = write_log(&[&vote, &vote]);
    std::fs::write(&written.path, as_older(&std::fs::read(&written.path).unwrap())).unwrap();
    let room_first = || FileHeader::decode(&std::fs::read(&written.path).unwrap()).unwrap().0.room_first;
    let Opened { mut file, records, .. } = LogFile::open(&written.path, SMALL).unwrap();
    file.append(std::slice::from_ref(&vote)).unwrap();
    file.sync().unwrap();
    assert_eq!((records.len(), room_first()), (2, false));
    let Opened { mut file, records, .. } = LogFile::open(&written.path, SMALL).unwrap();
    assert_eq!(records.len(), 3);
    file.replace(std::slice::from_ref(&vote)).unwrap();
    assert!(room_first());
    assert_eq!(LogFile::open(&written.path, SMALL).unwrap().records.len(), 1);
}

#[test]
fn a_torn_tail_is_zeroed_and_the_log_goes_on_behind_it() {
    let vote = encoded(&LogRecord::Vote(Vote::new(1, 1)));
    let written = write_log(&[&vote, &vote]);
    let bytes = std::fs::read(&written.path).unwrap();
    let cut = written.starts[1] + 20;
    let torn = [&bytes[..cut], &vec![0; bytes.len() - cut]].concat();
    std::fs::write(&written.path, torn).unwrap();
    let Opened { mut file, records, torn_bytes } = LogFile::open(&written.path, SMALL).unwrap();
    assert_eq!((records.len(), torn_bytes > 0), (1, true));
    let later = LogRecord::Vote(Vote::new(2, 1));
    file.append(&[encoded(&later)]).unwrap();
    file.sync().unwrap();
    drop(file);
    let Opened { records, torn_bytes, .. } = LogFile::open(&written.path, SMALL).unwrap();
    assert_eq!(records.last().map(|found| found.record.clone()), Some(later));
    assert_eq!((records.len(), torn_bytes), (2, 0));
}

#[test]
fn a_refused_file_is_left_as_it_was_and_the_error_names_file_offset_and_remedy() {
    let vote = encoded(&LogRecord::Vote(Vote::new(1, 1)));
    let written = write_log(&[&vote, &vote]);
    let mut bytes = std::fs::read(&written.path).unwrap();
    bytes[written.starts[0] + 50] ^= 4;
    std::fs::write(&written.path, &bytes).unwrap();
    let error = LogFile::open(&written.path, SMALL).unwrap_err().to_string();
    for part in [written.path.to_str().unwrap(), "at byte 64", "backup", "join again as a new node"] {
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(std::fs::read(&written.path).unwrap(), bytes);
}

#[test]
fn a_full_disk_fails_growing_and_leaves_the_file_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let options = FileOptions { file_bytes_max: 2048, ..SMALL };
    let mut file = LogFile::create(&path, 1, 77, options).unwrap();
    let vote = encoded(&LogRecord::Vote(Vote::new(1, 1)));
    let mut kept = 0;
    let failure = loop {
        match file.append(std::slice::from_ref(&vote)) {
            Ok(()) => kept += 1,
            Err(failure) => break failure,
        }
    };
    assert!(failure.is_full() && kept > 10, "{failure} after {kept}");
    let entries = vec![Bytes::from(vec![0; 4096])];
    assert!(file.replace(&entries).unwrap_err().is_full());
    assert!(!path.with_extension(NEW).exists(), "an unfinished replacement gives its space back");
    file.sync().unwrap();
    drop(file);
    assert_eq!(LogFile::open(&path, options).unwrap().records.len(), kept);
}

#[test]
fn a_replaced_file_holds_just_the_new_groups_and_goes_on() {
    let vote = |term| encoded(&LogRecord::Vote(Vote::new(term, 1)));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut file = LogFile::create(&path, 1, 77, SMALL).unwrap();
    (1..50).for_each(|term| file.append(&[vote(term)]).unwrap());
    let before = file.used();
    file.replace(&[vote(50)]).unwrap();
    assert!(file.used() < before / 10);
    file.append(&[vote(51)]).unwrap();
    file.sync().unwrap();
    drop(file);
    let opened = LogFile::open(&path, SMALL).unwrap();
    let terms: Vec<LogRecord> = opened.records.into_iter().map(|found| found.record).collect();
    assert_eq!(terms, [LogRecord::Vote(Vote::new(50, 1)), LogRecord::Vote(Vote::new(51, 1))]);
    assert_eq!(opened.file.stream(), 77);
}

proptest! {
    /// A power cut keeps any subset of the sectors of a write that no fsync had confirmed.
    #[test]
    fn any_torn_last_write_leaves_all_durable_groups(
        durable in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..4),
        last in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..1500), 1..3),
        kept in prop::collection::vec(any::<bool>(), 16),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut file = LogFile::create(&path, 1, 77, SMALL).unwrap();
        for body in &durable {
            file.append(&[Bytes::copy_from_slice(body)]).unwrap();
            file.sync().unwrap();
        }
        let start = file.used() as usize;
        let bodies: Vec<Bytes> = last.iter().map(|body| Bytes::copy_from_slice(body)).collect();
        file.append(&bodies).unwrap();
        let end = file.used() as usize;
        let mut bytes = std::fs::read(&path).unwrap();
        for (index, sector) in (start / 512..end.div_ceil(512)).enumerate() {
            if !kept[index % kept.len()] {
                let range = (sector * 512).max(start)..((sector + 1) * 512).min(bytes.len());
                bytes[range].fill(0);
            }
        }
        let found = scan(&bytes).unwrap();
        let stands = bodies_of(&bytes, &found);
        let all: Vec<&[u8]> = durable.iter().chain(&last).map(Vec::as_slice).collect();
        prop_assert!(stands.len() >= durable.len());
        prop_assert_eq!(&stands[..], &all[..stands.len()]);
    }
}
