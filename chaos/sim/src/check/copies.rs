//! Loss, duplicates, order, and whether the regions hold the same.

use super::{Kind, Violation};
use crate::history::{AUDIT, Delivered, History, Message, SubKey};
use base::Position;
use std::collections::{BTreeMap, BTreeSet};

type Log = BTreeMap<Position, Vec<Message>>;

/// The content of a topic in a region as its audit subscription saw it.
fn log_of(history: &History, sub: &SubKey, found: &mut Vec<Violation>) -> Log {
    let mut log = Log::new();
    for Delivered { position, messages, .. } in history.delivered.iter().filter(|delivered| delivered.sub == *sub) {
        let known = log.entry(*position).or_insert_with(|| messages.clone());
        if known != messages {
            found.push(Violation::new(
                Kind::Position,
                format!("{sub:?} {position}: first {known:?}, then {messages:?}"),
            ));
        }
    }
    log
}

fn audits(history: &History) -> impl Iterator<Item = &SubKey> {
    history.subs.iter().filter(|sub| sub.name == AUDIT)
}

/// Each log by itself: no message twice, none of nobody, producers in order; receipts name the right place.
pub(super) fn check_logs(history: &History, found: &mut Vec<Violation>) {
    let sent: BTreeSet<&Message> = history.sent.iter().map(|sent| &sent.message).collect();
    for sub in audits(history) {
        let log = log_of(history, sub, found);
        let mut places: BTreeMap<&Message, Position> = BTreeMap::new();
        let mut last: BTreeMap<usize, u64> = BTreeMap::new();
        for (position, messages) in &log {
            for message in messages {
                let plan = history.producers.get(message.producer);
                if !sent.contains(message) || !plan.is_some_and(|plan| plan.reaches(sub.region, &sub.topic)) {
                    found.push(Violation::new(Kind::Phantom, format!("{sub:?} {position}: {message:?}")));
                }
                if let Some(other) = places.insert(message, *position) {
                    found.push(Violation::new(
                        Kind::Duplicate,
                        format!("{sub:?}: {message:?} at {other} and {position}"),
                    ));
                } else if last.get(&message.producer).is_some_and(|last| *last > message.number) {
                    found.push(Violation::new(
                        Kind::Order,
                        format!("{sub:?} {position}: {message:?} after a later one"),
                    ));
                }
                last.insert(message.producer, message.number);
            }
        }
        check_receipts(history, sub, &places, found);
    }
}

fn check_receipts(history: &History, sub: &SubKey, places: &BTreeMap<&Message, Position>, found: &mut Vec<Violation>) {
    for acked in &history.acked {
        let plan = &history.producers[acked.producer];
        if !plan.reaches(sub.region, &sub.topic) {
            continue;
        }
        for number in acked.first..=acked.last {
            let message = Message { producer: acked.producer, number };
            match (places.get(&message), acked.position) {
                (None, _) => {
                    let text =
                        format!("{sub:?}: {message:?} was answered at {:?} and is not in the log", acked.position);
                    found.push(Violation::new(Kind::Lost, text));
                }
                (Some(place), Some(named)) if plan.region == sub.region && *place != named => {
                    let text = format!("{sub:?}: {message:?} stands at {place}, its receipt said {named}");
                    found.push(Violation::new(Kind::Position, text));
                }
                (Some(_), _) => (),
            }
        }
    }
}

/// The same messages of each origin region in the same order in every region.
pub(super) fn check_regions(history: &History, found: &mut Vec<Violation>) {
    let mut ignored = Vec::new();
    let topics: BTreeSet<&String> = audits(history).map(|sub| &sub.topic).collect();
    for topic in topics {
        for origin in 0..history.regions {
            let copies: Vec<(usize, Vec<Message>)> = audits(history)
                .filter(|sub| sub.topic == *topic)
                .map(|sub| {
                    let log = log_of(history, sub, &mut ignored);
                    let of_origin = |message: &Message| {
                        let plan = &history.producers[message.producer];
                        plan.region == origin && !plan.local
                    };
                    (sub.region, log.into_values().flatten().filter(of_origin).collect())
                })
                .collect();
            for pair in copies.windows(2) {
                if pair[0].1 != pair[1].1 {
                    found.push(difference(topic, origin, &pair[0], &pair[1]));
                }
            }
        }
    }
}

fn difference(topic: &str, origin: usize, a: &(usize, Vec<Message>), b: &(usize, Vec<Message>)) -> Violation {
    let at = a.1.iter().zip(&b.1).position(|(x, y)| x != y).unwrap_or_else(|| a.1.len().min(b.1.len()));
    let text = format!(
        "{topic}, published in region {origin}: region {} holds {} messages, region {} holds {}; first difference at {at}: \
         {:?} and {:?}",
        a.0,
        a.1.len(),
        b.0,
        b.1.len(),
        a.1.get(at),
        b.1.get(at),
    );
    Violation::new(Kind::Copy, text)
}

/// What was answered is still there when everything is read once more at the end.
pub(super) fn check_read_back(history: &History, found: &mut Vec<Violation>) {
    let Some(step) = history.read_back else { return };
    for sub in audits(history) {
        let again = history.delivered.iter().filter(|d| d.sub == *sub && d.step > step);
        let again: BTreeSet<&Message> = again.flat_map(|d| &d.messages).collect();
        let reaches = |producer: usize| history.producers[producer].reaches(sub.region, &sub.topic);
        for acked in history.acked.iter().filter(|acked| reaches(acked.producer)) {
            for number in acked.first..=acked.last {
                let message = Message { producer: acked.producer, number };
                if !again.contains(&message) {
                    let text = format!("{sub:?}: {message:?} was answered and was gone at the end");
                    found.push(Violation::new(Kind::Lost, text));
                }
            }
        }
    }
}

/// Every subscription got every message that was answered.
pub(super) fn check_subscriptions(history: &History, found: &mut Vec<Violation>) {
    for sub in history.subs.iter().filter(|sub| sub.name != AUDIT) {
        let got: BTreeSet<&Message> =
            history.delivered.iter().filter(|d| d.sub == *sub).flat_map(|d| &d.messages).collect();
        let reaches = |producer: usize| history.producers[producer].reaches(sub.region, &sub.topic);
        for acked in history.acked.iter().filter(|acked| reaches(acked.producer)) {
            for number in acked.first..=acked.last {
                let message = Message { producer: acked.producer, number };
                if !got.contains(&message) {
                    found.push(Violation::new(Kind::Lost, format!("{sub:?} never got {message:?}")));
                }
            }
        }
    }
}
