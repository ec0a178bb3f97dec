//! The device on real files: what was answered is there after reopening, damage is reported, space comes back.

use base::{EntryData, EntryId, LedgerId};
use bookie::RecoveredLog;
use bookie::disk::{AppendId, DiskEvent, DiskOp, DiskReadError, FileId, Placement, ReadId};
use bookie::layout::{RECORD_HEADER_BYTES, RecordView, entry_record};
use bytes::Bytes;
use disk::{DiskOptions, LogDevice, OpenError};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

fn small() -> DiskOptions {
    DiskOptions { file_bytes: 256 << 10, group_bytes_max: 64 << 10, cache_bytes: 1 << 20, ..DiskOptions::standard() }
}

fn body(entry: i64, len: usize) -> Bytes {
    (0..len).map(|i| (entry as usize * 31 + i) as u8).collect::<Vec<u8>>().into()
}

struct Opened {
    device: LogDevice,
    log: RecoveredLog,
    events: Receiver<DiskEvent>,
    /// What was answered so far.
    placements: BTreeMap<i64, Placement>,
    order: Vec<AppendId>,
    free_bytes: u64,
}

#[allow(clippy::unwrap_used, reason = "test helpers")]
impl Opened {
    fn open(dir: &Path, options: DiskOptions) -> Self {
        let (sender, events) = sync_channel(100_000);
        let fatal = |error: std::io::Error| panic!("the device failed: {error}");
        let (device, log) = LogDevice::open(dir, options, move |event| drop(sender.send(event)), fatal).unwrap();
        Self { device, log, events, placements: BTreeMap::new(), order: Vec::new(), free_bytes: 0 }
    }

    fn append(&self, entry: i64, len: usize) {
        let data = EntryData::new(Bytes::from_static(b"head"), body(entry, len));
        let record = entry_record(LedgerId(1), EntryId(entry), EntryId(entry - 1), data);
        self.device.submit(DiskOp::Append { id: AppendId(entry as u64), record });
    }

    /// Takes one event in; false when nothing came for a while.
    fn take(&mut self, patience: Duration) -> bool {
        match self.events.recv_timeout(patience) {
            Ok(DiskEvent::Appended { done }) => {
                for (id, placement) in done {
                    self.order.push(id);
                    self.placements.insert(id.0 as i64, placement);
                }
            }
            Ok(DiskEvent::Space { free_bytes, .. }) => self.free_bytes = free_bytes,
            Ok(DiskEvent::Read { .. }) => panic!("nobody has asked"),
            Err(_) => return false,
        }
        true
    }

    fn wait_for(&mut self, answered: usize) {
        while self.order.len() < answered {
            assert!(self.take(PATIENCE), "{} of {answered} answered", self.order.len());
        }
    }

    fn read(&self, placement: Placement) -> Result<Bytes, DiskReadError> {
        let Placement { file, offset, len } = placement;
        self.device.submit(DiskOp::Read { id: ReadId(7), file, offset, len });
        loop {
            if let DiskEvent::Read { id, outcome } = self.events.recv_timeout(PATIENCE).unwrap() {
                assert_eq!(id, ReadId(7));
                return outcome;
            }
        }
    }

    fn assert_reads(&self, entry: i64, len: usize, placement: Placement) {
        let record = self.read(placement).unwrap();
        let (header, content) = record.split_at(RECORD_HEADER_BYTES);
        let view = RecordView::decode(header.try_into().unwrap()).unwrap();
        assert!(view.content_holds(content));
        assert_eq!((view.entry, &content[4..]), (EntryId(entry), &body(entry, len)[..]));
    }

    /// Entries that the recovered indexes know.
    fn indexed(&self) -> Vec<i64> {
        let runs = self.log.files.iter().filter_map(|f| f.index.ledgers.get(&LedgerId(1))).flat_map(|l| &l.runs);
        runs.flat_map(|run| (run.first.0..).take(run.count as usize)).collect()
    }
}

fn path_of(dir: &Path, file: FileId) -> PathBuf {
    dir.join(format!("log-{:010}", file.0))
}

#[allow(clippy::unwrap_used, reason = "test helper")]
fn flip(dir: &Path, file: FileId, offset: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path_of(dir, file)).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 1], offset).unwrap();
}

#[allow(clippy::unwrap_used, reason = "test helper")]
fn names(dir: &Path, prefix: &str) -> usize {
    let of = |item: std::io::Result<fs::DirEntry>| item.unwrap().file_name().into_string().unwrap();
    fs::read_dir(dir).unwrap().map(of).filter(|name| name.starts_with(prefix)).count()
}

#[test]
fn what_was_answered_is_read_back_before_and_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = Opened::open(dir.path(), small());
    let len = |entry: i64| [0, 100, 5000, 100_000][entry as usize % 4];
    for entry in 0..60 {
        opened.append(entry, len(entry));
    }
    opened.wait_for(60);
    assert!(opened.order.is_sorted(), "answers come in the order of submission");
    let placements = opened.placements.clone();
    for (entry, placement) in &placements {
        opened.assert_reads(*entry, len(*entry), *placement);
        opened.assert_reads(*entry, len(*entry), *placement);
    }
    opened.device.close();
    let opened = Opened::open(dir.path(), small());
    assert!(opened.log.damage.is_empty() && opened.log.lost.is_empty() && opened.log.torn.is_none());
    assert!(opened.log.files.len() > 4);
    assert_eq!(opened.indexed(), (0..60).collect::<Vec<i64>>());
    for (entry, placement) in placements {
        opened.assert_reads(entry, len(entry), placement);
    }
}

/// Short and long reads, within and across what one read keeps, while more is written: the second time, memory answers.
#[test]
fn every_range_is_read_as_it_is_on_disk_however_often() {
    let dir = tempfile::tempdir().unwrap();
    let options = DiskOptions { file_bytes: 2 << 20, ..small() };
    let mut opened = Opened::open(dir.path(), options);
    for entry in 0..25 {
        opened.append(entry, 50_000);
        opened.wait_for(entry as usize + 1);
        let Placement { file, offset, len } = opened.placements[&entry];
        let end = offset + u64::from(len);
        let content = fs::read(path_of(dir.path(), file)).unwrap();
        for (from, to) in [(offset, end), (0, end), (end / 2, end), (end / 3, end / 2), (end - 1, end)] {
            let range = Placement { file, offset: from, len: (to - from) as u32 };
            for _ in 0..2 {
                assert!(opened.read(range).unwrap() == content[from as usize..to as usize], "{from}..{to} of {file:?}");
            }
        }
    }
}

#[test]
fn many_appends_share_few_syncs() {
    let dir = tempfile::tempdir().unwrap();
    let options = DiskOptions { file_bytes: 16 << 20, group_bytes_max: 4 << 20, ..small() };
    let mut opened = Opened::open(dir.path(), options);
    for entry in 0..10_000 {
        opened.append(entry, 200);
    }
    opened.wait_for(10_000);
    let syncs = opened.device.syncs();
    assert!(syncs <= 1000, "{syncs} syncs for 10,000 appends");
}

#[test]
fn writing_goes_on_after_reopening_in_the_same_file() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..5 {
        let mut opened = Opened::open(dir.path(), small());
        assert_eq!(opened.indexed(), (0..round).collect::<Vec<i64>>());
        opened.append(round, 1000);
        opened.wait_for(1);
        assert_eq!(opened.placements[&round].file, FileId(1));
    }
}

#[test]
fn a_torn_last_write_is_cut_and_what_was_answered_before_stays() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = Opened::open(dir.path(), small());
    for entry in 0..3 {
        opened.append(entry, 10_000);
        opened.wait_for(entry as usize + 1);
    }
    let last = opened.placements[&2];
    opened.device.close();
    // The closing group behind it, and the second half of the last write, never reached the disk.
    let file = fs::OpenOptions::new().write(true).open(path_of(dir.path(), last.file)).unwrap();
    file.write_all_at(&vec![0; 60_000], last.offset + 5000).unwrap();
    let mut opened = Opened::open(dir.path(), small());
    assert!(opened.log.damage.is_empty() && opened.log.torn.is_some());
    assert_eq!(opened.indexed(), [0, 1]);
    opened.append(2, 50);
    opened.wait_for(1);
    opened.assert_reads(2, 50, opened.placements[&2]);
}

#[test]
fn damage_before_a_later_write_is_reported_not_cut() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = Opened::open(dir.path(), small());
    opened.append(0, 1000);
    opened.wait_for(1);
    let place = opened.placements[&0];
    opened.device.close();
    flip(dir.path(), place.file, place.offset + 500);
    let opened = Opened::open(dir.path(), small());
    assert_eq!((opened.log.damage.len(), opened.log.lost.len()), (1, 0));
    assert_eq!(opened.indexed(), [0], "it is known, and its checksum tells whoever reads it");
    drop(opened);
    flip(dir.path(), place.file, place.offset);
    let opened = Opened::open(dir.path(), small());
    assert!(!opened.log.lost.is_empty(), "nobody can name what stood here");
}

#[test]
fn a_shortened_or_missing_file_is_reported_as_a_loss() {
    for shorten in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let mut opened = Opened::open(dir.path(), small());
        for entry in 0..20 {
            opened.append(entry, 50_000);
        }
        opened.wait_for(20);
        let victim = path_of(dir.path(), opened.placements[&0].file);
        drop(opened);
        if shorten {
            fs::OpenOptions::new().write(true).open(&victim).unwrap().set_len(100_000).unwrap();
        } else {
            fs::remove_file(&victim).unwrap();
        }
        let mut opened = Opened::open(dir.path(), small());
        assert!(!opened.log.damage.is_empty() && opened.log.lost.len() == 1, "{:?}", opened.log.damage);
        assert!(opened.indexed().contains(&19));
        opened.append(20, 100);
        opened.wait_for(1);
    }
}

#[test]
fn opening_takes_sealed_files_from_their_footers() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = Opened::open(dir.path(), small());
    for entry in 0..20 {
        opened.append(entry, 50_000);
    }
    opened.wait_for(20);
    let place = opened.placements[&0];
    drop(opened);
    let victim = fs::OpenOptions::new().write(true).open(path_of(dir.path(), place.file)).unwrap();
    victim.write_all_at(&vec![0xff; 40_000], place.offset).unwrap();
    let opened = Opened::open(dir.path(), small());
    assert!(opened.log.damage.is_empty(), "the content of sealed files is not read at opening");
    assert_eq!(opened.indexed(), (0..20).collect::<Vec<i64>>());
    assert!(RecordView::decode(opened.read(place).unwrap()[..40].try_into().unwrap()).is_none());
}

#[test]
fn freed_files_are_used_again_and_their_readers_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = Opened::open(dir.path(), DiskOptions { pool_files_max: 2, ..small() });
    let (mut entry, mut freed) = (0, FileId(0));
    for _ in 0..100 {
        opened.append(entry, 60_000);
        entry += 1;
        opened.wait_for(entry as usize);
        let newest = opened.placements[&(entry - 1)].file;
        for file in (freed.0 + 1..newest.0).map(FileId) {
            opened.device.submit(DiskOp::Free { file });
            freed = file;
        }
    }
    assert!(freed > FileId(20));
    opened.append(entry, 10);
    opened.wait_for(entry as usize + 1);
    assert_eq!(opened.read(opened.placements[&0]), Err(DiskReadError::NoSuchFile));
    opened.device.close();
    assert!(names(dir.path(), "log-") + names(dir.path(), "free-") <= 8);
    let reopened = Opened::open(dir.path(), small());
    assert!(reopened.log.damage.is_empty() && reopened.log.files.len() <= 2, "{:?}", reopened.log.damage);
}

#[test]
fn a_full_disk_holds_appends_reports_its_space_and_goes_on_when_some_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let options = DiskOptions { capacity_bytes: Some(4 * (256 << 10)), ..small() };
    let mut opened = Opened::open(dir.path(), options.clone());
    for entry in 0..40 {
        opened.append(entry, 60_000);
    }
    opened.wait_for(12);
    while opened.free_bytes > 100_000 || opened.order.len() < 12 {
        assert!(opened.take(PATIENCE), "the shrinking space is reported");
    }
    assert!(opened.order.len() < 40, "the rest waits");
    for (entry, placement) in opened.placements.clone() {
        opened.assert_reads(entry, 60_000, placement); // Reading goes on.
    }
    assert_eq!(names(dir.path(), "log-"), 4);
    let mut freed = FileId(0);
    while opened.order.len() < 40 {
        let newest = opened.placements.values().map(|p| p.file).max().unwrap();
        for file in (freed.0 + 1..newest.0).map(FileId) {
            opened.device.submit(DiskOp::Free { file });
            freed = file;
        }
        assert!(opened.take(PATIENCE), "freed space is used");
    }
    opened.device.close();
    let full = Opened::open(dir.path(), options);
    assert!(full.log.damage.is_empty(), "it starts again");
}

#[test]
fn unfinished_files_are_removed_and_freed_ones_of_another_size_are_not_used() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("new-0000000001"), b"half a file").unwrap();
    fs::write(dir.path().join("free-0000000009"), b"too short").unwrap();
    let mut opened = Opened::open(dir.path(), small());
    opened.append(0, 10);
    opened.wait_for(1);
    assert_eq!(opened.placements[&0].file, FileId(1));
    drop(opened);
    assert_eq!((names(dir.path(), "new-"), names(dir.path(), "free-")), (0, 0));
    assert_eq!(fs::metadata(path_of(dir.path(), FileId(1))).unwrap().len(), 256 << 10);
}

#[test]
fn options_that_cannot_work_and_unknown_formats_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let open = |options| LogDevice::open(dir.path(), options, drop, drop).map(|_| ());
    assert!(matches!(open(DiskOptions { file_bytes: 100, ..small() }), Err(OpenError::Options(_))));
    assert!(matches!(open(DiskOptions { reader_threads: 0, ..small() }), Err(OpenError::Options(_))));
    let mut opened = Opened::open(dir.path(), small());
    opened.append(0, 10);
    opened.wait_for(1);
    drop(opened);
    let file = fs::OpenOptions::new().read(true).write(true).open(path_of(dir.path(), FileId(1))).unwrap();
    let mut header = [0; 64];
    file.read_exact_at(&mut header, 0).unwrap();
    header[4] = 2;
    let crc = crc32c::crc32c(&header[..60]);
    header[60..].copy_from_slice(&crc.to_le_bytes());
    file.write_all_at(&header, 0).unwrap();
    let refused = open(small()).unwrap_err();
    assert!(matches!(refused, OpenError::Format(_)), "{refused}");
}
