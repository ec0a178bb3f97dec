//! One topic: its log, producers, subscriptions and links, from opening to closing.
//!
//! **States**  Record → Log → Replay → Ready → Closing | Deleting → Gone.  A topic that meets an error it cannot live with
//! goes straight to Gone; the broker drops it and the next use opens it again from the log.
//!
//! **Invariants**
//! - I1  nothing is served before Ready: calls wait, bounded by [`WAITERS_MAX`].
//! - I2  a topic that is Gone sends nothing more to storage.
//! - I3  effects of the log are passed on in the order in which the log gave them.
//!
//! **Not here**  Commands and permissions (`session`), the protocol between log and bookies (`managed`).
//!
//! **Tests**  `tests/` of this crate drive whole brokers; `chaos/sim` crashes them.

pub(crate) mod admin;
pub(crate) mod backlog;
pub(crate) mod call;
pub(crate) mod checkpoint;
pub(crate) mod consume;
pub(crate) mod dedup;
pub(crate) mod links;
pub(crate) mod log_state;
pub(crate) mod meters;
pub(crate) mod open;
pub(crate) mod produce;
pub(crate) mod producers;
pub(crate) mod publish;
pub(crate) mod record;
pub(crate) mod settings;
pub(crate) mod settle;
pub(crate) mod snapshot;
pub(crate) mod subscribe;
pub(crate) mod time_search;

use crate::core::Core;
use crate::env::{Env, Requests, SubId};
use crate::ingress::Ingress;
use crate::limits::Limits;
use crate::outbox::{Note, Outbox};
use crate::subscription::Subscription;
use base::{Effects, Now, OwnerId, Position, Rng, SubscriptionName, TopicName};
use call::TopicCall;
use checkpoint::Checkpointing;
use links::Links;
use log_state::LogState;
use managed::{ManagedEffect, ManagedLedger};
use meters::TopicMeters;
use open::Opening;
use producers::Producers;
use publish::PublishQueue;
use record::RecordKeeper;
use settings::TopicSettings;
use std::collections::BTreeMap;
use subscribe::Creating;
use time_search::TimeSearches;
use wire::pulsar::ServerError;

/// Calls that may wait for a topic to open.
pub(crate) const WAITERS_MAX: usize = 10_000;

/// What a topic may use while it handles one input.
pub(crate) struct TopicEnv<'a> {
    pub now: Now,
    pub core: &'a Core,
    pub out: &'a mut Outbox,
    pub ingress: &'a mut Ingress,
    pub limits: &'a mut Limits,
}

/// Where a topic stands.
#[derive(Debug)]
pub(crate) enum Phase {
    Opening(Opening),
    Ready,
    /// Closing the log after an unload or before a reopen.
    Closing,
    /// Deleting the log and then the record; who asked hears of it at the end.
    Deleting,
    /// Finished; the broker drops the topic. The code tells waiting clients whether to come back.
    Gone {
        code: ServerError,
        reason: String,
    },
}

/// All subscriptions of a topic.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    pub by_id: BTreeMap<SubId, Subscription>,
    pub by_name: BTreeMap<SubscriptionName, SubId>,
    pub creating: BTreeMap<SubId, Creating>,
    last_id: u32,
}

impl Subscriptions {
    pub(crate) fn fresh_id(&mut self) -> SubId {
        self.last_id += 1;
        SubId(self.last_id)
    }

    pub(crate) fn named(&mut self, name: &SubscriptionName) -> Option<&mut Subscription> {
        let id = self.by_name.get(name)?;
        self.by_id.get_mut(id)
    }
}

/// One loaded topic.
pub(crate) struct Topic {
    pub(crate) slot: OwnerId,
    pub(crate) name: TopicName,
    pub(crate) phase: Phase,
    pub(crate) record: RecordKeeper,
    pub(crate) settings: TopicSettings,
    pub(crate) ledger: ManagedLedger,
    pub(crate) ledger_fx: Effects<ManagedEffect>,
    pub(crate) log: LogState,
    pub(crate) log_grew: bool,
    pub(crate) terminated: Option<Position>,
    pub(crate) producers: Producers,
    pub(crate) awaiting_epoch: produce::AwaitingEpoch,
    pub(crate) publishing: PublishQueue,
    pub(crate) checkpointing: Checkpointing,
    pub(crate) subs: Subscriptions,
    pub(crate) searches: TimeSearches,
    pub(crate) links: Links,
    pub(crate) requests: Requests,
    pub(crate) waiters: Vec<TopicCall>,
    pub(crate) backlog: backlog::BacklogGuard,
    pub(crate) admin: admin::AdminPending,
    pub(crate) meters: TopicMeters,
    pub(crate) rng: Rng,
}

impl Topic {
    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Ready)
    }

    pub(crate) fn is_gone(&self) -> bool {
        matches!(self.phase, Phase::Gone { .. })
    }

    /// −1 for a topic that is no partition.
    pub(crate) fn partition(&self) -> i32 {
        self.name.partition().and_then(|index| i32::try_from(index).ok()).unwrap_or(-1)
    }

    /// Runs `act` on one subscription with its surroundings; `None` when there is no such subscription.
    pub(crate) fn with_sub<R>(
        &mut self,
        id: SubId,
        env: &mut TopicEnv<'_>,
        act: impl FnOnce(&mut Subscription, &mut Env<'_>) -> R,
    ) -> Option<R> {
        let partition = self.partition();
        let sub = self.subs.by_id.get_mut(&id)?;
        let mut limit = env.limits.dispatch(self.slot);
        let mut sub_env = Env {
            now: env.now,
            ledger: &mut self.ledger,
            ledger_fx: &mut self.ledger_fx,
            out: &mut *env.out,
            requests: &mut self.requests,
            limit: &mut limit,
            regions: &env.core.region_names,
            partition,
        };
        Some(act(sub, &mut sub_env))
    }

    /// Ends every producer and consumer: their clients look the topic up again.
    pub(crate) fn disconnect_all(&mut self, env: &mut TopicEnv<'_>) {
        self.disconnect_producers(env);
        self.disconnect_consumers(env);
    }

    pub(crate) fn disconnect_producers(&mut self, env: &mut TopicEnv<'_>) {
        for key in self.producers.take_all() {
            self.push_close_producer(key, env);
        }
        self.disconnect_waiting_producers(env);
    }

    fn disconnect_waiting_producers(&mut self, env: &mut TopicEnv<'_>) {
        for spec in self.producers.take_waiting() {
            self.push_close_producer(spec.key, env);
        }
    }

    fn disconnect_consumers(&mut self, env: &mut TopicEnv<'_>) {
        let subs: Vec<SubId> = self.subs.by_id.keys().copied().collect();
        for id in subs {
            self.with_sub(id, env, |sub, sub_env| sub.disconnect_all(sub_env));
        }
        // The log may still finish their cursors: they would join a topic that nobody tells them is closing.
        for creating in self.subs.creating.values_mut() {
            creating.refuse_waiting(ServerError::ServiceNotReady, "the topic is closing; look it up again", env.out);
        }
    }

    pub(crate) fn push_close_producer(&mut self, key: producers::ProducerKey, env: &mut TopicEnv<'_>) {
        env.out.command(key.conn, &wire::commands::close_producer(key.producer_id));
        env.out.note(Note::ProducerGone { conn: key.conn, producer_id: key.producer_id });
    }

    /// The topic cannot go on; clients come back and it opens anew from its log.
    pub(crate) fn give_up(&mut self, reason: String, env: &mut TopicEnv<'_>) {
        if self.is_gone() {
            return;
        }
        self.handle_adds_unknown(env);
        self.disconnect_all(env);
        self.links.stop(&reason, env.out);
        self.end(ServerError::ServiceNotReady, reason, env);
    }

    /// Enters Gone and refuses who still waits.
    pub(crate) fn end(&mut self, code: ServerError, reason: String, env: &mut TopicEnv<'_>) {
        for call in std::mem::take(&mut self.waiters) {
            call.refuse(code, &reason, env.out);
        }
        self.admin.refuse_all(&reason, env.out);
        for (_, creating) in std::mem::take(&mut self.subs.creating) {
            creating.refuse(code, &reason, env.out);
        }
        self.phase = Phase::Gone { code, reason };
        self.ledger_fx.take(); // I2
        env.out.note(Note::TopicChanged { slot: self.slot });
    }

    /// Starts an orderly close: consumers leave at once, the log finishes what is pending. Producers hear of it behind their
    /// last receipts, so that nobody sends again what is stored.
    pub(crate) fn begin_close(&mut self, env: &mut TopicEnv<'_>) {
        match self.phase {
            Phase::Ready => {
                self.disconnect_waiting_producers(env);
                self.disconnect_consumers(env);
                self.links.stop("the topic is unloaded", env.out);
                self.phase = Phase::Closing;
                self.ledger.close(env.now, &mut self.ledger_fx);
            }
            Phase::Opening(_) => self.give_up("the topic is unloaded".to_owned(), env),
            Phase::Closing | Phase::Deleting | Phase::Gone { .. } => (),
        }
    }
}
