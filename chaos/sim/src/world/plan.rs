//! Which clients a world has.
//!
//! **What**  Producers and consumers of every topic in both regions. The clients of the late topic wait: its consumers for
//! the faults, its producers for all its consumers, so that retention keeps everything for them.

use super::World;
use crate::client::{Acking, Client, Consumer, ConsumerPlan, Pace, Producer};
use crate::history::{AUDIT, ProducerPlan, SEEKER, SubKey};
use crate::queue::{MS, Time};
use crate::region::NAMESPACE;
use base::Rng;
use wire::pulsar::command_subscribe::SubType;

/// Clients that do not begin with the others.
#[derive(Debug, Default)]
pub(super) struct Late {
    consumers: Vec<usize>,
    producers: Vec<usize>,
}

impl Late {
    pub(super) fn waits(&self, client: usize) -> bool {
        self.consumers.contains(&client) || self.producers.contains(&client)
    }
}

/// One kind of subscription.
struct Kind {
    name: &'static str,
    sub_type: SubType,
    acking: Acking,
    consumers: u64,
}

const KINDS: [Kind; 6] = [
    Kind { name: AUDIT, sub_type: SubType::Exclusive, acking: Acking::Individual, consumers: 1 },
    Kind { name: "exclusive", sub_type: SubType::Exclusive, acking: Acking::Cumulative, consumers: 1 },
    Kind { name: SEEKER, sub_type: SubType::Exclusive, acking: Acking::Individual, consumers: 1 },
    Kind { name: "failover", sub_type: SubType::Failover, acking: Acking::Cumulative, consumers: 2 },
    Kind { name: "shared", sub_type: SubType::Shared, acking: Acking::Partial, consumers: 2 },
    Kind { name: "key-shared", sub_type: SubType::KeyShared, acking: Acking::Individual, consumers: 3 },
];

impl World {
    pub(super) fn add_clients(&mut self) {
        let mut rng = self.seed.fork("plan");
        for topic in 0..self.options.topics + u64::from(self.options.late_topic) {
            let late = topic == self.options.topics;
            let topic = format!("persistent://{}/{}/topic-{topic}", NAMESPACE.0, NAMESPACE.1);
            for region in 0..2 {
                self.add_producers(region, &topic, late);
            }
            for region in 0..2 {
                for kind in &KINDS {
                    self.add_consumers(region, &topic, kind, late, &mut rng);
                }
            }
        }
    }

    fn add_producers(&mut self, region: usize, topic: &str, late: bool) {
        let options = self.options.clone();
        for number in 0..options.producers_per_topic {
            let messages = if late { options.messages.min(30) } else { options.messages };
            let local = options.local_messages && number == 0;
            let plan = ProducerPlan { region, topic: topic.to_owned(), messages, local };
            let pace = Pace {
                window: options.window,
                batch_max: options.batch_max,
                payload_max: options.payload_max,
                pause_max: options.pause_max,
            };
            let index = self.history.producers.len();
            self.history.producers.push(plan.clone());
            if late {
                self.late.producers.push(self.clients.len());
            }
            self.clients.push(Client::Producer(Producer::new(index, plan, pace)));
        }
    }

    fn add_consumers(&mut self, region: usize, topic: &str, kind: &Kind, late: bool, rng: &mut Rng) {
        let options = self.options.clone();
        let sub = SubKey { region, topic: topic.to_owned(), name: kind.name.to_owned() };
        self.history.subs.push(sub.clone());
        for number in 0..kind.consumers {
            let index = self.clients.len();
            let keeps = options.cluster.takeovers.is_some() && kind.name == AUDIT;
            let acking = match kind.acking {
                _ if keeps => Acking::Never,
                Acking::Partial if !options.partial_acks => Acking::Individual,
                acking => acking,
            };
            let gives_back = matches!(kind.sub_type, SubType::Shared | SubType::KeyShared);
            let plan = ConsumerPlan {
                region,
                sub: sub.clone(),
                name: format!("consumer-{index}-{number}"),
                sub_type: kind.sub_type,
                acking,
                permits: u32::try_from(rng.range(5, 100)).unwrap_or(5),
                pause_max: rng.range(1, 800) * MS,
                nacks: if gives_back { options.nacks } else { 0 },
                seeks: if kind.name == SEEKER { options.seeks } else { 0 },
            };
            self.clients.push(Client::Consumer(Consumer::new(index, plan)));
            if late {
                self.late.consumers.push(index);
            } else {
                self.wake_at(index, rng.range(1, 50) * MS);
            }
        }
    }

    /// The faults begin: late consumers come at some time.
    pub(super) fn plan_late(&mut self, until: Time) {
        for client in self.late.consumers.clone() {
            let at = self.now + self.rng.clients.below((until - self.now) / 2);
            self.wake_at(client, at);
        }
    }

    /// Late producers come when all late consumers were there.
    pub(super) fn look_for_late(&mut self) {
        let was_ready = |client: &usize| match &self.clients[*client] {
            Client::Consumer(consumer) => consumer.was_ready,
            Client::Producer(_) => true,
        };
        if !self.late.producers.is_empty() && self.late.consumers.iter().all(was_ready) {
            for client in std::mem::take(&mut self.late.producers) {
                self.wake_at(client, self.now);
            }
        }
    }
}
