//! Which ledgers may lack entries on bookies that are up, as those bookies say.
//!
//! **What**  All live bookies are asked from time to time. What they name is repaired ledger by ledger; what cannot be repaired
//! now is tried again later, and what no other bookie has is said to operators once.
//!
//! **States**  of a ledger on a bookie: named → tried → lifted; or tried → later → tried …
//!
//! **Invariants**
//! - I1  of one bookie at most [`LEDGERS_MAX`](super::LEDGERS_MAX) ledgers and one page are remembered; the others are named again
//!   when these are lifted.
//! - I2  a bookie that is down is in no list: what it lacks it will say when it is back.
//!
//! **Not here**  The repair of one ledger (`refill`, `ledger::LedgerRepair`), what a bookie may have lost (`bookie`).

use super::{AuditorEffect, LEDGERS_MAX};
use base::{Effects, LedgerId, Mono, NodeId, Now, RequestId, earliest};
use ledger::RepairError;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use wire::bookie::{BookieRequest, InLimbo, LimboFound};

/// How often bookies are asked …
const EVERY: Duration = Duration::from_secs(10);
/// … and how soon again while one cannot say yet.
const AGAIN: Duration = Duration::from_secs(1);
/// How soon a ledger is tried again; doubled each time that its repair failed …
const RETRY: Duration = Duration::from_secs(20);
/// … so often at most.
const DOUBLED_MAX: u32 = 5;

#[derive(Clone, Copy, Debug)]
struct Tried {
    since: Mono,
    again_at: Mono,
    times: u32,
    hopeless: bool,
}

#[derive(Debug, Default)]
pub(super) struct Limbo {
    poll_at: Mono,
    asked: BTreeMap<RequestId, (NodeId, Vec<InLimbo>)>,
    named: BTreeMap<NodeId, Vec<InLimbo>>,
    tried: BTreeMap<(NodeId, LedgerId), Tried>,
    /// When the first of the named ledgers may be tried.
    due: Option<Mono>,
}

impl Limbo {
    /// Nothing is known; the first question goes out at `poll_at`.
    pub(super) fn new(poll_at: Mono) -> Self {
        Self { poll_at, ..Self::default() }
    }

    pub(super) fn poll_at(&self) -> Mono {
        self.poll_at
    }

    pub(super) fn due(&self) -> Option<Mono> {
        self.due
    }

    /// Ledgers that bookies name, and those of them of which something is on no bookie.
    pub(super) fn counts(&self) -> (u64, u64) {
        let hopeless = self.tried.values().filter(|tried| tried.hopeless).count();
        (self.named.values().map(|ledgers| ledgers.len() as u64).sum(), hopeless as u64)
    }

    /// Asks every live bookie, when it is time.
    pub(super) fn poll(
        &mut self,
        now: Now,
        alive: &BTreeSet<NodeId>,
        mut next_id: impl FnMut() -> RequestId,
        fx: &mut Effects<AuditorEffect>,
    ) {
        if now.mono < self.poll_at {
            return;
        }
        self.poll_at = now.mono + EVERY;
        self.asked.clear();
        for node in alive {
            let id = next_id();
            self.asked.insert(id, (*node, Vec::new()));
            fx.push(AuditorEffect::Bookie { to: *node, request: BookieRequest::Limbo { id, after: LedgerId(0) } });
        }
    }

    pub(super) fn handle(
        &mut self,
        now: Now,
        id: RequestId,
        found: LimboFound,
        next_id: impl FnOnce() -> RequestId,
        fx: &mut Effects<AuditorEffect>,
    ) {
        let Some((node, mut known)) = self.asked.remove(&id) else { return };
        match found {
            LimboFound::Unmeasured => self.poll_at = self.poll_at.min(now.mono + AGAIN),
            LimboFound::Ledgers { ledgers, more } => {
                known.extend(ledgers);
                if let Some(last) = known.last().filter(|_| more && known.len() < LEDGERS_MAX) {
                    let (id, after) = (next_id(), last.ledger);
                    fx.push(AuditorEffect::Bookie { to: node, request: BookieRequest::Limbo { id, after } });
                    self.asked.insert(id, (node, known));
                    return;
                }
                let ids: BTreeSet<LedgerId> = known.iter().map(|one| one.ledger).collect();
                self.tried.retain(|(of, ledger), _| *of != node || ids.contains(ledger));
                self.named.insert(node, known); // I1
                self.find_due();
            }
        }
    }

    /// Other nodes are alive: what was hopeless may be possible, and who came back may have lost something.
    pub(super) fn handle_alive(&mut self, now: Now, alive: &BTreeSet<NodeId>) {
        self.named.retain(|node, _| alive.contains(node)); // I2
        self.tried.retain(|(node, _), _| alive.contains(node));
        self.tried.values_mut().for_each(|tried| tried.again_at = now.mono);
        self.poll_at = self.poll_at.min(now.mono + AGAIN);
        self.find_due();
    }

    /// What may be tried now, and since when it has been.
    pub(super) fn next(&mut self, now: Now) -> Option<(NodeId, InLimbo, Mono)> {
        if self.due.is_none_or(|due| now.mono < due) {
            return None;
        }
        let mut all = self.named.iter().flat_map(|(node, ledgers)| ledgers.iter().map(|one| (*node, *one)));
        let (node, one) = all.find(|(node, one)| again_at(&self.tried, *node, one.ledger) <= now.mono)?;
        let new = Tried { since: now.mono, again_at: now.mono, times: 0, hopeless: false };
        Some((node, one, self.tried.entry((node, one.ledger)).or_insert(new).since))
    }

    /// The ledger has on this bookie what it should have.
    pub(super) fn lifted(&mut self, node: NodeId, ledger: LedgerId) {
        self.tried.remove(&(node, ledger));
        if let Some(ledgers) = self.named.get_mut(&node) {
            ledgers.retain(|one| one.ledger != ledger);
        }
        self.find_due();
    }

    /// It could not be done now: it has failed, or the ledger is still written or its bookie silent. Whether it is
    /// new that no other bookie has what lacks.
    pub(super) fn failed(&mut self, now: Now, node: NodeId, ledger: LedgerId, error: Option<RepairError>) -> bool {
        let mut new = false;
        let hopeless = matches!(error, Some(RepairError::Unreadable { .. }));
        if let Some(tried) = self.tried.get_mut(&(node, ledger)) {
            tried.again_at = now.mono + RETRY * (1 << tried.times.min(DOUBLED_MAX));
            tried.times += u32::from(error.is_some());
            new = hopeless && !tried.hopeless;
            tried.hopeless = hopeless;
        }
        self.find_due();
        new
    }

    fn find_due(&mut self) {
        let all = self.named.iter().flat_map(|(node, ledgers)| ledgers.iter().map(|one| (*node, one.ledger)));
        let due = all.map(|(node, ledger)| again_at(&self.tried, node, ledger));
        self.due = due.fold(None, |first, at| earliest(first, Some(at)));
    }
}

fn again_at(tried: &BTreeMap<(NodeId, LedgerId), Tried>, node: NodeId, ledger: LedgerId) -> Mono {
    tried.get(&(node, ledger)).map_or_else(Mono::default, |tried| tried.again_at)
}
