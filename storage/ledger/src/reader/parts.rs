//! What of one read was asked for, what came, and which part is asked for next.
//!
//! **Invariants**
//! - I1  the parts of a read follow each other: the first begins after what was found, the last ends at `ahead`.
//! - I2  beside the first part no more is asked for than `bytes_left` is expected to have room for.

use super::{PARTS_MAX, ReadId};
use crate::SlotSet;
use base::{EntryData, EntryId, Mono, NodeId, RequestId};
use std::collections::VecDeque;
use wire::bookie::StoredEntry;

/// A request under way for one part of a read.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) id: RequestId,
    pub(super) to: NodeId,
    pub(super) slot: u32,
    /// Entries asked for, from the part's `next` on.
    pub(super) count: u32,
    /// When it is given up.
    pub(super) deadline: Mono,
    /// When the next copy is asked as well; `None` once that happened.
    pub(super) speculate_at: Option<Mono>,
}

impl Asked {
    pub(super) fn next_deadline(&self) -> Mono {
        self.speculate_at.unwrap_or(self.deadline).min(self.deadline)
    }
}

/// Consecutive entries that one bookie was asked for first.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) next: EntryId,
    /// The first entry after the part.
    pub(super) end: EntryId,
    pub(super) bytes_max: u32,
    found: Vec<(EntryId, EntryData)>,
    /// A bookie gave less than it was asked for: it is full of bytes, or the next entry is on other copies only. The
    /// read ends there and its caller asks again.
    is_short: bool,
    /// The bookies that may still answer for `next`.
    pub(super) asked: Vec<Asked>,
    /// Slots asked for `next` so far, and those of them that denied it.
    pub(super) tried: SlotSet,
    pub(super) denied: SlotSet,
}

impl Part {
    /// Takes an answer to a request for `count` entries.
    pub(super) fn take_entries(&mut self, entries: Vec<StoredEntry>, count: u32) {
        let wanted = usize::try_from(count).unwrap_or(usize::MAX);
        self.is_short = entries.len() < wanted;
        for stored in entries.into_iter().take(wanted) {
            assert!(stored.entry == self.next && self.next < self.end, "LedgerReader I1: {} follows", stored.entry);
            self.found.push((stored.entry, stored.data));
            self.next = self.next.next();
        }
        (self.tried, self.denied) = (SlotSet::EMPTY, SlotSet::EMPTY);
        self.asked.clear(); // I5: late answers of the others find nobody.
    }

    /// Whether there is more of it to ask for.
    pub(super) fn may_get_more(&self) -> bool {
        !self.is_short && self.next < self.end
    }

    /// Whether nobody is left who could answer.
    pub(super) fn is_silent(&self) -> bool {
        self.asked.is_empty()
    }
}

/// One read.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) id: ReadId,
    pub(super) found: Vec<(EntryId, EntryData)>,
    pub(super) parts: VecDeque<Part>,
    /// The first entry that no part covers, and the last one wanted.
    ahead: EntryId,
    last: EntryId,
    bytes_found: u32,
    bytes_left: u32,
}

impl Read {
    pub(super) fn new(id: ReadId, from: EntryId, last: EntryId, bytes_max: u32) -> Self {
        let (found, parts) = (Vec::new(), VecDeque::new());
        Self { id, found, parts, ahead: from, last, bytes_found: 0, bytes_left: bytes_max }
    }

    /// The part and the request of it that this answer is to.
    pub(super) fn part_that_asked(&self, id: RequestId, to: NodeId) -> Option<(usize, usize)> {
        let asks = |asked: &Asked| asked.id == id && asked.to == to;
        self.parts.iter().enumerate().find_map(|(at, part)| Some((at, part.asked.iter().position(asks)?)))
    }

    /// Takes what follows what was found before; answers whether the read goes on.
    pub(super) fn take_found(&mut self) -> bool {
        while let Some(front) = self.parts.front_mut() {
            for (entry, data) in front.found.drain(..) {
                if self.bytes_left == 0 && !self.found.is_empty() {
                    return false;
                }
                let bytes = u32::try_from(data.len()).unwrap_or(u32::MAX);
                self.bytes_left = self.bytes_left.saturating_sub(bytes);
                self.bytes_found = self.bytes_found.saturating_add(bytes);
                self.found.push((entry, data));
            }
            if front.may_get_more() {
                return self.bytes_left > 0 && !front.is_silent();
            }
            if self.bytes_left == 0 || front.is_short {
                return false;
            }
            self.parts.pop_front();
        }
        true
    }

    /// The next part to ask for, as far as it is known: where it ends shows when a bookie is chosen.
    pub(super) fn next_part(&self) -> Option<Part> {
        let bytes_max = self.room()?;
        let wanted = self.ahead <= self.last && self.parts.len() < PARTS_MAX;
        wanted.then(|| Part {
            next: self.ahead,
            end: self.last.next(),
            bytes_max,
            found: Vec::new(),
            is_short: false,
            asked: Vec::new(),
            tried: SlotSet::EMPTY,
            denied: SlotSet::EMPTY,
        })
    }

    /// Bytes that may be asked for beside the parts under way (I2).
    fn room(&self) -> Option<u32> {
        let Some(front) = self.parts.front() else { return Some(self.bytes_left) };
        let found = u64::try_from(self.found.len()).ok().filter(|found| *found > 0)?;
        let under_way = u64::try_from(self.ahead.0 - front.next.0).unwrap_or(u64::MAX);
        let expected = under_way.saturating_mul(u64::from(self.bytes_found).div_ceil(found));
        u32::try_from(u64::from(self.bytes_left).saturating_sub(expected)).ok().filter(|room| *room > 0)
    }

    /// Takes a part that was asked of a bookie; it ends where that bookie's entries do.
    pub(super) fn push(&mut self, mut part: Part) {
        if let Some(asked) = part.asked.first() {
            part.end = EntryId(part.next.0 + i64::from(asked.count));
        }
        self.ahead = part.end;
        self.parts.push_back(part);
    }
}
