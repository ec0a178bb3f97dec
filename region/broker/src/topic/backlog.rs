//! Keeping a topic's backlog within its quota, and messages within their time to live.
//!
//! **What**  The backlog is what the slowest durable subscription has not acknowledged. Size is known at any moment; age needs
//! the publish time of the oldest such entry, which is read when the position changes.
//!
//! **Invariants**
//! - I1  while the log grows and a quota or a time to live is set, it is judged every [`CHECK_EVERY`]; so a backlog passes
//!   its quota by at most that much ingress (geo.md §3.3 asks for 1 s).

use crate::outbox::Note;
use crate::subscription::{Durability, MoveReply, Subscription};
use crate::topic::time_search::Purpose;
use crate::topic::{Topic, TopicEnv};
use base::{Mono, Position};
use managed::{Entry, Read};
use std::time::Duration;
use tenancy::BacklogVerdict;
use wire::payload::PayloadHints;

const CHECK_EVERY: Duration = Duration::from_millis(250);

/// What is known about the oldest unacknowledged message, and when to look again.
#[derive(Debug, Default)]
pub(crate) struct BacklogGuard {
    due: Option<Mono>,
    /// The oldest unacknowledged entry and its publish time.
    oldest: Option<(Position, u64)>,
    /// A search for what is too old is under way.
    expiring: bool,
}

/// What to do with everything before a position found by time.
#[derive(Debug)]
pub(crate) struct ExpireFound {
    /// `None`: all durable subscriptions.
    pub sub: Option<crate::env::SubId>,
    pub reply: MoveReply,
}

impl BacklogGuard {
    pub(crate) fn next_deadline(&self) -> Option<Mono> {
        self.due
    }

    /// Age of the oldest unacknowledged message, seconds by the producers' clocks; 0 when there is none.
    pub(crate) fn oldest_age_s(&self, wall_ms: u64) -> u64 {
        self.oldest.map_or(0, |(_, publish_ms)| wall_ms.saturating_sub(publish_ms) / 1000)
    }
}

impl Topic {
    /// The mark-delete of the slowest durable subscription; `None` without any.
    fn slowest(&self) -> Option<(Position, &Subscription)> {
        let durable = self.subs.by_id.values().filter(|sub| sub.durability() == Durability::Durable);
        durable
            .filter_map(|sub| self.ledger.cursor(sub.cursor()).map(|cursor| (cursor.mark_delete(), sub)))
            .min_by_key(|(position, _)| *position)
    }

    /// Bytes after the slowest durable subscription's mark-delete.
    pub(crate) fn backlog_bytes(&self) -> u64 {
        self.slowest().map_or(0, |(position, _)| self.ledger.bytes_after(position))
    }

    fn has_backlog_rule(&self) -> bool {
        let policies = &self.settings.policies;
        policies.backlog_by_bytes.limit_bytes.is_some()
            || policies.backlog_by_age.limit_s.is_some()
            || policies.storage.message_ttl_s.is_some()
    }

    /// The log grew or the policies changed: judge soon.
    pub(crate) fn arm_backlog(&mut self, env: &TopicEnv<'_>) {
        if self.backlog.due.is_none() && self.has_backlog_rule() && !self.subs.by_id.is_empty() {
            self.backlog.due = Some(env.now.mono + CHECK_EVERY);
        }
    }

    pub(crate) fn on_backlog_deadline(&mut self, env: &mut TopicEnv<'_>) {
        if self.backlog.due.is_none_or(|due| due > env.now.mono) {
            return;
        }
        self.backlog.due = None;
        self.learn_oldest(env);
        match self.backlog_verdict(env) {
            BacklogVerdict::Within => (),
            BacklogVerdict::HoldProducers(_) | BacklogVerdict::RefuseProducers(_) => self.turn_producers_away(env),
            BacklogVerdict::Evict { down_to_bytes, down_to_age_s } => {
                if let Some(bytes) = down_to_bytes {
                    self.evict_to_bytes(bytes, env);
                }
                if let Some(age_s) = down_to_age_s {
                    self.expire_older_than(age_s, env);
                }
            }
        }
        if let Some(ttl) = self.settings.policies.storage.message_ttl_s
            && self.backlog.oldest_age_s(env.now.wall_ms) > u64::from(ttl)
        {
            self.expire_older_than(u64::from(ttl), env);
        }
        let behind = self.slowest().is_some_and(|(position, _)| self.ledger.entries_after(position) > 0);
        if behind {
            self.arm_backlog(env);
        }
    }

    /// Reads the publish time of the oldest unacknowledged entry when it is another one than before.
    fn learn_oldest(&mut self, env: &mut TopicEnv<'_>) {
        let Some((mark_delete, _)) = self.slowest() else {
            self.backlog.oldest = None;
            return;
        };
        let next = self.ledger.next_position(mark_delete);
        if self.ledger.entries_after(mark_delete) == 0 {
            self.backlog.oldest = None;
        } else if self.backlog.oldest.is_none_or(|(known, _)| known != next) {
            match self.ledger.read(env.now, next, 1, 1, &mut self.ledger_fx) {
                Read::Ready(entries) => self.note_oldest(&entries),
                Read::Pending(read) => self.admin.expect_oldest(read),
                Read::AtTail | Read::Busy => (),
            }
        }
    }

    pub(crate) fn note_oldest(&mut self, entries: &[Entry]) {
        if let Some(entry) = entries.first()
            && let Ok(hints) = PayloadHints::scan(&entry.data.body)
        {
            self.backlog.oldest = Some((entry.position, hints.publish_time_ms));
        }
    }

    /// Producers are closed; when they come back they are told why (`check_producer`).
    fn turn_producers_away(&mut self, env: &mut TopicEnv<'_>) {
        for key in self.producers.take_all() {
            env.out.command(key.conn, &wire::commands::close_producer(key.producer_id));
            env.out.note(Note::ProducerGone { conn: key.conn, producer_id: key.producer_id });
        }
    }

    /// Acknowledges for every durable subscription that is behind until at most `bytes` are left.
    fn evict_to_bytes(&mut self, bytes: u64, env: &mut TopicEnv<'_>) {
        let first = self.ledger.first_position();
        let (mut low, mut high) = (0, self.ledger.total_entries());
        while low < high {
            let middle = low + (high - low) / 2;
            let fits = self.ledger.position_at(first, middle).is_none_or(|p| self.ledger.bytes_after(p) <= bytes);
            if fits { high = middle } else { low = middle + 1 }
        }
        if let Some(position) = self.ledger.position_at(first, low) {
            self.meters.evicted_by_quota += 1;
            self.expire_all_up_to(position, env);
        }
    }

    fn expire_all_up_to(&mut self, position: Position, env: &mut TopicEnv<'_>) {
        let durable = self.subs.by_id.values().filter(|sub| sub.durability() == Durability::Durable);
        let ids: Vec<_> = durable.map(Subscription::id).collect();
        for id in ids {
            self.with_sub(id, env, |sub, sub_env| sub.expire_up_to(position, MoveReply::Nobody, sub_env));
        }
    }

    fn expire_older_than(&mut self, age_s: u64, env: &mut TopicEnv<'_>) {
        if self.backlog.expiring {
            return;
        }
        self.backlog.expiring = true;
        let target = env.now.wall_ms.saturating_sub(age_s * 1000);
        let purpose = Purpose::Expire(ExpireFound { sub: None, reply: MoveReply::Nobody });
        self.search_time(target, purpose, env);
    }

    /// Everything before the found position is too old; `None` means everything.
    pub(crate) fn handle_expire_found(
        &mut self,
        outcome: Result<Option<Position>, String>,
        expire: ExpireFound,
        env: &mut TopicEnv<'_>,
    ) {
        if expire.reply == MoveReply::Nobody {
            self.backlog.expiring = false;
        }
        let up_to = match outcome {
            Ok(Some(position)) => self.ledger.previous_position(position),
            Ok(None) => self.ledger.last_confirmed(),
            Err(text) => return crate::topic::admin::answer_move(expire.reply, Err(text), env.out),
        };
        match expire.sub {
            Some(id) => {
                self.with_sub(id, env, |sub, sub_env| sub.expire_up_to(up_to, expire.reply, sub_env));
            }
            None => {
                self.expire_all_up_to(up_to, env);
                crate::topic::admin::answer_move(expire.reply, Ok(()), env.out);
            }
        }
    }
}
