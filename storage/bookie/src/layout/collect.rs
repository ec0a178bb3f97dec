//! Takes records out of a block that was read from the log.
//!
//! **What**  [`Walk`] steps from record to record, over group borders; [`collect`] gathers the entries of one ledger and
//! gives out only what checksum and identity prove to be right.

use super::group::{GROUP_ALIGN, GROUP_FIRST_BYTE, GROUP_HEADER_BYTES, GroupHeader};
use super::record::{RECORD_HEADER_BYTES, RecordHeader, RecordView};
use base::{EntryData, EntryId, LedgerId};
use bytes::Bytes;
use wire::bookie::StoredEntry;

/// What stands next in a block.
#[derive(Clone, Debug)]
pub enum Step {
    /// A record; whether `content` (head and body) is right is for the caller to check.
    Record { view: RecordView, offset: u64, content: Bytes },
    /// The block ends before the record or group at `offset` does.
    End { offset: u64 },
    /// What stands at `offset` is neither a group nor a record.
    Damaged { offset: u64 },
}

/// Steps through a block of a log file, from a record's or group's beginning.
#[derive(Clone, Debug)]
pub struct Walk {
    block: Bytes,
    base: u64,
    at: usize,
}

impl Walk {
    /// A walk through `block`, which stands at `base` in its file.
    pub fn new(block: Bytes, base: u64) -> Self {
        Self { block, base, at: 0 }
    }

    /// The next record. `End` and `Damaged` repeat themselves.
    pub fn step(&mut self) -> Step {
        loop {
            let offset = self.base + self.at as u64;
            let rest = self.block.get(self.at..).unwrap_or_default();
            let Some(&first) = rest.first() else {
                return Step::End { offset };
            };
            if first == 0 {
                let border = (offset + 1).next_multiple_of(GROUP_ALIGN);
                self.at += usize::try_from(border - offset).unwrap_or(usize::MAX);
                continue;
            }
            if offset.is_multiple_of(GROUP_ALIGN) && first == GROUP_FIRST_BYTE {
                if rest.len() < GROUP_HEADER_BYTES {
                    return Step::End { offset };
                }
                if GroupHeader::decode(rest).is_none_or(|(header, _)| header.offset != offset) {
                    return Step::Damaged { offset };
                }
                self.at += GROUP_HEADER_BYTES;
                continue;
            }
            return self.record(offset);
        }
    }

    /// Goes on at the next place where a group may begin.
    pub(crate) fn skip_damage(&mut self) {
        let offset = self.base + self.at as u64;
        let border = (offset + 1).next_multiple_of(GROUP_ALIGN);
        self.at += usize::try_from(border - offset).unwrap_or(0);
    }

    fn record(&mut self, offset: u64) -> Step {
        let Some(raw) = self.block.get(self.at..self.at + RECORD_HEADER_BYTES) else {
            return Step::End { offset };
        };
        let header: Option<&RecordHeader> = raw.try_into().ok();
        let Some(view) = header.and_then(RecordView::decode) else {
            return Step::Damaged { offset };
        };
        let end = self.at.saturating_add(view.len());
        if end > self.block.len() {
            return Step::End { offset };
        }
        let content = self.block.slice(self.at + RECORD_HEADER_BYTES..end);
        self.at = end;
        Step::Record { view, offset, content }
    }
}

/// What [`collect`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collected {
    /// Consecutive from the entry asked for; every one verified.
    pub entries: Vec<StoredEntry>,
    /// The walk ended at damage.
    pub damaged: bool,
}

/// The entries of `ledger` from `from` on that stand in the block in order: at most `entries_max`, and no further one once
/// there are `bytes_max` bytes.
pub fn collect(mut walk: Walk, ledger: LedgerId, from: EntryId, entries_max: u32, bytes_max: u32) -> Collected {
    let mut found = Collected { entries: Vec::new(), damaged: false };
    let (mut next, mut bytes) = (from, 0);
    while found.entries.len() < entries_max.max(1) as usize {
        match walk.step() {
            Step::Record { view, content, .. } => {
                if !view.is_entry() || view.ledger != ledger || view.entry != next {
                    continue;
                }
                if !view.content_holds(&content) {
                    found.damaged = true;
                    break;
                }
                if !found.entries.is_empty() && bytes + content.len() > bytes_max as usize {
                    break;
                }
                bytes += content.len();
                found.entries.push(StoredEntry { entry: next, lac: view.lac, data: entry_data(&view, &content) });
                next = next.next();
            }
            Step::End { .. } => break,
            Step::Damaged { .. } => {
                found.damaged = true;
                break;
            }
        }
    }
    found
}

/// Head and body of an entry as slices of the block, with the checksum that was stored.
pub(crate) fn entry_data(view: &RecordView, content: &Bytes) -> EntryData {
    EntryData::with_checksum(content.slice(..view.head_len), content.slice(view.head_len..), view.content_crc)
}
