//! When a ledger whose repair has failed is repaired again.
//!
//! **Invariants**
//! - I1  only ledgers that still lack copies are remembered, of those at most as many as the auditor has seen.

use base::{LedgerId, Mono, Now, earliest};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How soon a ledger is tried again; doubled each time …
const RETRY: Duration = Duration::from_secs(2);
/// … so often at most.
const DOUBLED_MAX: u32 = 8;

#[derive(Clone, Copy, Debug)]
struct Tried {
    again_at: Mono,
    times: u32,
    unreadable: bool,
}

#[derive(Debug, Default)]
pub(super) struct Tries {
    ledgers: BTreeMap<LedgerId, Tried>,
}

impl Tries {
    pub(super) fn is_due(&self, now: Now, ledger: LedgerId) -> bool {
        self.ledgers.get(&ledger).is_none_or(|tried| tried.again_at <= now.mono)
    }

    /// How often it has failed in a row.
    pub(super) fn times(&self, ledger: LedgerId) -> u32 {
        self.ledgers.get(&ledger).map_or(0, |tried| tried.times)
    }

    /// When the first of those that wait may be tried.
    pub(super) fn next(&self, now: Now) -> Option<Mono> {
        let later = self.ledgers.values().map(|tried| tried.again_at).filter(|at| *at > now.mono);
        later.fold(None, |first, at| earliest(first, Some(at)))
    }

    /// A repair failed. `unreadable`: no bookie has some of the entries. Whether that is new.
    pub(super) fn failed(&mut self, now: Now, ledger: LedgerId, unreadable: bool) -> bool {
        let new = Tried { again_at: now.mono, times: 0, unreadable: false };
        let tried = self.ledgers.entry(ledger).or_insert(new);
        tried.again_at = now.mono + RETRY * (1 << tried.times.min(DOUBLED_MAX));
        tried.times += 1;
        let before = std::mem::replace(&mut tried.unreadable, unreadable);
        unreadable && !before
    }

    /// It was repaired.
    pub(super) fn done(&mut self, ledger: LedgerId) {
        self.ledgers.remove(&ledger);
    }

    /// Other nodes are there, or have space: what failed may be possible.
    pub(super) fn forget(&mut self) {
        self.ledgers.values_mut().for_each(|tried| (tried.again_at, tried.times) = (Mono::default(), 0));
    }

    /// These lack copies now; the others need no repair any more (I1).
    pub(super) fn retain(&mut self, lacking: &BTreeSet<LedgerId>) {
        self.ledgers.retain(|ledger, _| lacking.contains(ledger));
    }

    /// Ledgers with entries that no bookie has.
    pub(super) fn unreadable(&self) -> u64 {
        self.ledgers.values().filter(|tried| tried.unreadable).count() as u64
    }
}
