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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::ManagedRecord;
    use base::{EntryId, LedgerId, RegionId};
    use ledger::ReplicationConfig;

    const NOW: Now = Now { mono: Mono(1_000_000_000), wall_ms: 10_000 };

    /// Three closed ledgers (10, 11, 12) of two entries and 100 bytes, closed at 1, 2 and 3 s, and an open one.
    fn chain() -> Chain {
        let mut chain = Chain::new(&ManagedRecord::empty());
        for n in 0..4 {
            chain.start(LedgerId(10 + n));
            (0..2)
                .for_each(|entry| assert_eq!(chain.confirm(LedgerId(10 + n), EntryId(entry), 50).1 % 2, entry as u64));
            if n < 3 {
                chain.end(LedgerId(10 + n), (n + 1) * 1000);
            }
        }
        chain
    }

    fn options() -> ManagedOptions {
        ManagedOptions::new(RegionId(1), ReplicationConfig::SINGLE)
    }

    fn trimmed(floor: Floor, retention: Retention) -> (Option<u64>, Option<Duration>) {
        let plan = plan(&chain(), floor, &[retention], &options(), NOW, None);
        (plan.up_to.map(|position| position.ledger.0), plan.due.map(|due| due.since(NOW.mono)))
    }

    #[test]
    fn a_ledger_goes_when_its_last_entry_is_passed() {
        let at = |ledger, entry| Floor::After(Position::new(LedgerId(ledger), entry));
        assert_eq!(trimmed(at(10, 0), Retention::NONE).0, None);
        assert_eq!(trimmed(at(10, 1), Retention::NONE).0, Some(10));
        assert_eq!(trimmed(at(12, 0), Retention::NONE).0, Some(11));
        assert_eq!(trimmed(Floor::Nothing, Retention::NONE).0, Some(12), "the open one stays");
    }

    #[test]
    fn retention_by_size_keeps_at_least_so_many_bytes() {
        let keep = |bytes| trimmed(Floor::Nothing, Retention { bytes: Some(bytes), time: None }).0;
        assert_eq!([keep(100), keep(101), keep(300), keep(301)], [Some(12), Some(11), Some(10), None]);
    }

    #[test]
    fn retention_by_time_says_when_to_look_again() {
        let keep = |s| trimmed(Floor::Nothing, Retention { bytes: None, time: Some(Duration::from_secs(s)) });
        assert_eq!(keep(8), (Some(11), Some(Duration::from_secs(1))));
        assert_eq!(keep(10), (None, Some(Duration::from_secs(1))));
        assert_eq!(trimmed(Floor::Nothing, Retention::FOREVER), (None, None));
    }

    #[test]
    fn what_any_retention_keeps_is_kept() {
        let time = Retention { bytes: None, time: Some(Duration::from_secs(8)) };
        let plan = plan(&chain(), Floor::Nothing, &[Retention::NONE, time], &options(), NOW, None);
        assert_eq!(plan.up_to.map(|position| position.ledger.0), Some(11));
    }

    #[test]
    fn the_current_ledger_ends_when_it_is_consumed_and_old_or_large_enough() {
        let current = |floor, opened, options: &ManagedOptions| {
            let plan = plan(&chain(), floor, &[Retention::NONE], options, NOW, Some(opened));
            (plan.current, plan.due.map(|due| due.since(opened)))
        };
        let (fresh, old) = (NOW.mono, NOW.mono - Duration::from_secs(600));
        let due = Some(Duration::from_secs(600));
        assert_eq!(current(Floor::Nothing, fresh, &options()), (CurrentLedger::Keep, due));
        assert_eq!(current(Floor::Nothing, old, &options()).0, CurrentLedger::Keep, "the clock began later");
        let options = ManagedOptions { consumed_age_min: Duration::from_millis(500), ..options() };
        assert_eq!(current(Floor::Nothing, Mono(1), &options).0, CurrentLedger::RollOver);
        let unread = Floor::After(Position::new(LedgerId(13), 0));
        assert_eq!(current(unread, Mono(1), &options).0, CurrentLedger::Keep);
        let large = ManagedOptions { consumed_bytes_min: 100, ..options };
        assert_eq!(current(Floor::Nothing, fresh, &large).0, CurrentLedger::RollOver);
    }
}
