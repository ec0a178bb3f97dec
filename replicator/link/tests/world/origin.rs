//! The origin's log and its durable link cursor.

use base::{EntryData, LedgerId, Position, RegionId, Rng};
use bytes::Bytes;
use link::{Forward, LinkEntry, LinkResume, LogView};
use std::collections::VecDeque;

pub(crate) const ORIGIN: RegionId = RegionId(1);

/// What is to become of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Forward,
    Skip,
    /// Decided anew at every read, as when policies change.
    Waver,
}

#[derive(Clone, Debug)]
pub(crate) struct OriginEntry {
    pub(crate) position: Position,
    pub(crate) wish: Wish,
    pub(crate) data: EntryData,
    pub(crate) published_ms: u64,
}

#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) log: Vec<OriginEntry>,
    /// How many entries are trimmed.
    pub(crate) trimmed: usize,
    next: Position,
    /// The durable cursor, and writes that are not durable yet.
    pub(crate) cursor: LinkResume,
    pub(crate) cursor_writes: VecDeque<LinkResume>,
}

impl Origin {
    pub(crate) fn new() -> Self {
        let start = Position::new(LedgerId::compose(ORIGIN, 1), 0);
        Self {
            log: Vec::new(),
            trimmed: 0,
            next: start,
            cursor: LinkResume::starting_after(Position::EARLIEST, 0),
            cursor_writes: VecDeque::new(),
        }
    }

    pub(crate) fn publish(&mut self, rng: &mut Rng, skip: u64, waver: u64, published_ms: u64) {
        let draw = rng.below(100);
        let wish = match draw {
            d if d < skip => Wish::Skip,
            d if d < skip + waver => Wish::Waver,
            _ => Wish::Forward,
        };
        let size = if rng.one_in(20) { rng.range(3_000, 6_000) } else { rng.range(0, 600) };
        let body = Bytes::from(vec![rng.next_u64() as u8; size as usize]);
        let head = Bytes::from(self.next.to_string());
        self.log.push(OriginEntry { position: self.next, wish, data: EntryData::new(head, body), published_ms });
        self.next = match rng.one_in(8) {
            true => Position::new(LedgerId(self.next.ledger.0 + rng.range(1, 3)), 0),
            false => self.next.next(),
        };
    }

    pub(crate) fn view(&self) -> LogView {
        LogView {
            trimmed_up_to: self.trimmed.checked_sub(1).map_or(Position::EARLIEST, |i| self.log[i].position),
            last_confirmed: self.log.last().map_or(Position::EARLIEST, |e| e.position),
            messages_end: self.log.len() as u64,
        }
    }

    /// Trims up to a random place that the durable cursor has passed, and every write of the cursor under way too.
    pub(crate) fn trim(&mut self, rng: &mut Rng) {
        let low = self.cursor_writes.iter().map(|r| r.mark_delete).chain([self.cursor.mark_delete]).min();
        let passed = self.log.iter().take_while(|e| Some(e.position) <= low).count();
        self.trimmed = self.trimmed.max(rng.below(passed as u64 + 1) as usize);
    }

    pub(crate) fn read(&self, rng: &mut Rng, from: Position, entries_max: u32, bytes_max: u64) -> Vec<LinkEntry> {
        let start = self.log.partition_point(|e| e.position < from).max(self.trimmed);
        let (mut entries, mut bytes) = (Vec::new(), 0);
        for (index, entry) in self.log.iter().enumerate().skip(start) {
            bytes += entry.data.len() as u64;
            if !entries.is_empty() && (entries.len() >= entries_max as usize || bytes > bytes_max) {
                break;
            }
            let forward = match entry.wish {
                Wish::Forward => Forward::Yes,
                Wish::Skip => Forward::Skip,
                Wish::Waver if rng.one_in(2) => Forward::Yes,
                Wish::Waver => Forward::Skip,
            };
            entries.push(LinkEntry {
                position: entry.position,
                data: entry.data.clone(),
                forward,
                messages_end: index as u64 + 1,
                published_ms: entry.published_ms,
            });
        }
        entries
    }

    /// Makes some of the cursor's writes durable, in order; the rest is lost when `crash`.
    pub(crate) fn sync_cursor(&mut self, rng: &mut Rng) {
        let count = rng.below(self.cursor_writes.len() as u64 + 1);
        for _ in 0..count {
            self.cursor = self.cursor_writes.pop_front().unwrap_or(self.cursor);
        }
    }

    pub(crate) fn get(&self, position: Position) -> Option<&OriginEntry> {
        self.log.binary_search_by_key(&position, |e| e.position).ok().map(|i| &self.log[i])
    }
}
