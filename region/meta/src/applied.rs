//! The applied state, shared by the raft node that changes it and the handles that read it.
//!
//! **Invariants**
//! - I1  only committed entries are applied, each once, in log order.
//! - I2  watchers hear of a change under the same lock under which it is made.
//!
//! **Tests**  `applied/tests.rs`, and `tests/` through the whole store.

use crate::raft_types::{Entry, LogId, StoredMembership, WriteAnswers};
use crate::watch::{Watch, WatchClosed, Watchers};
use meta_api::{MetaEvent, MetaState, Versioned};
use openraft::EntryPayload;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::Notify;

/// Everything that applying the log has led to.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    pub(crate) state: MetaState,
    pub(crate) last: Option<LogId>,
    pub(crate) membership: StoredMembership,
    watchers: Watchers,
    /// A change of voters may have been proposed that is not applied here.
    expects_other_voters: bool,
    membership_changed: Arc<Notify>,
}

/// The shared form. Nothing waits while it holds the lock.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedApplied(Arc<RwLock<Applied>>);

impl Applied {
    /// Applies one committed entry.
    pub(crate) fn apply(&mut self, entry: &Entry) -> WriteAnswers {
        assert!(
            self.last.is_none_or(|last| last.index < entry.log_id.index),
            "Applied I1: each entry is applied once, in log order"
        );
        self.last = Some(entry.log_id);
        match &entry.payload {
            EntryPayload::Blank => WriteAnswers::default(),
            EntryPayload::Membership(membership) => {
                self.set_membership(StoredMembership::new(Some(entry.log_id), membership.clone()));
                WriteAnswers::default()
            }
            EntryPayload::Normal(batch) => {
                let mut all_events = Vec::new();
                let mut answers = Vec::with_capacity(batch.requests().len());
                for request in batch.requests() {
                    let (answer, events) = self.state.apply(request);
                    answers.push(answer);
                    all_events.extend(events);
                }
                self.watchers.deliver(&all_events);
                WriteAnswers(answers)
            }
        }
    }

    /// Replaces everything by what a snapshot holds. Watchers are told what differs, as if it had just been changed
    /// (I2).
    pub(crate) fn replace(&mut self, state: MetaState, last: Option<LogId>, membership: StoredMembership) {
        if self.watchers.len() > 0 {
            self.watchers.deliver(&difference(&self.state, &state));
        }
        self.state = state;
        self.last = last;
        self.set_membership(membership);
    }

    fn set_membership(&mut self, membership: StoredMembership) {
        self.membership = membership;
        self.expects_other_voters = false;
        self.membership_changed.notify_one();
    }

    /// Called before a change of voters is proposed, and when a start finds one in its log.
    pub(crate) fn expect_other_voters(&mut self) {
        self.expects_other_voters = true;
    }

    /// Begins a watch at the present revision.
    ///
    /// # Errors
    /// [`WatchClosed::TooMany`].
    pub(crate) fn watch(&mut self, prefixes: &[&str]) -> Result<Watch, WatchClosed> {
        let events = self.watchers.add(prefixes)?;
        let items = prefixes.iter().flat_map(|prefix| self.state.iter_prefix(prefix));
        // Sorted and without doubles, should the prefixes overlap.
        let items: BTreeMap<&str, &Versioned> = items.collect();
        let items = items.into_iter().map(|(key, item)| (key.to_owned(), item.clone())).collect();
        Ok(Watch { items, revision: self.state.revision(), events })
    }

    pub(crate) fn close_watchers(&mut self) {
        self.watchers.close_all(WatchClosed::Stopped);
    }

    pub(crate) fn watchers(&self) -> usize {
        self.watchers.len()
    }

    /// Whether `node` alone decides: then whatever was ever answered is applied here, and a local read is linearizable.
    ///
    /// It is the only voter, its log holds no other set of voters that is not applied yet, and it has led long enough
    /// to apply an entry of its own: what an earlier leader had committed lies before that.
    pub(crate) fn decides_alone(&self, node: u64) -> bool {
        let voters = self.membership.membership().get_joint_config();
        let is_sole_voter = matches!(voters.as_slice(), [only] if only.len() == 1 && only.contains(&node));
        let has_led = self.last.is_some_and(|last| last.leader_id.node_id == node);
        is_sole_voter && has_led && !self.expects_other_voters
    }
}

/// The changes that lead from one state to a later one, revisions in order: for each key its last put, or its deletion
/// at the later state's revision, since nobody knows any more when it was deleted.
fn difference(earlier: &MetaState, later: &MetaState) -> Vec<MetaEvent> {
    let everything = |state| MetaState::iter_prefix(state, "");
    let puts = everything(later).filter(|(key, item)| earlier.get(key).is_none_or(|old| old.version != item.version));
    let mut events: Vec<MetaEvent> = puts
        .map(|(key, item)| MetaEvent { revision: item.version, key: key.to_owned(), value: Some(item.value.clone()) })
        .collect();
    events.sort_by_key(|event| event.revision);
    let deleted = everything(earlier).filter(|(key, _)| later.get(key).is_none());
    events.extend(deleted.map(|(key, _)| MetaEvent { revision: later.revision(), key: key.to_owned(), value: None }));
    events
}

impl SharedApplied {
    /// Rung when a membership was applied.
    pub(crate) fn membership_changed(&self) -> Arc<Notify> {
        Arc::clone(&self.read().membership_changed)
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Applied> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Applied> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
