//! After every input: what the log wants is passed on, what it reports is handled, whoever can go on is woken.
//!
//! **Invariants**
//! - I1  the loop ends: each round handles effects that the round before produced, and waking stops when permits, windows,
//!   limits or entries run out.

use crate::env::Requests;
use crate::env::SubId;
use crate::io::BrokerEffect;
use crate::topic::open::Opening;
use crate::topic::{Phase, Topic, TopicEnv};
use base::{LedgerId, Mono, NodeId, RequestId, earliest};
use managed::{Entry, ManagedEffect, ManagedEvent, ReadError, ReadId};
use meta_api::MetaResponse;
use wire::bookie::BookieResponse;
use wire::pulsar::ServerError;

/// What settling leaves for the broker to do.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    /// Requests for a fresh ledger id.
    pub ledger_ids: Vec<RequestId>,
}

impl Topic {
    /// Passes on effects and handles events of the log until nothing is left to do.
    pub(crate) fn settle(&mut self, env: &mut TopicEnv<'_>) -> Settled {
        let mut settled = Settled::default();
        if matches!(self.phase, Phase::Opening(Opening::Record { .. })) {
            return settled;
        }
        loop {
            let effects = self.ledger_fx.take();
            if effects.is_empty() {
                if !self.log_grew || !self.is_ready() {
                    return settled;
                }
                self.log_grew = false;
                self.wake_all(env);
                continue;
            }
            for effect in effects {
                if self.is_gone() {
                    return settled;
                }
                match effect {
                    ManagedEffect::Bookie { to, request } => env.out.effect(BrokerEffect::Bookie { to, request }),
                    ManagedEffect::Meta { id, request } => env.out.effect(BrokerEffect::Meta { id, request }),
                    ManagedEffect::NeedLedgerId { id } => settled.ledger_ids.push(id),
                    ManagedEffect::Event(event) => self.handle_event(event, env),
                }
            }
        }
    }

    fn handle_event(&mut self, event: ManagedEvent, env: &mut TopicEnv<'_>) {
        match event {
            ManagedEvent::Opened { checkpoint } => self.handle_log_opened(checkpoint, env),
            ManagedEvent::OpenFailed { error } => {
                let reason = format!("topic {} cannot be opened: {error}", self.name);
                let code = match error.class() {
                    base::ErrorClass::Retry { .. } => ServerError::ServiceNotReady,
                    base::ErrorClass::Reject | base::ErrorClass::Fatal => ServerError::PersistenceError,
                };
                self.end(code, reason, env);
            }
            ManagedEvent::Persisted { ctx, position } => self.handle_persisted(ctx, position, env),
            ManagedEvent::AddsUnknown { .. } => self.handle_adds_unknown(env),
            ManagedEvent::Fenced { reason } => self.give_up(format!("the log was taken over: {reason}"), env),
            ManagedEvent::ReadDone { read, result } => self.handle_read(read, result, env),
            ManagedEvent::CursorDone { ctx, result } => self.handle_cursor_done(ctx, result, env),
            ManagedEvent::Checkpointed { ctx } => self.checkpointing.handle_done(ctx),
            ManagedEvent::Trimmed { .. } => (),
            ManagedEvent::Deleted { result } => self.handle_log_deleted(result, env),
            ManagedEvent::Closed => {
                let reason = "the topic was unloaded; look it up again".to_owned();
                self.disconnect_producers(env);
                self.admin.unloaded(env.out);
                self.end(ServerError::ServiceNotReady, reason, env);
            }
        }
    }

    fn handle_read(&mut self, read: ReadId, result: Result<Vec<Entry>, ReadError>, env: &mut TopicEnv<'_>) {
        let mut result = Some(result);
        if self.handle_replay_read(read, &mut result, env) || self.handle_search_read(read, &mut result, env) {
            return;
        }
        if self.handle_link_read(read, &mut result, env) || self.handle_admin_read(read, &mut result, env) {
            return;
        }
        if let (Some(id), Some(result)) = (self.requests.take_read(read), result) {
            self.with_sub(id, env, |sub, sub_env| sub.handle_read_done(read, result, sub_env));
        }
    }

    fn handle_cursor_done(&mut self, ctx: u64, result: Result<(), managed::CursorError>, env: &mut TopicEnv<'_>) {
        let id = Requests::owner(ctx);
        if self.handle_created(id, ctx, &result, env) || self.handle_own_cursor_done(ctx, &result, env) {
            return;
        }
        self.with_sub(id, env, |sub, sub_env| sub.handle_cursor_done(ctx, result, sub_env));
    }

    /// New entries, a writable connection or a raised limit: everyone who can go on does.
    pub(crate) fn wake_all(&mut self, env: &mut TopicEnv<'_>) {
        let subs: Vec<SubId> = self.subs.by_id.keys().copied().collect();
        for id in subs {
            self.with_sub(id, env, |sub, sub_env| sub.wake(sub_env));
        }
        self.wake_links(env);
    }

    pub(crate) fn handle_bookie(&mut self, from: NodeId, response: BookieResponse, env: &mut TopicEnv<'_>) {
        if !self.is_gone() {
            self.ledger.handle_bookie(env.now, from, response, &mut self.ledger_fx);
        }
    }

    /// An answer to a metadata request of the log.
    pub(crate) fn handle_log_meta(&mut self, id: RequestId, response: MetaResponse, env: &mut TopicEnv<'_>) {
        if !self.is_gone() {
            self.ledger.handle_meta(env.now, id, response, &mut self.ledger_fx);
        }
    }

    pub(crate) fn handle_ledger_id(&mut self, id: RequestId, ledger: LedgerId, env: &mut TopicEnv<'_>) {
        if !self.is_gone() {
            self.ledger.handle_ledger_id(env.now, id, ledger, &mut self.ledger_fx);
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Mono> {
        match self.phase {
            Phase::Gone { .. } | Phase::Opening(Opening::Record { .. }) => return None,
            // What only a topic that serves does is no reason to wake up: it would not be done.
            Phase::Opening(_) | Phase::Closing | Phase::Deleting => return self.ledger.next_deadline(),
            Phase::Ready => (),
        }
        let mut next = earliest(self.ledger.next_deadline(), self.backlog.next_deadline());
        next = earliest(next, self.checkpointing.next_deadline());
        next = earliest(next, self.links.next_deadline());
        self.subs.by_id.values().fold(next, |next, sub| earliest(next, sub.next_deadline()))
    }

    pub(crate) fn on_deadline(&mut self, env: &mut TopicEnv<'_>) {
        let now = env.now.mono;
        if self.ledger.next_deadline().is_some_and(|at| at <= now) {
            self.ledger.on_deadline(env.now, &mut self.ledger_fx);
        }
        if !self.is_ready() {
            return;
        }
        let due: Vec<SubId> = self
            .subs
            .by_id
            .iter()
            .filter(|(_, sub)| sub.next_deadline().is_some_and(|at| at <= now))
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            self.with_sub(id, env, |sub, sub_env| sub.on_deadline(sub_env));
        }
        self.on_backlog_deadline(env);
        self.on_checkpoint_deadline(env);
        self.on_links_deadline(env);
    }
}
