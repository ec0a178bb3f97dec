//! Letting producers in and out.

use crate::core::LOG_FULL;
use crate::io::BrokerEffect;
use crate::topic::call::Handle;
use crate::topic::producers::{Admission, ProducerKey, ProducerSpec};
use crate::topic::{Topic, TopicEnv};
use base::{SubscriptionName, TopicName};
use std::collections::VecDeque;
use tenancy::{Backlog, BacklogVerdict};
use wire::commands;
use wire::pulsar::ServerError;

/// Exclusive producers that wait until their epoch is durable, by number of the record's change.
#[derive(Debug, Default)]
pub(crate) struct AwaitingEpoch {
    list: VecDeque<(u64, Box<ProducerSpec>)>,
}

impl Topic {
    /// A client wants to produce.
    pub(crate) fn handle_produce(&mut self, spec: ProducerSpec, env: &mut TopicEnv<'_>) {
        if !env.out.is_open(spec.key.conn) {
            return; // The connection went while the topic opened.
        }
        if let Err((code, text)) = self.check_producer(&spec, env) {
            return self.refuse_producer(&spec, code, &text, env);
        }
        if let Some(name) = &spec.initial_subscription
            && let Err(text) = self.ensure_subscription(name.clone(), env)
        {
            return self.refuse_producer(&spec, ServerError::NotAllowedError, &text, env);
        }
        match self.producers.check(&spec) {
            Err(refused) => {
                if let Some(holder) = self.producers.name_holder(&spec) {
                    env.out.note(crate::outbox::Note::ProbeLiveness { conn: holder });
                }
                self.refuse_producer(&spec, refused.code, &refused.message, env);
            }
            Ok(Admission::Queued) => {
                env.out.command(spec.key.conn, &commands::producer_queued(spec.request_id, &spec.name));
                self.producers.enqueue(spec);
            }
            Ok(Admission::Now { epoch: None, .. }) => self.admit(spec, None, env),
            Ok(Admission::Now { epoch: Some(epoch), fenced }) => {
                self.fence(&fenced, env);
                self.admit_exclusive(spec, epoch, env);
            }
        }
    }

    fn check_producer(&mut self, spec: &ProducerSpec, env: &TopicEnv<'_>) -> Result<(), (ServerError, String)> {
        if self.terminated.is_some() {
            return Err((ServerError::TopicTerminatedError, format!("topic {} is terminated", self.name)));
        }
        let limit = self.settings.policies.limits.producers_per_topic;
        if limit.is_some_and(|max| self.producers.len() >= max as usize) {
            let text = format!("topic {} has reached its limit of {} producers", self.name, limit.unwrap_or(0));
            return Err((ServerError::ProducerBusy, text));
        }
        if self.settings.policies.encryption_required && !spec.encrypted {
            let text = format!("namespace {} requires encryption; use an encrypting producer", self.name.namespace());
            return Err((ServerError::MetadataError, text));
        }
        if env.core.is_log_full() {
            // Clients try again after this one, without a word to the application until their send times out.
            return Err((ServerError::ServiceNotReady, LOG_FULL.to_owned()));
        }
        match self.backlog_verdict(env) {
            BacklogVerdict::HoldProducers(excess) => {
                let text = format!("topic {}: {excess}", self.name);
                Err((ServerError::ProducerBlockedQuotaExceededError, text))
            }
            BacklogVerdict::RefuseProducers(excess) => {
                let text = format!("ProducerBlockedQuotaExceededException: topic {}: {excess}", self.name);
                Err((ServerError::ProducerBlockedQuotaExceededException, text))
            }
            BacklogVerdict::Within | BacklogVerdict::Evict { .. } => Ok(()),
        }
    }

    pub(crate) fn backlog_verdict(&self, env: &TopicEnv<'_>) -> BacklogVerdict {
        let policies = &self.settings.policies;
        let backlog = Backlog { bytes: self.backlog_bytes(), oldest_age_s: self.backlog.oldest_age_s(env.now.wall_ms) };
        tenancy::check_backlog(&policies.backlog_by_bytes, &policies.backlog_by_age, backlog)
    }

    fn refuse_producer(&mut self, spec: &ProducerSpec, code: ServerError, text: &str, env: &mut TopicEnv<'_>) {
        env.out.command(spec.key.conn, &commands::error(spec.request_id, code, text));
        let (conn, producer_id) = (spec.key.conn, spec.key.producer_id);
        env.out.note(crate::outbox::Note::ProducerGone { conn, producer_id });
    }

    fn fence(&mut self, fenced: &[ProducerKey], env: &mut TopicEnv<'_>) {
        for waiter in self.producers.take_waiting() {
            self.refuse_producer(&waiter, ServerError::ProducerFenced, "another producer took over with fencing", env);
        }
        for key in fenced {
            self.producers.remove(*key);
            self.push_close_producer(*key, env);
        }
    }

    /// The epoch is stored before the producer hears of it (Producers I3). Meanwhile it already holds its place.
    fn admit_exclusive(&mut self, spec: ProducerSpec, epoch: u64, env: &mut TopicEnv<'_>) {
        if self.record.value.epoch == Some(epoch) {
            return self.admit(spec, Some(epoch), env);
        }
        self.record.value.epoch = Some(epoch);
        let (change, request) = self.record.changed();
        if let Some((id, request)) = request {
            env.out.effect(BrokerEffect::Meta { id, request });
        }
        self.producers.add(spec.clone(), Some(epoch));
        self.awaiting_epoch.list.push_back((change, Box::new(spec)));
    }

    /// The record is durable up to `change`.
    pub(crate) fn handle_record_stored(&mut self, change: u64, env: &mut TopicEnv<'_>) {
        while self.awaiting_epoch.list.front().is_some_and(|(waits, _)| *waits <= change) {
            if let Some((_, spec)) = self.awaiting_epoch.list.pop_front() {
                self.welcome(&spec, env);
            }
        }
        self.handle_terminated_stored(change, env);
    }

    fn admit(&mut self, spec: ProducerSpec, epoch: Option<u64>, env: &mut TopicEnv<'_>) {
        self.producers.add(spec.clone(), epoch);
        self.welcome(&spec, env);
    }

    fn welcome(&mut self, spec: &ProducerSpec, env: &mut TopicEnv<'_>) {
        if self.producers.get(spec.key).is_none() {
            return; // It left while its epoch was being stored.
        }
        let last = self.log.dedup.last_persisted(&spec.name).filter(|_| self.settings.policies.deduplication_enabled);
        let last = last.and_then(|seq| i64::try_from(seq).ok()).unwrap_or(-1);
        let epoch = self.producers.epoch();
        let success = commands::producer_success(spec.request_id, &spec.name, last, spec.schema_version, epoch);
        env.out.command(spec.key.conn, &success);
    }

    /// Welcomes a producer of this topic again; false when it is another topic's, or not admitted yet.
    pub(crate) fn repeat_producer(
        &mut self,
        key: ProducerKey,
        name: &TopicName,
        request_id: u64,
        env: &mut TopicEnv<'_>,
    ) -> bool {
        let waits = self.awaiting_epoch.list.iter().any(|(_, spec)| spec.key == key);
        let Some(producer) = self.producers.get(key).filter(|_| !waits && self.name == *name) else { return false };
        let spec = ProducerSpec { request_id, ..producer.spec.clone() };
        self.welcome(&spec, env);
        true
    }

    /// A producer closed or its connection is gone; the next waiter may come in.
    pub(crate) fn remove_producer(&mut self, key: ProducerKey, env: &mut TopicEnv<'_>) {
        self.producers.remove(key);
        self.waiters.retain(|call| call.handle() != Some(Handle::Producer(key)));
        if !self.is_ready() {
            return;
        }
        if let Some(next) = self.producers.next_waiting() {
            let epoch = self.producers.epoch().map_or(0, |epoch| epoch + 1);
            self.admit_exclusive(next, epoch, env);
        }
    }

    /// A client closes its producer: answered once everything that it sent before is answered.
    pub(crate) fn close_producer(&mut self, key: ProducerKey, request_id: u64, env: &mut TopicEnv<'_>) {
        self.remove_producer(key, env);
        let success = commands::success(request_id);
        if !self.publishing.close_after(key, &success) {
            env.out.command(key.conn, &success);
        }
    }

    fn ensure_subscription(&mut self, name: String, env: &mut TopicEnv<'_>) -> Result<(), String> {
        let name = SubscriptionName::parse(&name).map_err(|error| error.to_string())?;
        if !self.settings.policies.auto_subscription_creation {
            return Err(format!("subscription {name} cannot be created: automatic creation is off in this namespace"));
        }
        self.create_subscription_if_absent(name, env);
        Ok(())
    }
}
