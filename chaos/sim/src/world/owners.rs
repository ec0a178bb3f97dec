//! What changes of the metadata do to owners and logs, for the checker.
//!
//! **Not here**  Judging (`check::owners`).

use super::{World, life};
use crate::history::{Life, LogChanged, Owned, OwnerChanged};
use meta_api::{MetaRequest, Write};
use tenancy::keys::{self, Key};

/// What stood there before a change.
#[derive(Debug, Default)]
pub(super) struct Before {
    owners: Vec<(String, Option<Owned>)>,
    logs: Vec<(String, Option<Life>)>,
}

impl World {
    /// Which start of which node a process is or was.
    pub(super) fn life_of(&self, host: usize, boot: u64) -> Option<Life> {
        self.lives.get(&life(host, boot)).copied()
    }

    /// What a request is about to change.
    pub(super) fn before(&self, region: usize, request: &MetaRequest) -> Before {
        let MetaRequest::Txn { writes, .. } = request else { return Before::default() };
        let (mut before, region) = (Before::default(), &self.regions[region]);
        for write in writes {
            let (Write::Put { key, .. } | Write::Delete { key }) = write;
            if key.starts_with(keys::OWNERS) {
                before.owners.push((key.clone(), region.owned(key)));
            } else if let Some(Key::ManagedLedger(topic)) = Key::parse(key) {
                before.logs.push((topic.to_string(), region.owner_of(&topic)));
            }
        }
        before
    }

    /// A request was committed.
    pub(super) fn note_change(&mut self, index: usize, by: Life, before: Before) {
        let (region, step) = (&self.regions[index], self.step);
        for (bundle, before) in before.owners {
            let after = region.owned(&bundle);
            let alive = after.and_then(|after| region.alive(after.life.node));
            let change = OwnerChanged { region: index, bundle, by, before, after, alive, step };
            self.history.owner_changes.push(change);
        }
        for (topic, owner) in before.logs {
            self.history.log_changes.push(LogChanged { region: index, topic, by, owner, step });
        }
    }
}
