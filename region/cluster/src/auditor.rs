//! Gives entries back the copies that lost nodes took away: BookKeeper's auditor and its replication worker in one.
//!
//! **What**  The node that leads the metadata looks through all ledgers when nodes came or went, and from time to time. What
//! names a bookie that is down, or a vacant seat, lacks copies: that is counted for operators at once, and repaired when the
//! node has been down for the grace period, or when a bookie can take the seat. A ledger that nobody writes any more although it
//! was never closed (its topic is not in use since its owner died) is recovered first, as its next owner would. Everything is
//! found again by looking, so that a change of leader costs a repetition and nothing else.
//!
//! A bookie that is up and has lost entries names its ledgers; it gets from the other copies what it lacks of them. So do the
//! bookies of a ledger that a recovery closed, which its metadata names.
//!
//! **States**  following → waiting → listing (page by page) → repairing (ledger by ledger, fewest copies first) → waiting.
//!
//! **Invariants**
//! - I1  only a leader lists or repairs; a repair that is under way ends with its leadership.
//! - I2  a node that is down for less than the grace period is not replaced: it may come back with all that it had.
//! - I3  one ledger is repaired at a time, and the next one begins only when the bytes of the one before are paid for, so
//!   that the rate holds over any number of ledgers.
//! - I4  at most [`LEDGERS_MAX`] ledgers are remembered; the others are found by the next look.
//! - I5  a ledger is ended only when it has lacked copies in its last fragment for [`UNWRITTEN_AFTER`] although others could take
//!   them: a writer that lives would have changed its ensemble long before.
//! - I6  nothing is copied to a node whose disk is full, as it says; when it has space again, it is looked at at once.
//! - I7  a ledger whose repair failed waits, longer each time, while the others go on.
//! - I8  a look that is due comes before the next bookie is asked what it lacks, however many are to be asked.
//!
//! **Not here**  The copying and the compare-and-put of one ledger (`work`, `ledger::LedgerRepair`).
//!
//! **Tests**  `auditor/tests.rs`.

mod limbo;
mod options;
mod page;
mod refill;
#[cfg(test)]
mod tests;
mod tries;
mod unchecked;
mod work;

use crate::View;
use base::{Effects, LedgerId, Mono, NodeId, Now, OwnerId, RequestId, Rng, earliest};
use ledger::{Placement, RepairError, RepairWork, RequestIds, VACANT, Zones};
use limbo::Limbo;
use meta_api::{MetaRequest, MetaResponse};
pub use options::{AuditStats, AuditorOptions};
use page::{Found, Lacking, read_page};
use refill::{Refill, Subject, Verdict};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use tenancy::keys;
use tries::Tries;
use unchecked::Unchecked;
use wire::bookie::{BookieRequest, BookieResponse};
use work::{Ended, Work};

/// Ledgers remembered between a look and their repair.
const LEDGERS_MAX: usize = 10_000;
/// Ledgers asked for at once.
const PAGE: u32 = 512;
/// Pause between a change of the nodes and the look at the ledgers: changes come in groups.
const SETTLE: Duration = Duration::from_millis(200);
/// How soon the auditor looks again while something lacks copies; doubled each time that nothing could be done about it …
const AGAIN: Duration = Duration::from_secs(2);
/// … so often at most.
const AGAIN_DOUBLED_MAX: u32 = 5;
/// How long a ledger's last fragment may lack copies that others could take before it counts as written by nobody: a writer
/// changes its ensemble within 10 s.
const UNWRITTEN_AFTER: Duration = Duration::from_secs(20);
/// How long a page may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditorEffect {
    Meta {
        id: RequestId,
        request: MetaRequest,
    },
    Bookie {
        to: NodeId,
        request: BookieRequest,
    },
    /// An operator must hear this.
    Alarm {
        text: String,
    },
}

#[derive(Debug)]
enum Phase {
    Waiting {
        due: Mono,
    },
    Listing {
        id: RequestId,
        deadline: Mono,
        found: Box<Found>,
    },
    /// A bookie is asked what it lacks of a ledger.
    Asking {
        refill: Box<Refill>,
    },
    Repairing {
        work: Option<Box<Work>>,
        resume: Mono,
    },
}

/// The machine of one node.
#[derive(Debug)]
pub struct Auditor {
    owner: OwnerId,
    options: AuditorOptions,
    leading: bool,
    /// There are no other nodes, so no copies elsewhere to look for.
    alone: bool,
    /// Since when nodes are down, as this leader knows it.
    down: BTreeMap<NodeId, Mono>,
    /// The nodes that were alive at the last change, and those of them that take copies.
    alive: BTreeSet<NodeId>,
    takers: BTreeSet<NodeId>,
    phase: Phase,
    /// When the next look is due; not known before what the last one found is repaired.
    look_at: Option<Mono>,
    /// What is to be repaired, in this order.
    queue: VecDeque<Lacking>,
    tries: Tries,
    limbo: Limbo,
    unchecked: Unchecked,
    /// The bookie that is asked, or gets what it lacks.
    refilled: Option<Subject>,
    /// Since when ledgers that are not closed lack copies that others could take.
    unsettled: BTreeMap<LedgerId, Mono>,
    /// Something was repaired since the last look.
    progressed: bool,
    /// Looks in a row that found nothing that can be repaired now.
    looks: u32,
    machines: u32,
    seq: u64,
    stats: AuditStats,
}

impl Auditor {
    /// `owner` names its requests to the metadata and to bookies.
    pub fn new(owner: OwnerId, options: AuditorOptions) -> Self {
        Self {
            owner,
            options,
            leading: false,
            alone: false,
            down: BTreeMap::new(),
            alive: BTreeSet::new(),
            takers: BTreeSet::new(),
            phase: Phase::Waiting { due: Mono::default() },
            look_at: None,
            queue: VecDeque::new(),
            tries: Tries::default(),
            limbo: Limbo::default(),
            unchecked: Unchecked::default(),
            refilled: None,
            unsettled: BTreeMap::new(),
            progressed: false,
            looks: 0,
            machines: 0,
            seq: 0,
            stats: AuditStats::default(),
        }
    }

    pub fn set_options(&mut self, options: AuditorOptions) {
        self.options = options;
    }

    /// The region has this node only: it leads from now on, and only asks its own bookie.
    pub fn set_alone(&mut self, now: Now, view: &View) {
        self.alone = true;
        self.set_leading(now, true, view);
    }

    /// Whether this node leads the metadata.
    pub fn set_leading(&mut self, now: Now, leading: bool, view: &View) {
        if self.leading == leading {
            return;
        }
        self.leading = leading;
        self.queue.clear();
        self.down.clear();
        self.alive.clear();
        self.takers.clear();
        self.unsettled.clear();
        self.tries = Tries::default();
        self.looks = 0;
        (self.limbo, self.unchecked, self.refilled) = (Limbo::new(now.mono + SETTLE), Unchecked::default(), None);
        self.wait_until(now.mono + SETTLE); // I1
        (self.stats.ledgers, self.stats.entries, self.stats.entries_below_ack_quorum) = (0, 0, 0);
        self.count_limbo();
        self.handle_view(now, view);
    }

    /// The view changed, or a node said how it is.
    pub fn handle_view(&mut self, now: Now, view: &View) {
        if !self.leading {
            return;
        }
        let alive: BTreeSet<NodeId> = view.live_nodes().collect();
        for (node, ..) in view.nodes() {
            if alive.contains(&node) {
                self.down.remove(&node);
            } else {
                self.down.entry(node).or_insert(now.mono);
            }
        }
        self.down.retain(|node, _| view.node(*node).is_some());
        let takers: BTreeSet<NodeId> = takers(view).collect();
        if alive != self.alive || takers != self.takers {
            (self.alive, self.takers, self.looks) = (alive, takers, 0);
            self.limbo.handle_alive(now, &self.alive);
            self.unchecked.handle_takers(now, &self.takers);
            self.tries.forget();
            self.count_limbo();
            let soon = earliest(self.look_at, Some(now.mono + SETTLE));
            self.look_at = soon;
            if let (Phase::Waiting { due }, Some(soon)) = (&mut self.phase, soon) {
                *due = (*due).min(soon);
            }
        }
    }

    /// The answer to a metadata request of this machine.
    pub fn handle_meta(
        &mut self,
        now: Now,
        id: RequestId,
        response: MetaResponse,
        view: &View,
        fx: &mut Effects<AuditorEffect>,
    ) {
        match &mut self.phase {
            Phase::Listing { id: asked, .. } if *asked == id => self.handle_page(now, response, view, fx),
            Phase::Repairing { work: Some(work), .. } if work.owns(id) => {
                let ended = work.handle_meta(now, id, page::outcome(response), fx);
                self.go_on(now, ended, fx);
            }
            Phase::Asking { refill } if refill.owns(id) => {
                let verdict = refill.handle_meta(now, id, response, fx);
                self.refill(now, verdict, view, fx);
            }
            Phase::Waiting { .. } | Phase::Listing { .. } | Phase::Asking { .. } | Phase::Repairing { .. } => (),
        }
    }

    /// A bookie's answer to this machine.
    pub fn handle_bookie(
        &mut self,
        now: Now,
        from: NodeId,
        response: BookieResponse,
        view: &View,
        fx: &mut Effects<AuditorEffect>,
    ) {
        match (&mut self.phase, response) {
            (_, BookieResponse::Limbo { id, found }) => {
                let Self { limbo, seq, owner, .. } = self;
                limbo.handle(now, id, found, || next_id(*owner, seq), fx);
                self.count_limbo();
            }
            (Phase::Asking { refill }, response) if refill.owns(response.id()) => {
                let verdict = refill.handle_bookie(now, response, fx);
                self.refill(now, verdict, view, fx);
            }
            (Phase::Repairing { work: Some(work), .. }, response) => {
                let ended = work.handle_bookie(now, from, response, fx);
                self.go_on(now, ended, fx);
            }
            (Phase::Waiting { .. } | Phase::Listing { .. } | Phase::Asking { .. } | Phase::Repairing { .. }, _) => (),
        }
    }

    pub fn next_deadline(&self) -> Option<Mono> {
        if !self.leading {
            return None;
        }
        earliest(Some(self.limbo.poll_at()), self.phase_deadline())
    }

    fn phase_deadline(&self) -> Option<Mono> {
        match &self.phase {
            Phase::Waiting { due } => earliest(Some(*due), earliest(self.limbo.due(), self.unchecked.due())),
            Phase::Listing { deadline, .. } => Some(*deadline),
            Phase::Asking { refill } => Some(refill.deadline),
            Phase::Repairing { work: Some(work), .. } => work.next_deadline(),
            Phase::Repairing { work: None, resume } => Some(*resume),
        }
    }

    pub fn on_deadline(&mut self, now: Now, view: &View, fx: &mut Effects<AuditorEffect>) {
        if !self.leading {
            return;
        }
        let Self { limbo, seq, owner, .. } = self;
        limbo.poll(now, &self.alive, || next_id(*owner, seq), fx);
        if self.phase_deadline().is_none_or(|due| now.mono < due) {
            return;
        }
        match &mut self.phase {
            Phase::Waiting { .. } => self.repair_next(now, view, fx),
            Phase::Asking { .. } => self.refill(now, Some(Verdict::Silent), view, fx),
            Phase::Listing { .. } => self.wait(now, AGAIN),
            Phase::Repairing { work: Some(work), .. } => {
                let ended = work.on_deadline(now, fx);
                self.go_on(now, ended, fx);
            }
            Phase::Repairing { work: None, .. } => self.repair_next(now, view, fx),
        }
    }

    pub fn stats(&self) -> AuditStats {
        self.stats
    }

    // ---- looking ----

    fn wait(&mut self, now: Now, pause: Duration) {
        self.wait_until(self.next_look(now, pause));
    }

    fn wait_until(&mut self, due: Mono) {
        (self.look_at, self.phase) = (Some(due), Phase::Waiting { due });
    }

    fn next_look(&self, now: Now, pause: Duration) -> Mono {
        // The end of a grace period is a reason to look.
        let ripe = self.down.values().map(|since| *since + self.options.grace).filter(|at| *at > now.mono);
        let due = ripe.fold(self.tries.next(now), |first, at| earliest(first, Some(at)));
        earliest(due, Some(now.mono + pause)).unwrap_or(now.mono + pause)
    }

    fn ask_page(&mut self, now: Now, found: Box<Found>, fx: &mut Effects<AuditorEffect>) {
        assert!(self.leading, "Auditor I1: only a leader lists");
        self.look_at = None;
        let id = next_id(self.owner, &mut self.seq);
        let request = MetaRequest::Range { prefix: keys::LEDGERS.to_owned(), after: found.after.clone(), limit: PAGE };
        fx.push(AuditorEffect::Meta { id, request });
        self.phase = Phase::Listing { id, deadline: now.mono + ANSWER_TIMEOUT, found };
    }

    fn handle_page(&mut self, now: Now, response: MetaResponse, view: &View, fx: &mut Effects<AuditorEffect>) {
        let MetaResponse::Range { items, more } = response else { return self.wait(now, AGAIN) };
        let Phase::Listing { found, .. } = &mut self.phase else { return };
        let mut found = std::mem::take(found);
        read_page(&items, &self.alive, LEDGERS_MAX, &mut found); // I4
        found.after = items.into_iter().next_back().map(|(key, _)| key);
        if more && found.after.is_some() {
            return self.ask_page(now, found, fx);
        }
        let stats = &mut self.stats;
        (stats.ledgers, stats.entries) = (found.ledgers, found.entries);
        stats.entries_below_ack_quorum = found.entries_below_ack_quorum;
        self.unchecked.look(now, found.unchecked);
        let lost = self.lost(now, view);
        let open: Vec<NodeId> = takers(view).collect(); // I6
        let mut lacking = found.lacking;
        self.tries.retain(&lacking.iter().map(|one| one.ledger).collect());
        self.count_limbo();
        lacking.retain_mut(|one| {
            one.ends = one.is_unsettled(&lost, &open);
            one.ends || one.is_repairable(&lost, &open)
        });
        self.leave_to_writers(now, &mut lacking, &lost, &open);
        lacking.retain(|one| one.ends || self.tries.is_due(now, one.ledger)); // I7
        lacking.sort_by_key(|one| (one.copies_left, one.ledger));
        assert!(lacking.len() <= LEDGERS_MAX, "Auditor I4: {} ledgers", lacking.len());
        self.looks = if lacking.is_empty() { (self.looks + 1).min(AGAIN_DOUBLED_MAX) } else { 0 };
        (self.queue, self.progressed) = (lacking.into(), false);
        self.repair_next(now, view, fx);
    }

    /// Takes the ledgers out whose writers may still change their ensembles themselves (I5).
    fn leave_to_writers(&mut self, now: Now, lacking: &mut Vec<Lacking>, lost: &Lost, open: &[NodeId]) {
        let seen: BTreeSet<LedgerId> = lacking.iter().filter(|one| one.ends).map(|one| one.ledger).collect();
        self.unsettled.retain(|ledger, _| seen.contains(ledger));
        lacking.retain_mut(|one| {
            if !one.ends {
                return true;
            }
            let since = *self.unsettled.entry(one.ledger).or_insert(now.mono);
            one.ends = since + UNWRITTEN_AFTER <= now.mono;
            one.ends || one.is_repairable(lost, open)
        });
    }

    /// The bookies whose places others take: down for the grace period (I2), or no longer of the region, as this leader
    /// sees it.
    fn lost(&self, now: Now, view: &View) -> Lost {
        let ripe = |since: &Mono| *since + self.options.grace <= now.mono;
        let kept = view.nodes().map(|(node, ..)| node).filter(|node| !self.down.get(node).is_some_and(ripe));
        Lost { kept: kept.collect() }
    }

    // ---- repairing ----

    fn repair_next(&mut self, now: Now, view: &View, fx: &mut Effects<AuditorEffect>) {
        assert!(self.leading, "Auditor I1: only a leader repairs");
        let Some(next) = self.queue.pop_front() else {
            return self.idle(now, fx);
        };
        let kept = self.lost(now, view);
        let lost = next.bookies.iter().filter(|node| kept.is_lost(**node)).copied().collect();
        let ids = self.new_machine();
        let subject = (next.key, next.ledger, next.metadata);
        let (work, ended) = if next.ends {
            Work::end(ids, subject, placement(now, next.ledger, view), now, fx)
        } else {
            // The same choice until it fails: who has got a part of it already gets the rest.
            let rng = Rng::new(next.ledger.0 ^ u64::from(self.tries.times(next.ledger)));
            let placement = Placement::new(takers(view).collect(), rng).with_zones(view.zones().collect()); // I6
            Work::repair(ids, subject, RepairWork::Replace { lost, placement }, self.options.repair, now, fx)
        };
        self.phase = Phase::Repairing { work: Some(Box::new(work)), resume: now.mono };
        self.go_on(now, ended, fx);
    }

    fn new_machine(&mut self) -> RequestIds {
        self.machines = self.machines % 0x00ff_ffff + 1;
        RequestIds::new(self.owner, self.machines)
    }

    /// Goes on with the next ledger when the work on this one has ended.
    fn go_on(&mut self, now: Now, ended: Option<Ended>, fx: &mut Effects<AuditorEffect>) {
        let (Phase::Repairing { work: Some(work), .. }, Some(ended)) = (&self.phase, ended) else { return };
        let ((entries, bytes), ledger) = (work.copied(), work.ledger);
        let resume = work.paid_at().max(now.mono); // I3
        let stats = &mut self.stats;
        stats.repaired_entries_total += entries;
        stats.repaired_bytes_total += bytes;
        match ended {
            Ended::Closed => (),
            Ended::Repaired => stats.repaired_ledgers_total += 1,
            Ended::Failed(_) => stats.failed_repairs_total += 1,
        }
        match (ended, self.refilled) {
            (Ended::Failed(Some(error)), None) => self.repair_failed(now, ledger, error, fx),
            (Ended::Repaired, None) => self.tries.done(ledger),
            (Ended::Failed(_) | Ended::Repaired | Ended::Closed, _) => (),
        }
        self.progressed |= !matches!(ended, Ended::Failed(_));
        self.phase = Phase::Repairing { work: None, resume };
        self.end_refill(now, ended, fx);
    }

    /// I7. What no bookie has is said once.
    fn repair_failed(&mut self, now: Now, ledger: LedgerId, error: RepairError, fx: &mut Effects<AuditorEffect>) {
        let unreadable = matches!(error, RepairError::Unreadable { .. });
        if self.tries.failed(now, ledger, unreadable) {
            fx.push(AuditorEffect::Alarm { text: format!("lost copies cannot be made again: {error}") });
        }
        self.count_limbo();
    }
}

/// Machine 0; repairs have numbers from 1 on.
fn next_id(owner: OwnerId, seq: &mut u64) -> RequestId {
    *seq += 1;
    RequestId::new(owner, *seq)
}

/// The nodes that take copies: alive, not draining, and not known to have a full disk.
fn takers(view: &View) -> impl Iterator<Item = NodeId> {
    view.open_nodes().filter(|node| !view.load(*node).is_some_and(|load| load.read_only))
}

fn placement(now: Now, ledger: LedgerId, view: &View) -> Placement {
    let (rng, zones) = (Rng::new(ledger.0 ^ now.wall_ms), view.zones().collect::<Zones>());
    Placement::new(view.open_nodes().collect(), rng).with_zones(zones)
}

/// Who keeps a place in ledgers.
struct Lost {
    kept: BTreeSet<NodeId>,
}

impl Lost {
    fn is_lost(&self, node: NodeId) -> bool {
        node != VACANT && !self.kept.contains(&node)
    }
}
