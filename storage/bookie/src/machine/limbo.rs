//! What the bookie may have lost, and what it therefore does not deny.
//!
//! **What**  A loss is damage whose records nobody can name, or a start that may have lost anything ([`BookieStart`]). Until
//! a listing of the metadata says which ledgers there were, the whole bookie is in limbo. Then each of those ledgers is
//! marked on disk: it is fenced, what is there is served, and what is not is answered `Unknown`, until
//! [`BookieRequest::Repaired`](wire::bookie::BookieRequest::Repaired) says that its entries are here again.
//!
//! **States**  of a loss: found → (of the whole disk: recorded) → measuring → measured. Of a ledger: sure → suspect ⇄ repaired.
//!
//! **Invariants**
//! - I1  while a loss is not measured, no ledger is denied anything and none takes adds; the loss counts as measured only
//!   when all its marks are durable, so that a crash on the way starts it over.
//! - I2  marks carry ascending numbers of losses: a repair lifts only the losses before it, whatever the cleaner moves.
//! - I3  a ledger that was ever marked stays fenced: the fence may be what was lost.
//!
//! **Not here**  Repairing (`ledger`), deciding that a start may have lost something (the node: cookie and incarnation).

use super::index::Index;
use super::pending::{Appending, Waiting};
use super::{Bookie, Fx, respond};
use crate::layout::{self, Loss, LostRange, Mark};
use crate::options::BookieStart;
use base::{LedgerId, NodeId, RequestId};
use std::collections::BTreeSet;
use wire::bookie::BookieResponse;

#[derive(Debug, Default)]
pub(super) struct LimboState {
    /// Losses whose extent in ledgers is not known, or not durable.
    unmeasured: Vec<Loss>,
    measuring: bool,
    /// The loss of the whole disk that is not durable yet, and whether it is on its way.
    unrecorded: Option<(Loss, bool)>,
}

impl LimboState {
    pub(super) fn open(start: BookieStart, lost: &[LostRange], index: &Index) -> Self {
        let found = lost.iter().map(|lost| Loss { file: lost.file, up_to: lost.up_to, measured: false });
        let whole: Vec<Loss> = index.losses().filter(|loss| loss.file == Loss::WHOLE_DISK).collect();
        let open = whole.iter().filter(|loss| !loss.measured && !whole.contains(&Loss { measured: true, ..**loss }));
        let mut state = Self { unmeasured: found.chain(open.copied()).collect(), ..Self::default() };
        let recorded = state.unmeasured.iter().any(|loss| loss.file == Loss::WHOLE_DISK);
        if start == BookieStart::MayHaveLost && !recorded {
            let up_to = whole.iter().map(|loss| loss.up_to).max().unwrap_or(0) + 1;
            let loss = Loss { file: Loss::WHOLE_DISK, up_to, measured: false };
            state.unmeasured.push(loss);
            state.unrecorded = Some((loss, false));
        }
        state
    }

    /// The extent of some loss is not known: everything is in limbo.
    pub(super) fn is_whole(&self) -> bool {
        !self.unmeasured.is_empty()
    }

    /// Something is to be written as soon as possible.
    pub(super) fn is_due(&self) -> bool {
        matches!(self.unrecorded, Some((_, false)))
    }
}

impl Bookie {
    /// Whether a restart knows by itself what [`BookieStart::MayHaveLost`] said. Before that, a process that is given
    /// anything else at its next start would deny what it lost.
    pub fn start_is_recorded(&self) -> bool {
        self.limbo.unrecorded.is_none()
    }

    /// Whether "no such ledger" or "no such entry" could be a lie (Bookie I3).
    pub(super) fn may_have_lost(&self, ledger: LedgerId) -> bool {
        self.limbo.is_whole() || self.index.mark(ledger).is_some_and(|mark| !mark.repaired)
    }

    /// Writes down that the whole disk is in doubt, before anything else is written.
    pub(super) fn record_start(&mut self, fx: &mut Fx) {
        if let Some((loss, on_its_way @ false)) = &mut self.limbo.unrecorded {
            *on_its_way = true;
            let loss = *loss;
            self.append(Appending::Loss { loss }, layout::loss_record(loss), None, fx);
        }
    }

    /// After a loss: marks every ledger that existed before it. `known` are those of the metadata, as listed after this
    /// process started; one that is neither listed nor on this disk was created later or is deleted.
    pub(super) fn measure_losses(&mut self, known: &BTreeSet<LedgerId>, fx: &mut Fx) {
        if self.limbo.measuring || !self.limbo.is_whole() {
            return;
        }
        self.limbo.measuring = true;
        let on_disk: BTreeSet<LedgerId> = self.index.ledgers().map(|(id, _)| id).collect();
        let before = self.index.ledgers().filter_map(|(_, ledger)| ledger.mark).map(|(mark, _)| mark.loss).max();
        let mark = Mark { loss: before.unwrap_or(0) + 1, repaired: false }; // I2
        for &ledger in on_disk.union(known) {
            self.append(Appending::Mark { ledger, mark }, layout::mark_record(ledger, mark), None, fx);
        }
        for loss in self.limbo.unmeasured.clone() {
            let loss = Loss { measured: true, ..loss };
            self.append(Appending::Loss { loss }, layout::loss_record(loss), None, fx); // I1: behind all marks.
        }
    }

    /// A loss record is durable, and with it everything that was appended before.
    pub(super) fn loss_recorded(&mut self, loss: Loss) {
        let open = Loss { measured: false, ..loss };
        if loss.measured {
            self.limbo.unmeasured.retain(|other| *other != open);
            self.limbo.measuring = self.limbo.is_whole();
        } else if self.limbo.unrecorded.is_some_and(|(unrecorded, _)| unrecorded == loss) {
            self.limbo.unrecorded = None;
        }
    }

    /// The ledger has its entries back that it lacked at this loss.
    pub(super) fn repaired(&mut self, to: NodeId, id: RequestId, ledger: LedgerId, loss: u32, fx: &mut Fx) {
        let room = self.pending.bytes() <= 2 * self.options.pending_bytes_max;
        match self.index.mark(ledger).filter(|mark| !mark.repaired) {
            // I2: what was lost since is not made good. Nor is what was found damaged since.
            Some(mark) if mark.loss == loss && room && !self.limbo.is_whole() && !self.damaged.touches(ledger) => {
                let mark = Mark { repaired: true, ..mark };
                let waiting = Waiting::Repaired { to, id, ledger };
                self.append(Appending::Mark { ledger, mark }, layout::mark_record(ledger, mark), Some(waiting), fx);
            }
            Some(_) | None => self.answer_repaired(to, id, ledger, fx),
        }
    }

    pub(super) fn answer_repaired(&self, to: NodeId, id: RequestId, ledger: LedgerId, fx: &mut Fx) {
        let lifted = !self.may_have_lost(ledger) && !self.damaged.touches(ledger);
        respond(to, BookieResponse::Repaired { id, ledger, lifted }, fx);
    }
}
