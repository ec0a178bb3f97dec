//! How far a world is: who is subscribed, what is still missing.

use super::{Event, Fault, Phase, World};
use crate::client::Client;
use crate::history::{AUDIT, Message, SubKey};
use crate::queue::{MS, SECOND};
use std::collections::{BTreeMap, BTreeSet};

/// What subscriptions got, counted as the history grows.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Deliveries that are counted.
    counted: usize,
    got: BTreeMap<SubKey, BTreeSet<Message>>,
}

impl World {
    pub(super) fn subscribed(&self) -> bool {
        let mut clients = self.clients.iter().enumerate();
        clients.all(|(index, client)| match client {
            Client::Producer(_) => true,
            Client::Consumer(consumer) => consumer.was_ready || self.late.waits(index),
        })
    }

    pub(super) fn is_at_rest(&mut self) -> bool {
        let quiet = self.clients.iter().all(|client| match client {
            Client::Producer(producer) => producer.is_done(),
            Client::Consumer(consumer) => consumer.is_quiet(),
        });
        quiet && self.missing().is_none()
    }

    /// All nodes end at once, and what is durable is read from the beginning by who never acknowledged anything.
    pub(super) fn begin_read_back(&mut self) {
        self.trace.note(self.now, format_args!("phase read back"));
        self.phase = Phase::ReadBack { since: self.now };
        self.history.read_back = Some(self.step);
        self.progress = Progress { counted: self.history.delivered.len(), got: BTreeMap::new() };
        for host in 0..self.hosts.len() {
            self.crash(host);
            let down_for = self.rng.nemesis.range(10 * MS, SECOND);
            self.queue.plan(self.now + down_for, Event::Fault(Fault::Restart { host }));
        }
        // What is on its way to clients says nothing of what is durable.
        for conn in self.conns.keys().copied().collect::<Vec<_>>() {
            self.on_client_closed(conn);
        }
    }

    pub(super) fn has_read_back(&mut self) -> bool {
        let back = self.clients.iter().all(|client| match client {
            Client::Producer(_) => true,
            Client::Consumer(consumer) => consumer.is_back(),
        });
        back && self.missing().is_none()
    }

    /// A subscription that has not got everything.
    fn missing(&mut self) -> Option<(SubKey, usize)> {
        for delivered in &self.history.delivered[self.progress.counted..] {
            if !self.progress.got.contains_key(&delivered.sub) {
                self.progress.got.insert(delivered.sub.clone(), BTreeSet::new());
            }
            if let Some(got) = self.progress.got.get_mut(&delivered.sub) {
                got.extend(delivered.messages.iter().cloned());
            }
        }
        self.progress.counted = self.history.delivered.len();
        let reads_back = matches!(self.phase, Phase::ReadBack { .. });
        self.history.subs.iter().filter(|sub| !reads_back || sub.name == AUDIT).find_map(|sub| {
            let plans = self.history.producers.iter().filter(|plan| plan.reaches(sub.region, &sub.topic));
            let wanted: u64 = plans.map(|plan| plan.messages).sum();
            let have = self.progress.got.get(sub).map_or(0, BTreeSet::len);
            let missing = usize::try_from(wanted).unwrap_or(usize::MAX).saturating_sub(have);
            (missing > 0).then(|| (sub.clone(), missing))
        })
    }

    pub(super) fn give_up(&mut self, what: &str) {
        let mut text = what.to_owned();
        if let Some((sub, missing)) = self.missing() {
            text.push_str(&format!("; {sub:?} lacks {missing} messages"));
        }
        for client in &self.clients {
            match client {
                Client::Producer(producer) if !producer.is_done() => text.push_str(&format!("; {}", producer.status())),
                Client::Consumer(consumer) if !consumer.is_quiet() || !consumer.was_ready => {
                    text.push_str(&format!("; {}", consumer.status()));
                }
                _ => (),
            }
        }
        if let Some(lacking) = self.lacking_copy() {
            text.push_str(&format!("; {lacking}"));
        }
        self.history.unfinished = Some(text);
        self.phase = Phase::Over;
    }
}
