//! What was acknowledged stays so; exclusive consumers read in order.

use super::{Kind, Violation};
use crate::history::{History, SubKey};
use base::Position;
use std::collections::BTreeMap;

/// An acknowledgement that was answered is never forgotten: its entry does not leave the server again.
pub(super) fn check_answered(history: &History, found: &mut Vec<Violation>) {
    let mut answered: BTreeMap<(&SubKey, Position), u64> = BTreeMap::new();
    for answer in &history.answered {
        for position in &answer.positions {
            let step = answered.entry((&answer.sub, *position)).or_insert(answer.step);
            *step = (*step).min(answer.step);
        }
    }
    for delivered in &history.delivered {
        if let Some(step) = answered.get(&(&delivered.sub, delivered.position))
            && *step < delivered.step
        {
            let text = format!(
                "{:?}: {} was sent in step {} though its acknowledgement was answered in step {step}",
                delivered.sub, delivered.position, delivered.step
            );
            found.push(Violation::new(Kind::AckForgotten, text));
        }
    }
}

/// Within one subscribing of an exclusive consumer that asks for no redelivery, positions only grow.
pub(super) fn check_delivery_order(history: &History, found: &mut Vec<Violation>) {
    let mut last: BTreeMap<u64, Position> = BTreeMap::new();
    for delivered in history.delivered.iter().filter(|delivered| !delivered.sub.name.starts_with("shared")) {
        if let Some(before) = last.insert(delivered.session, delivered.position)
            && before >= delivered.position
        {
            let text = format!("{:?}: {} after {before} in one session", delivered.sub, delivered.position);
            found.push(Violation::new(Kind::DeliveryOrder, text));
        }
    }
}
