//! One compare-and-put of a ledger's metadata, pressed until its outcome is known.
//!
//! **States**  Putting → Won | Lost;  Putting → Waiting → Checking → Putting | Won | Lost when no answer could be had.
//!
//! **Invariants**
//! - I1  the proposal and the version that it replaces never change during the attempt.
//! - I2  Won only when the store said "committed" or holds exactly the proposal: an answer that got lost is not a defeat.
//! - I3  at most one request is outstanding; the answer to any other is ignored.
//!
//! **Not here**  What winning or losing means (`writer`, `recovery`).
//!
//! **Tests**  the table below; the simulator in `tests/` loses answers of the store.

use crate::{LedgerEffect, LedgerMetadata, MetadataOutcome, RequestIds, VersionedMetadata};
use base::{Effects, LedgerId, Mono, Now, RequestId};
use std::time::Duration;

/// A store that does not answer for so long is asked again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// How an attempt stands.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum CasVerdict {
    Pending,
    Won {
        version: u64,
    },
    /// Something else stands there; `None`: the ledger was deleted.
    Lost(Option<VersionedMetadata>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    Putting { id: RequestId, deadline: Mono },
    Checking { id: RequestId, deadline: Mono },
    Waiting { until: Mono },
}

/// A compare-and-put under way.
#[derive(Clone, Debug, Hash)]
pub(crate) struct MetadataCas {
    ledger: LedgerId,
    base_version: u64,
    proposed: LedgerMetadata,
    step: Step,
    failures: u32,
}

impl MetadataCas {
    pub(crate) fn start<E>(
        ids: &mut RequestIds,
        ledger: LedgerId,
        base_version: u64,
        proposed: LedgerMetadata,
        now: Now,
        fx: &mut Effects<LedgerEffect<E>>,
    ) -> Self {
        assert!(proposed.check().is_ok(), "LedgerMetadata I1-I3: {proposed:?}");
        let step = Step::Waiting { until: now.mono };
        let mut cas = Self { ledger, base_version, proposed, step, failures: 0 };
        cas.put(ids, now, fx);
        cas
    }

    /// Takes an answer.
    pub(crate) fn handle<E>(
        &mut self,
        ids: &mut RequestIds,
        now: Now,
        id: RequestId,
        outcome: MetadataOutcome,
        fx: &mut Effects<LedgerEffect<E>>,
    ) -> CasVerdict {
        let awaited = match self.step {
            Step::Putting { id, .. } | Step::Checking { id, .. } => Some(id),
            Step::Waiting { .. } => None,
        };
        if awaited != Some(id) {
            return CasVerdict::Pending; // I3: late or doubled.
        }
        match outcome {
            MetadataOutcome::Committed { version } => CasVerdict::Won { version },
            MetadataOutcome::Conflict { actual } => self.compare(actual),
            MetadataOutcome::Current(Some(actual)) if actual.version == self.base_version => {
                self.put(ids, now, fx);
                CasVerdict::Pending
            }
            MetadataOutcome::Current(actual) => self.compare(actual),
            MetadataOutcome::Unavailable => {
                self.wait(now);
                CasVerdict::Pending
            }
        }
    }

    pub(crate) fn next_deadline(&self) -> Mono {
        match self.step {
            Step::Putting { deadline, .. } | Step::Checking { deadline, .. } => deadline,
            Step::Waiting { until } => until,
        }
    }

    pub(crate) fn on_deadline<E>(&mut self, ids: &mut RequestIds, now: Now, fx: &mut Effects<LedgerEffect<E>>) {
        if now.mono < self.next_deadline() {
            return;
        }
        match self.step {
            Step::Putting { .. } | Step::Checking { .. } => self.wait(now),
            Step::Waiting { .. } => {
                let id = ids.allocate();
                fx.push(LedgerEffect::ReadMetadata { id, ledger: self.ledger });
                self.step = Step::Checking { id, deadline: now.mono + ANSWER_TIMEOUT };
            }
        }
    }

    pub(crate) fn proposed(&self) -> &LedgerMetadata {
        &self.proposed
    }

    pub(crate) fn into_proposed(self) -> LedgerMetadata {
        self.proposed
    }

    /// Requests that brought no answer.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    fn compare(&self, actual: Option<VersionedMetadata>) -> CasVerdict {
        match actual {
            Some(actual) if actual.metadata == self.proposed => CasVerdict::Won { version: actual.version }, // I2
            actual => CasVerdict::Lost(actual),
        }
    }

    fn put<E>(&mut self, ids: &mut RequestIds, now: Now, fx: &mut Effects<LedgerEffect<E>>) {
        let id = ids.allocate();
        let metadata = self.proposed.clone();
        fx.push(LedgerEffect::CasMetadata { id, ledger: self.ledger, version: self.base_version, metadata });
        self.step = Step::Putting { id, deadline: now.mono + ANSWER_TIMEOUT };
    }

    fn wait(&mut self, now: Now) {
        let backoff = BACKOFF_MIN.saturating_mul(1 << self.failures.min(10)).min(BACKOFF_MAX);
        self.failures = self.failures.saturating_add(1);
        self.step = Step::Waiting { until: now.mono + backoff };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ReplicationConfig;
    use base::{NodeId, OwnerId};

    type Fx = Effects<LedgerEffect<()>>;

    fn now(ms: u64) -> Now {
        Now { mono: Mono(ms * 1_000_000), wall_ms: ms }
    }

    fn started() -> (RequestIds, MetadataCas, LedgerMetadata, Fx) {
        let mut ids = RequestIds::new(OwnerId(1), 1);
        let open = LedgerMetadata::new(ReplicationConfig::SINGLE, vec![NodeId(1)], 0).unwrap();
        let mut fx = Fx::new();
        let cas = MetadataCas::start(&mut ids, LedgerId(9), 4, open.in_recovery(), now(0), &mut fx);
        (ids, cas, open, fx)
    }

    fn id_of(fx: &mut Fx) -> RequestId {
        match fx.take().as_slice() {
            [LedgerEffect::CasMetadata { id, version: 4, .. } | LedgerEffect::ReadMetadata { id, .. }] => *id,
            other => panic!("MetadataCas I1, I3: one request, for version 4, not {other:?}"),
        }
    }

    #[test]
    fn a_committed_put_wins_and_foreign_answers_are_ignored() {
        let (mut ids, mut cas, _, mut fx) = started();
        let (foreign, id) = (ids.allocate(), id_of(&mut fx));
        let committed = MetadataOutcome::Committed { version: 5 };
        assert_eq!(cas.handle(&mut ids, now(1), foreign, committed.clone(), &mut fx), CasVerdict::Pending);
        assert_eq!(cas.handle(&mut ids, now(1), id, committed, &mut fx), CasVerdict::Won { version: 5 });
    }

    #[test]
    fn a_put_whose_answer_was_lost_is_recognised_as_won() {
        let (mut ids, mut cas, open, mut fx) = started();
        let id = id_of(&mut fx);
        assert_eq!(cas.handle(&mut ids, now(1), id, MetadataOutcome::Unavailable, &mut fx), CasVerdict::Pending);
        cas.on_deadline(&mut ids, now(2), &mut fx);
        assert!(fx.is_empty(), "it waits before it asks again");
        cas.on_deadline(&mut ids, now(101), &mut fx);
        let id = id_of(&mut fx);
        let actual = VersionedMetadata { metadata: open.in_recovery(), version: 5 };
        let current = MetadataOutcome::Current(Some(actual));
        let verdict = cas.handle(&mut ids, now(110), id, current, &mut fx);
        assert_eq!(verdict, CasVerdict::Won { version: 5 }, "MetadataCas I2");
    }

    #[test]
    fn a_put_that_did_not_happen_is_repeated_and_a_different_record_is_a_defeat() {
        let (mut ids, mut cas, open, mut fx) = started();
        id_of(&mut fx);
        cas.on_deadline(&mut ids, now(5_000), &mut fx); // no answer at all
        cas.on_deadline(&mut ids, now(5_100), &mut fx);
        let id = id_of(&mut fx);
        let unchanged = VersionedMetadata { metadata: open.clone(), version: 4 };
        let current = MetadataOutcome::Current(Some(unchanged));
        assert_eq!(cas.handle(&mut ids, now(5_200), id, current, &mut fx), CasVerdict::Pending);
        let id = id_of(&mut fx);
        let closed = VersionedMetadata { metadata: open.closed_at(base::EntryId(3), 9), version: 6 };
        let conflict = MetadataOutcome::Conflict { actual: Some(closed.clone()) };
        assert_eq!(cas.handle(&mut ids, now(5_300), id, conflict, &mut fx), CasVerdict::Lost(Some(closed)));
        assert_eq!(cas.failures(), 1);
    }
}
