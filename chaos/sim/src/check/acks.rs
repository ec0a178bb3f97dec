//! What was acknowledged stays so; exclusive consumers read in order; a seek brings everything again.

use super::loads::Loads;
use super::{Kind, Violation};
use crate::history::{AUDIT, Delivered, History, SEEKER, SubKey};
use base::Position;
use std::collections::{BTreeMap, BTreeSet};

/// An acknowledgement that was answered is never forgotten: its entry, or its message of a batch, does not leave the server
/// again. Subscriptions that seek want to forget.
pub(super) fn check_answered(history: &History, found: &mut Vec<Violation>) {
    let loads = Loads::of(history);
    let mut answered: BTreeMap<(&SubKey, Position, Option<u32>), (u64, u64)> = BTreeMap::new();
    for answer in history.answered.iter().filter(|answer| answer.sub.name != SEEKER) {
        let whole = answer.positions.iter().map(|position| (*position, None));
        for (position, part) in whole.chain(answer.parts.iter().map(|(position, part)| (*position, Some(*part)))) {
            let first = answered.entry((&answer.sub, position, part)).or_insert((answer.step, answer.boot));
            *first = (*first).min((answer.step, answer.boot));
        }
    }
    for delivered in &history.delivered {
        let parts = (0..u32::try_from(delivered.messages.len()).unwrap_or(0)).filter(|p| !delivered.absent.contains(p));
        for part in std::iter::once(None).chain(parts.map(Some)) {
            if let Some((step, boot)) = answered.get(&(&delivered.sub, delivered.position, part))
                && *step < delivered.step
                // A frozen owner goes on for a moment with what it knew: only who opened the log later has to know.
                && loads.began(&delivered.sub, delivered.boot, delivered.step) >= loads.began(&delivered.sub, *boot, *step)
            {
                let text = format!(
                    "{:?}: {} (message {part:?}) was sent in step {} though its acknowledgement was answered in step {step}",
                    delivered.sub, delivered.position, delivered.step
                );
                found.push(Violation::new(Kind::AckForgotten, text));
            }
        }
    }
}

/// Within one session of a consumer that has the subscription for itself, positions only grow.
pub(super) fn check_delivery_order(history: &History, found: &mut Vec<Violation>) {
    let mut last: BTreeMap<u64, Position> = BTreeMap::new();
    for delivered in history.delivered.iter().filter(|delivered| !delivered.sub.name.contains("shared")) {
        if let Some(before) = last.insert(delivered.session, delivered.position)
            && before >= delivered.position
        {
            let text = format!("{:?}: {} after {before} in one session", delivered.sub, delivered.position);
            found.push(Violation::new(Kind::DeliveryOrder, text));
        }
    }
}

/// After the last seek of a subscription, if it was answered, everything in the log comes again from the place asked for on,
/// or from the first place that is still there; what was not acknowledged is.
pub(super) fn check_seeks(history: &History, found: &mut Vec<Violation>) {
    let last: BTreeMap<&SubKey, &crate::history::Seek> = history.seeks.iter().map(|seek| (&seek.sub, seek)).collect();
    for (sub, seek) in last {
        let Some(step) = seek.step else { continue };
        let after = |d: &&Delivered| d.sub == *sub && d.step > step;
        let again: BTreeSet<Position> = history.delivered.iter().filter(after).map(|d| d.position).collect();
        let Some(first) = again.first().filter(|first| **first <= seek.kept) else {
            let text = format!("{sub:?}: after a seek to {} came {:?} first", seek.to, again.first());
            found.push(Violation::new(Kind::Seek, text));
            continue;
        };
        let audit = |d: &&Delivered| d.sub.name == AUDIT && (d.sub.region, &d.sub.topic) == (sub.region, &sub.topic);
        for position in history.delivered.iter().filter(audit).map(|d| d.position) {
            if position >= *first && !again.contains(&position) {
                let text = format!("{sub:?}: {position} did not come again after a seek to {}", seek.to);
                found.push(Violation::new(Kind::Seek, text));
            }
        }
    }
}
