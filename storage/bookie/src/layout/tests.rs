//! Random logs, cut and damaged at every grain: no invented entry, the acknowledged prefix kept, torn told from corrupt.

use super::*;
use crate::disk::{AppendId, FileId, Placement};
use crate::memory_disk::{Files, MemoryDisk, recover_files};
use base::{EntryData, EntryId, LedgerId};
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::BTreeMap;

const OPTIONS: LayoutOptions = LayoutOptions { file_bytes: 128 << 10, group_bytes_max: 16 << 10 };

/// One entry per number: content follows from the identity, so that an invented one is noticed.
fn data(ledger: u64, entry: i64, len: usize) -> EntryData {
    let seed = ledger.wrapping_mul(31).wrapping_add(entry.unsigned_abs());
    let body: Vec<u8> =
        (0..len as u64).map(|i| (seed.wrapping_mul(0x9e37_79b9).wrapping_add(i * 7) >> 3) as u8).collect();
    EntryData::new(Bytes::copy_from_slice(&seed.to_le_bytes()), Bytes::from(body))
}

/// File, offset and padded length of a group.
type Group = (FileId, u64, u64);

struct Written {
    disk: MemoryDisk,
    /// What stands where, and in which group it came.
    entries: Vec<(LedgerId, EntryId, usize, Placement, Group)>,
    groups: Vec<Group>,
}

/// Writes batches of (ledger, length); entries count up per ledger.
fn write(batches: &[Vec<(u64, usize)>], options: LayoutOptions) -> Written {
    let (disk, log) = MemoryDisk::open(Files::new(), options, 1);
    assert!(log.files.is_empty() && log.damage.is_empty());
    let mut written = Written { disk, entries: Vec::new(), groups: Vec::new() };
    let (mut next, mut names, mut id) = (BTreeMap::<u64, i64>::new(), BTreeMap::new(), 0);
    for batch in batches {
        for &(ledger, len) in batch {
            let entry = next.entry(ledger).or_insert(0);
            let record =
                entry_record(LedgerId(ledger), EntryId(*entry), EntryId(*entry - 1), data(ledger, *entry, len));
            written.disk.writer.push(AppendId(id), record);
            names.insert(AppendId(id), (LedgerId(ledger), EntryId(*entry), len));
            *entry += 1;
            id += 1;
        }
        while let Some(plan) = written.disk.next_plan() {
            written.disk.write_part(&plan, usize::MAX);
            let group = (plan.file, plan.offset, plan.len());
            written.groups.push(group);
            for (id, placement) in plan.placements {
                let (ledger, entry, len) = names[&id];
                written.entries.push((ledger, entry, len, placement, group));
            }
        }
    }
    written
}

/// Reads one entry through the recovered indexes, as the bookie does; `Err(true)` = indexed but damaged.
fn read(log: &RecoveredLog, files: &Files, ledger: LedgerId, entry: EntryId) -> Result<EntryData, bool> {
    for file in log.files.iter().rev() {
        let Some(found) = file.index.ledgers.get(&ledger) else { continue };
        let covers = |r: &&FileRun| (r.first.0..r.first.0 + i64::from(r.count)).contains(&entry.0);
        if let Some(run) = found.runs.iter().find(covers) {
            let block = &files[&file.file][run.offset as usize..(run.offset + run.span) as usize];
            let walk = Walk::new(Bytes::copy_from_slice(block), u64::from(run.offset));
            let got = collect(walk, ledger, entry, 1, 0);
            return got.entries.into_iter().next().map(|e| e.data).ok_or(true);
        }
    }
    Err(false)
}

/// Every indexed entry was written, with this content. Of `offered` entries may be there, though nobody was told.
fn assert_nothing_invented(log: &RecoveredLog, files: &Files, written: &Written, offered: Option<LedgerId>) {
    for file in &log.files {
        for (ledger, found) in file.index.ledgers.iter().filter(|(ledger, _)| Some(**ledger) != offered) {
            for run in &found.runs {
                for entry in (run.first.0..).take(run.count as usize).map(EntryId) {
                    let known = written.entries.iter().find(|w| w.0 == *ledger && w.1 == entry);
                    let (_, _, len, ..) = known.unwrap_or_else(|| panic!("{ledger}:{entry} was never written"));
                    if let Ok(got) = read(log, files, *ledger, entry) {
                        assert_eq!(got, data(ledger.0, entry.0, *len));
                    }
                }
            }
        }
    }
}

fn batches() -> impl Strategy<Value = Vec<Vec<(u64, usize)>>> {
    let record = (1u64..6, prop_oneof![8 => 0usize..600, 2 => 3000usize..9000, 1 => 20_000usize..40_000]);
    proptest::collection::vec(proptest::collection::vec(record, 1..12), 1..14)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_reopened_log_gives_every_entry_back(batches in batches()) {
        let written = write(&batches, OPTIONS);
        let recovery = recover_files(&written.disk.files, OPTIONS);
        prop_assert_eq!(&recovery.log.damage, &vec![]);
        prop_assert!(recovery.log.lost.is_empty() && recovery.log.torn.is_none());
        for (ledger, entry, len, ..) in &written.entries {
            let got = read(&recovery.log, &written.disk.files, *ledger, *entry);
            prop_assert_eq!(got, Ok(data(ledger.0, entry.0, *len)));
        }
    }

    #[test]
    fn a_torn_last_group_is_cut_and_everything_before_it_is_kept(
        batches in batches(), torn_len in 0usize..40_000, grain in prop_oneof![Just(1usize), Just(512), Just(4096)],
        garbage in any::<bool>(),
    ) {
        let mut written = write(&batches, OPTIONS);
        let disk = &mut written.disk;
        for (entry, len) in [(0, 700), (1, 5000), (2, 0)] {
            let record = entry_record(LedgerId(9), EntryId(entry), EntryId::NONE, data(9, entry, len));
            disk.writer.push(AppendId(1_000_000 + entry as u64), record);
        }
        let mut plan = disk.next_plan().unwrap();
        while let Some(next) = disk.next_plan() {
            disk.write_part(&plan, usize::MAX); // Everything but the last write is durable.
            plan = next;
        }
        // Of the last one a prefix in grains reached the disk, perhaps its last block too.
        let (flat, at) = (plan.buffers.concat(), usize::try_from(plan.offset).unwrap());
        let last_block = flat.len() - 4096;
        disk.write_part(&plan, (torn_len / grain * grain).min(flat.len() - 1));
        if garbage {
            disk.files.get_mut(&plan.file).unwrap()[at + last_block..at + flat.len()].copy_from_slice(&flat[last_block..]);
        }
        let recovery = recover_files(&written.disk.files, OPTIONS);
        prop_assert_eq!(&recovery.log.damage, &vec![]);
        prop_assert!(recovery.log.lost.is_empty());
        assert_nothing_invented(&recovery.log, &written.disk.files, &written, Some(LedgerId(9)));
        for (ledger, entry, len, ..) in &written.entries {
            let got = read(&recovery.log, &written.disk.files, *ledger, *entry);
            prop_assert_eq!(got, Ok(data(ledger.0, entry.0, *len)));
        }
    }

    #[test]
    fn a_flipped_bit_is_never_taken_for_absence(batches in batches(), file in 0usize..8, at in any::<u32>(), bit in 0u8..8) {
        let mut written = write(&batches, OPTIONS);
        let ids: Vec<FileId> = written.disk.files.keys().copied().collect();
        let content = written.disk.files.get_mut(&ids[file % ids.len()]).unwrap();
        let at = at as usize % content.len();
        content[at] ^= 1 << bit;
        check_damaged(&written)?;
    }

    #[test]
    fn a_zeroed_or_swapped_block_is_never_taken_for_absence(
        batches in batches(), grain in prop_oneof![Just(512usize), Just(4096)], from in any::<u32>(), to in any::<u32>(),
        zero in any::<bool>(),
    ) {
        let mut written = write(&batches, OPTIONS);
        let (from, to) = (from as usize % written.groups.len(), to as usize % written.groups.len());
        let source = written.groups[from];
        let block = |files: &Files, (file, offset, _): Group| {
            let at = usize::try_from(offset).unwrap();
            files[&file][at..at + grain].to_vec()
        };
        let bytes = if zero { vec![0; grain] } else { block(&written.disk.files, source) };
        let (file, offset, _) = written.groups[to];
        let at = usize::try_from(offset).unwrap();
        written.disk.files.get_mut(&file).unwrap()[at..at + grain].copy_from_slice(&bytes);
        check_damaged(&written)?;
    }

    #[test]
    fn a_shortened_or_missing_file_is_a_loss(batches in batches(), which in any::<u32>(), keep in any::<Option<u32>>()) {
        let mut written = write(&batches, OPTIONS);
        let ids: Vec<FileId> = written.groups.iter().map(|(file, ..)| *file).collect();
        let file = ids[which as usize % ids.len()];
        match keep {
            None => {
                written.disk.files.remove(&file);
            }
            Some(keep) => {
                let content = written.disk.files.get_mut(&file).unwrap();
                content.truncate(keep as usize % content.len());
            }
        }
        check_damaged(&written)?;
    }
}

/// After damage every acknowledged entry is readable, or known to be damaged, or the log says that something is lost. Only
/// the very last group may look like a torn write.
fn check_damaged(written: &Written) -> Result<(), TestCaseError> {
    let files = &written.disk.files;
    let recovery = recover_files(files, OPTIONS);
    assert_nothing_invented(&recovery.log, files, written, None);
    let last_group = written.groups.iter().copied().max();
    for (ledger, entry, len, placement, group) in &written.entries {
        let intact =
            files.get(&placement.file).is_some_and(|f| f.len() as u64 >= placement.offset + u64::from(placement.len));
        match read(&recovery.log, files, *ledger, *entry) {
            Ok(got) => prop_assert_eq!(got, data(ledger.0, entry.0, *len)),
            Err(true) => (),
            Err(false) => {
                let torn = Some(*group) == last_group && recovery.log.lost.is_empty();
                prop_assert!(
                    torn || !recovery.log.lost.is_empty(),
                    "{ledger}:{entry} vanished silently, intact {intact}"
                );
            }
        }
    }
    check_goes_on(files.clone());
    Ok(())
}

/// Whatever was found, new entries are stored, also over the end of the file, and survive the next crash.
fn check_goes_on(files: Files) {
    let (mut disk, _) = MemoryDisk::open(files, OPTIONS, 1_000_000);
    for entry in 0..8 {
        let record = entry_record(LedgerId(77), EntryId(entry), EntryId::NONE, data(77, entry, 30_000));
        disk.writer.push(AppendId(entry.unsigned_abs()), record);
        while disk.write_one().is_some() {}
    }
    let (disk, log) = disk.crash();
    for entry in 0..8 {
        assert_eq!(read(&log, &disk.files, LedgerId(77), EntryId(entry)), Ok(data(77, entry, 30_000)));
    }
}

#[test]
fn writing_goes_on_behind_a_cut_tail_and_the_next_crash_keeps_both() {
    let mut written = write(&[vec![(1, 100)], vec![(1, 100)]], OPTIONS);
    let record = |e: i64| entry_record(LedgerId(1), EntryId(e), EntryId::NONE, data(1, e, 6000));
    written.disk.writer.push(AppendId(77), record(2));
    let plan = written.disk.next_plan().unwrap();
    written.disk.write_part(&plan, 4096);
    let (mut disk, log) = written.disk.crash();
    assert_eq!(log.torn, Some(TornTail { file: plan.file, offset: plan.offset }));
    disk.writer.push(AppendId(1), entry_record(LedgerId(1), EntryId(2), EntryId(1), data(1, 2, 10)));
    assert!(disk.write_one().is_some());
    let (disk, log) = disk.crash();
    assert!(log.damage.is_empty() && log.torn.is_none());
    for (entry, len) in [(0, 100), (1, 100), (2, 10)] {
        assert_eq!(read(&log, &disk.files, LedgerId(1), EntryId(entry)), Ok(data(1, entry, len)));
    }
}

#[test]
fn damage_in_the_last_group_is_told_from_a_torn_write_after_a_clean_close() {
    let mut written = write(&[vec![(1, 100)], vec![(1, 100)]], OPTIONS);
    written.disk.writer.close();
    assert!(written.disk.write_one().is_some());
    let (.., placement, _) = written.entries[1];
    let at = usize::try_from(placement.offset).unwrap();
    written.disk.files.get_mut(&placement.file).unwrap()[at + 60] ^= 1;
    let recovery = recover_files(&written.disk.files, OPTIONS);
    assert_eq!((recovery.log.damage.len(), recovery.log.lost.len()), (1, 0), "the content alone is damaged");
    assert_eq!(read(&recovery.log, &written.disk.files, LedgerId(1), EntryId(1)), Err(true));
    written.disk.files.get_mut(&placement.file).unwrap()[at + 8] ^= 1;
    let recovery = recover_files(&written.disk.files, OPTIONS);
    assert_eq!((recovery.log.damage.len(), recovery.log.lost.len()), (1, 1), "nobody can say what was lost");
}

#[test]
fn a_recycled_file_never_shows_its_former_life() {
    let options = LayoutOptions { file_bytes: 64 << 10, group_bytes_max: 16 << 10 };
    let mut written = write(&vec![vec![(1, 3000), (2, 3000)]; 40], options);
    let sealed: Vec<FileId> = written.disk.files.keys().copied().take(3).collect();
    sealed.iter().for_each(|file| written.disk.writer.free(*file));
    assert!(written.disk.write_one().is_some());
    assert_eq!(written.disk.pool.len(), 3);
    for n in 0..30 {
        // Until the freed files are in use again.
        written
            .disk
            .writer
            .push(AppendId(n), entry_record(LedgerId(7), EntryId(n as i64), EntryId::NONE, data(7, 0, 9000)));
        while written.disk.write_one().is_some() {}
    }
    assert!(written.disk.pool.is_empty(), "the freed files are in use again");
    let (_, log) = written.disk.crash();
    assert!(log.damage.is_empty() && log.lost.is_empty());
    let newest = log.files.last().unwrap();
    assert!(newest.index.ledgers.keys().eq([LedgerId(7)].iter()), "old content stayed hidden");
}

#[test]
fn a_group_forged_inside_an_entry_is_not_believed() {
    // The forger knows everything but the nonce: file, offset and sequence number of the group to come.
    let mut written = write(&[vec![(1, 10)]], OPTIONS);
    let group_offset = 4096;
    let forged_at = group_offset + 2 * GROUP_ALIGN;
    let forged = group::GroupHeader {
        file: FileId(1),
        offset: forged_at,
        seq: 3,
        nonce: 12345,
        prev_crc: 0,
        records_len: 0,
        record_count: 0,
        records_crc: 0,
    };
    let lead = usize::try_from(forged_at - group_offset).unwrap() - GROUP_HEADER_BYTES - RECORD_HEADER_BYTES;
    let mut body = vec![1; lead];
    body.extend_from_slice(&forged.encode().0);
    body.resize(12_000, 1);
    let entry = EntryData::new(Bytes::new(), Bytes::from(body));
    written.disk.writer.push(AppendId(5), entry_record(LedgerId(2), EntryId(0), EntryId::NONE, entry));
    let plan = written.disk.next_plan().unwrap();
    assert_eq!(plan.offset, group_offset);
    written.disk.write_part(&plan, 12_000);
    written.disk.files.get_mut(&FileId(1)).unwrap()[4096..8192].fill(0);
    let recovery = recover_files(&written.disk.files, OPTIONS);
    assert!(recovery.log.damage.is_empty(), "{:?}", recovery.log.damage);
    assert_eq!(read(&recovery.log, &written.disk.files, LedgerId(1), EntryId(0)), Ok(data(1, 0, 10)));
}

#[test]
fn neighbours_that_do_not_follow_each_other_are_a_loss() {
    let mut written = write(&[vec![(1, 10)], vec![(1, 10)], vec![(1, 10)]], OPTIONS);
    let file = written.disk.files.get_mut(&FileId(1)).unwrap();
    let (mut header, _) = group::GroupHeader::decode(&file[4096..]).unwrap();
    header.prev_crc ^= 1;
    file[4096..4096 + GROUP_HEADER_BYTES].copy_from_slice(&header.encode().0);
    let recovery = recover_files(&written.disk.files, OPTIONS);
    assert_eq!(recovery.log.lost.len(), 1, "something else was written between them");
}

#[test]
fn a_log_of_an_unknown_format_is_refused() {
    let mut written = write(&[vec![(1, 10)]], OPTIONS);
    let file = written.disk.files.get_mut(&FileId(1)).unwrap();
    file[4] = 9;
    let crc = crc32c::crc32c(&file[..60]);
    file[60..64].copy_from_slice(&crc.to_le_bytes());
    let bytes = Bytes::copy_from_slice(file);
    let sources: BTreeMap<FileId, &dyn LogBytes> = [(FileId(1), &bytes as &dyn LogBytes)].into();
    let refused = recover(&sources, OPTIONS).map(|_| ()).unwrap_err();
    assert_eq!(refused, RecoverError::UnknownFormat { file: FileId(1), format: 9 });
}

#[test]
fn opening_reads_footers_and_the_tail_but_no_sealed_content() {
    struct Counting<'a>(&'a Bytes, std::cell::Cell<u64>);
    impl LogBytes for Counting<'_> {
        fn size(&self) -> u64 {
            self.0.size()
        }
        fn read_at(&self, offset: u64, len: usize) -> Result<Bytes, crate::disk::DiskReadError> {
            let got = self.0.read_at(offset, len)?;
            self.1.set(self.1.get() + got.len() as u64);
            Ok(got)
        }
    }
    let options = LayoutOptions { file_bytes: 4 << 20, group_bytes_max: 1 << 20 };
    let written = write(&vec![vec![(1, 100_000); 8]; 40], options);
    let bytes: Vec<(FileId, Bytes)> =
        written.disk.files.iter().map(|(id, b)| (*id, Bytes::copy_from_slice(b))).collect();
    let counting: Vec<(FileId, Counting<'_>)> = bytes.iter().map(|(id, b)| (*id, Counting(b, 0.into()))).collect();
    let sources: BTreeMap<FileId, &dyn LogBytes> = counting.iter().map(|(id, c)| (*id, c as &dyn LogBytes)).collect();
    let recovery = recover(&sources, options).unwrap();
    let tail = recovery.tail.unwrap();
    let sealed: Vec<u64> = counting.iter().filter(|(id, _)| *id < tail).map(|(_, c)| c.1.get()).collect();
    assert!(sealed.len() >= 7 && sealed.iter().all(|read| *read < 16 << 10), "{sealed:?}");
}

#[test]
fn the_bytes_of_records_and_groups_are_pinned() {
    let record = entry_record(LedgerId(0x0102), EntryId(3), EntryId(2), EntryData::new("hd".into(), "body".into()));
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    assert_eq!(hex(&record.header), "01000200040000000201000000000000030000000000000002000000000000002dca381e7955403b");
    let header = group::GroupHeader {
        file: FileId(7),
        offset: 4096,
        seq: 5,
        nonce: 0x1122_3344_5566_7788,
        prev_crc: 0xaabb_ccdd,
        records_len: 46,
        record_count: 1,
        records_crc: 0x0102_0304,
    };
    let (bytes, _) = header.encode();
    assert_eq!(hex(&bytes[..40]), "4d475250010000000700000000000000001000000000000005000000000000008877665544332211");
    assert_eq!(hex(&bytes[40..]), "ddccbbaa2e000000010000000403020100000000d76ecec3");
    assert_eq!(group::GroupHeader::decode(&bytes).map(|(h, _)| h), Some(header));
}

#[test]
fn an_entry_that_changed_on_its_way_to_the_disk_is_damaged_when_it_is_read() {
    let made = data(1, 0, 100);
    let mut changed = made.body.to_vec();
    changed[7] ^= 1;
    let arrived = EntryData::with_checksum(made.head.clone(), changed.into(), made.checksum());
    for (sent, whole) in [(made, true), (arrived, false)] {
        let record = entry_record(LedgerId(1), EntryId(0), EntryId::NONE, sent);
        let view = RecordView::decode(&record.header).unwrap();
        assert_eq!(view.content_holds(&[&record.head[..], &record.body[..]].concat()), whole);
    }
}
