//! The applied state, shared by the raft node that changes it and the handles that read it.
//!
//! **Invariants**
//! - I1  only committed entries are applied, each once, in log order.
//! - I2  watchers hear of a change under the same lock under which it is made.

use crate::raft_types::{Entry, LogId, StoredMembership, WriteAnswers};
use crate::watch::{Watch, WatchClosed, Watchers};
use meta_api::{MetaState, Versioned};
use openraft::EntryPayload;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Everything that applying the log has led to.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    pub(crate) state: MetaState,
    pub(crate) last: Option<LogId>,
    pub(crate) membership: StoredMembership,
    watchers: Watchers,
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
                self.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
                WriteAnswers::default()
            }
            EntryPayload::Normal(batch) => {
                let mut all_events = Vec::new();
                let mut answers = Vec::with_capacity(batch.0.len());
                for request in batch.0.iter() {
                    let (answer, events) = self.state.apply(request);
                    answers.push(answer);
                    all_events.extend(events);
                }
                self.watchers.deliver(&all_events);
                WriteAnswers(answers)
            }
        }
    }

    /// Replaces everything by what a snapshot holds. Watchers cannot be told what lies between, so they end.
    pub(crate) fn replace(&mut self, state: MetaState, last: Option<LogId>, membership: StoredMembership) {
        self.state = state;
        self.last = last;
        self.membership = membership;
        self.watchers.close_all(WatchClosed::StateReplaced);
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
    /// A change of voters is applied here in its joint form before any other node can lead without this one's vote.
    pub(crate) fn is_sole_voter(&self, node: u64) -> bool {
        let voters = self.membership.membership().get_joint_config();
        matches!(voters.as_slice(), [only] if *only == BTreeSet::from([node]))
    }
}

impl SharedApplied {
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Applied> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Applied> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}
