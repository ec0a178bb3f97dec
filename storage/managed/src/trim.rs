//! Decides which ledgers may go, and when the current one should be ended so that it may go too.
//!
//! **Invariants**
//! - I1  a ledger goes only when it is closed, every durable cursor has durably passed all of it, the checkpoint (when
//!   one is required) covers it, and it is outside the retention.
//! - I2  ledgers go oldest first.
//!
//! **Not here**  Doing it (`care`), deleting copies (`discard`).
//!
//! **Tests**  below; `machine` property tests compare with a model that holds every entry.

use crate::chain::{Chain, LedgerInfo};
use crate::{ManagedOptions, Retention};
use base::{Mono, Now, Position, earliest};
use std::time::Duration;

/// Most ledgers that one transaction forgets.
const LEDGERS_MAX: usize = 256;

/// What trimming is held back by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Floor {
    /// Nobody needs anything.
    Nothing,
    /// Everything after this position is needed.
    After(Position),
}

impl Floor {
    fn covers(self, position: Position) -> bool {
        match self {
            Self::Nothing => true,
            Self::After(floor) => position <= floor,
        }
    }
}

/// What to do now, and when to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TrimPlan {
    /// Everything up to here may go; it is the last entry of a ledger.
    pub(crate) up_to: Option<Position>,
    pub(crate) current: CurrentLedger,
    pub(crate) due: Option<Mono>,
}

/// What to do with the ledger being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CurrentLedger {
    Keep,
    RollOver,
}

/// Plans. What any of the retentions keeps is kept; `opened` is when the current ledger was opened, if there is one.
pub(crate) fn plan(
    chain: &Chain,
    floor: Floor,
    retentions: &[Retention],
    options: &ManagedOptions,
    now: Now,
    opened: Option<Mono>,
) -> TrimPlan {
    let mut plan = TrimPlan { up_to: None, current: CurrentLedger::Keep, due: None };
    let mut left_bytes = chain.bytes();
    for info in chain.ledgers().take(LEDGERS_MAX) {
        let (Some(last), Some(closed_ms)) = (chain.last_of(info.ledger), info.closed_ms) else { break };
        if !floor.covers(last) {
            return plan;
        }
        left_bytes -= info.bytes;
        if let Some(wait) = retained(retentions, left_bytes, closed_ms, now) {
            plan.due = wait.map(|wait| now.mono + wait);
            return plan;
        }
        plan.up_to = Some(last);
    }
    if let (Some(newest), Some(opened)) = (chain.newest().filter(|newest| newest.closed_ms.is_none()), opened) {
        let left_bytes = chain.bytes() - newest.bytes;
        let free = floor.covers(chain.last()) && retained(retentions, left_bytes, now.wall_ms, now).is_none();
        plan_current(&mut plan, newest, free, options, now, opened);
    }
    plan
}

/// Ends the ledger being written at its age, or earlier when it is free to go.
fn plan_current(plan: &mut TrimPlan, newest: LedgerInfo, free: bool, options: &ManagedOptions, now: Now, opened: Mono) {
    if newest.entries == 0 {
        return;
    }
    let mut due = opened + options.ledger_age_max;
    if free {
        let large = newest.bytes >= options.consumed_bytes_min;
        due = due.min(if large { now.mono } else { opened + options.consumed_age_min });
    }
    if due <= now.mono {
        plan.current = CurrentLedger::RollOver;
    } else {
        plan.due = earliest(plan.due, Some(due));
    }
}

/// `None`: nothing keeps a ledger that was closed then, when `left_bytes` stay after it. `Some`: something does, and for
/// how long until it is worth looking again if time ends it.
fn retained(retentions: &[Retention], left_bytes: u64, closed_ms: u64, now: Now) -> Option<Option<Duration>> {
    let kept = retentions.iter().filter_map(|retention| retained_for(*retention, left_bytes, closed_ms, now));
    kept.reduce(|left, right| left.into_iter().chain(right).min())
}

fn retained_for(retention: Retention, left_bytes: u64, closed_ms: u64, now: Now) -> Option<Option<Duration>> {
    if retention.bytes.is_some_and(|bytes| left_bytes >= bytes) {
        return None;
    }
    let Some(time) = retention.time else { return Some(None) };
    let age = Duration::from_millis(now.wall_ms.saturating_sub(closed_ms));
    // At least a millisecond, so that a deadline lies in the future.
    (age < time).then(|| Some((time - age).max(Duration::from_millis(1))))
}
