//! What the metadata promises of owners, seen from outside: at each revision a bundle has one owner, and only that one
//! changes the logs of its topics.
//!
//! **What**  Judges the changes themselves, not the conditions that they were asked under.
//!
//! **Invariants** checked
//! - O1  a log is changed only by the life of a node that its bundle's record names at that moment (ADR 0009 §6).
//! - O2  an owner that takes the place of another one has an epoch one above (`cluster::View` I3).
//! - O3  a bundle is given to a life that counts as alive (`cluster::View` I3).
//! - O4  an owner's record is taken away by that owner alone.

use super::{Kind, Violation};
use crate::history::{History, OwnerChanged};

pub(super) fn check_owners(history: &History, found: &mut Vec<Violation>) {
    for change in history.log_changes.iter().filter(|change| change.owner != Some(change.by)) {
        let (by, owner, step) = (change.by, change.owner, change.step);
        let text = format!("O1: the log of {} was changed by {by:?} in step {step}, owner was {owner:?}", change.topic);
        found.push(Violation::new(Kind::Ownership, text));
    }
    let broken = history.owner_changes.iter().filter_map(|change| Some((judge(change)?, change)));
    found.extend(broken.map(|(what, change)| Violation::new(Kind::Ownership, format!("{what}: {change:?}"))));
}

fn judge(change: &OwnerChanged) -> Option<&'static str> {
    match (change.before, change.after) {
        (Some(before), None) => (before.life != change.by).then_some("O4: an owner was put out by another one"),
        (Some(before), Some(after)) if before == after => None, // It is asked to hand the bundle over.
        (Some(before), Some(after)) if after.epoch != before.epoch + 1 => Some("O2: two owners under one epoch"),
        (_, Some(after)) => (change.alive != Some(after.life.incarnation)).then_some("O3: given to a dead node"),
        (None, None) => None,
    }
}
