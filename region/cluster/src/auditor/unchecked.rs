//! Ledgers that a recovery closed: their bookies may lack entries of which only the dead writer knew.
//!
//! **What**  Each bookie is asked what it lacks and gets it from the others. When all lack nothing, the metadata says so.
//!
//! **States**  of a ledger: found → its bookies asked one by one → cleared. Of a bookie: to be asked → complete; or failed → later.
//!
//! **Invariants**
//! - I1  a bookie counts as complete only by its own answer that it lacks nothing.
//! - I2  at most [`LEDGERS_MAX`](super::LEDGERS_MAX) ledgers are remembered; the others are found by a later look.
//!
//! **Not here**  The questions and the copying (`refill`).

use super::LEDGERS_MAX;
use base::{LedgerId, Mono, NodeId, Now, earliest};
use ledger::RepairError;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How soon a ledger is tried again; doubled each time …
const RETRY: Duration = Duration::from_secs(5);
/// … so often at most.
const DOUBLED_MAX: u32 = 6;

#[derive(Clone, Copy, Debug)]
struct Turn {
    at: Mono,
    failures: u32,
    /// No other bookie has what this one lacks.
    hopeless: bool,
}

impl Turn {
    fn new(at: Mono) -> Self {
        Self { at, failures: 0, hopeless: false }
    }
}

#[derive(Debug, Default)]
struct Check {
    /// Who is still to be asked, and when.
    bookies: BTreeMap<NodeId, Turn>,
    complete: BTreeSet<NodeId>,
}

/// The ledgers, as looks have found them.
#[derive(Debug, Default)]
pub(super) struct Unchecked {
    ledgers: BTreeMap<LedgerId, Check>,
    /// Where the next turn is looked for first: those before it wait for bookies that are down.
    from: LedgerId,
    /// When something can be asked of a bookie that takes copies, as found last.
    due: Option<Mono>,
    /// Ledgers of which a bookie lacks what no other one has, as counted last.
    hopeless: u64,
}

impl Unchecked {
    /// What a look has found: these ledgers, and who their bookies are now.
    pub(super) fn look(&mut self, now: Now, found: BTreeMap<LedgerId, BTreeSet<NodeId>>) {
        self.ledgers.retain(|ledger, _| found.contains_key(ledger));
        for (ledger, bookies) in found {
            let check = self.ledgers.entry(ledger).or_default();
            check.bookies.retain(|node, _| bookies.contains(node));
            if bookies.is_subset(&check.complete) {
                // Who was still to be asked has no place any more; the mark is taken away with an answer.
                check.complete.clear();
            }
            for node in bookies.difference(&check.complete) {
                check.bookies.entry(*node).or_insert_with(|| Turn::new(now.mono));
            }
        }
        assert!(self.ledgers.len() <= LEDGERS_MAX, "Unchecked I2: {} ledgers", self.ledgers.len());
    }

    /// All of them, and those of which some bookie lacks what no other has.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.ledgers.len() as u64, self.hopeless)
    }

    /// When something can be asked of a bookie that takes copies, as it was when nothing could be asked.
    pub(super) fn due(&self) -> Option<Mono> {
        self.due
    }

    /// Whom to ask about which ledger, and whether nobody else is to be asked about it.
    pub(super) fn next(&mut self, now: Now, takers: &BTreeSet<NodeId>) -> Option<(NodeId, LedgerId, Last)> {
        let turn = |(ledger, check): (&LedgerId, &Check)| {
            let mut turns = check.bookies.iter();
            let (node, _) = turns.find(|(node, turn)| turn.at <= now.mono && takers.contains(node))?;
            Some((*node, *ledger, if check.bookies.len() == 1 { Last::Yes } else { Last::No }))
        };
        let mut behind = self.ledgers.range(self.from..);
        let found = behind.find_map(turn).or_else(|| self.ledgers.range(..self.from).find_map(turn));
        self.from = found.map_or(LedgerId(0), |(_, ledger, _)| ledger);
        if found.is_none() {
            self.recount(takers);
        }
        found
    }

    fn recount(&mut self, takers: &BTreeSet<NodeId>) {
        let hopeless = self.ledgers.values().filter(|check| check.bookies.values().any(|turn| turn.hopeless));
        self.hopeless = hopeless.count() as u64;
        let turns = self.ledgers.values().flat_map(|check| &check.bookies).filter(|(node, _)| takers.contains(node));
        self.due = turns.fold(None, |first, (_, turn)| earliest(first, Some(turn.at)));
    }

    /// The bookie lacks nothing of the ledger (I1).
    pub(super) fn complete(&mut self, ledger: LedgerId, node: NodeId) {
        if let Some(check) = self.ledgers.get_mut(&ledger) {
            check.bookies.remove(&node);
            check.complete.insert(node);
        }
    }

    /// The ledger is deleted, or the metadata says that it was checked.
    pub(super) fn cleared(&mut self, ledger: LedgerId) {
        self.ledgers.remove(&ledger);
    }

    /// It could not be done now: the bookie is asked again later. Whether it is new that no other one has what lacks.
    pub(super) fn failed(&mut self, now: Now, ledger: LedgerId, node: NodeId, error: Option<RepairError>) -> bool {
        let Some(check) = self.ledgers.get_mut(&ledger) else { return false };
        check.complete.remove(&node);
        let turn = check.bookies.entry(node).or_insert_with(|| Turn::new(now.mono));
        turn.at = now.mono + RETRY * (1 << turn.failures.min(DOUBLED_MAX));
        turn.failures += 1;
        let before = std::mem::replace(&mut turn.hopeless, matches!(error, Some(RepairError::Unreadable { .. })));
        turn.hopeless && !before
    }

    /// Other nodes take copies: what failed may be possible.
    pub(super) fn handle_takers(&mut self, now: Now, takers: &BTreeSet<NodeId>) {
        let turns = self.ledgers.values_mut().flat_map(|check| check.bookies.values_mut());
        turns.for_each(|turn| (turn.at, turn.failures) = (now.mono, 0));
        self.recount(takers);
    }
}

/// Whether a bookie is the last one of its ledger that is to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Last {
    Yes,
    No,
}
