//! Who serves a bundle: answered at once, or when somebody does.
//!
//! **What**  A bundle that nobody serves is assigned by whoever is asked for it. A bundle whose owner is known and does not answer
//! any more is about to be taken over: its lookups wait for that, because a client that is sent to a dead node comes back
//! after a pause that doubles each time, and finds the new owner seconds after it was there.
//!
//! **Invariants**
//! - I2  one assignment of a bundle is under way at a time; everybody who asks meanwhile waits for it, bounded by
//!   [`WAITING_MAX`].
//! - I5  a lookup waits for a takeover at most [`TAKEOVER_MAX`], and is answered once.
//! - I6  a bundle without an owner record is assigned only while its namespace's record has the version seen: it was not divided.
//!
//! **Not here**  Deciding that a node is dead (`cluster::Controller`).

use crate::admin_command::{AdminReply, FailureKind};
use crate::broker::Broker;
use crate::io::{AdminId, ConnId};
use crate::session::waiting::Waiter;
use crate::topic::admin;
use base::{Mono, NamespaceName, NodeId, Now, TopicName, earliest};
use cluster::{BundleId, Owner};
use meta_api::{Compare, MetaRequest, MetaResponse};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tenancy::keys;
use wire::commands;
use wire::pulsar::ServerError;

/// Lookups that may wait.
const WAITING_MAX: usize = 10_000;

/// How long a lookup waits for the takeover of a bundle whose owner is not connected.
pub(crate) const TAKEOVER_MAX: Duration = Duration::from_secs(5);

/// Which condition of an assignment is that of the namespace's record.
const NAMESPACE_CONDITION: u32 = 2;

const APART: &str = "this node has lost the majority of its region; try another node, or again";

/// Who asks for the owner of a topic's bundle.
#[derive(Clone, Debug)]
struct Asker {
    who: Who,
    topic: TopicName,
}

#[derive(Clone, Copy, Debug)]
enum Who {
    Client { conn: ConnId, request_id: u64 },
    Admin(AdminId),
}

/// Lookups that wait.
#[derive(Debug, Default)]
pub(super) struct Lookups {
    /// Assignments under way (I2).
    assigning: BTreeMap<BundleId, Vec<Asker>>,
    /// Lookups of bundles whose owner is not connected, and until when they wait (I5).
    doubted: BTreeMap<BundleId, Vec<(Mono, Asker)>>,
    /// When the first of them has waited long enough.
    due: Option<Mono>,
    /// How many lookups wait in all.
    waiting: usize,
    /// Nodes whose connection with this one ended.
    lost: BTreeSet<NodeId>,
    /// Changes that belong together are being taken over, and these bundles are looked at again after the last of them.
    batch: Option<BTreeSet<BundleId>>,
}

impl Lookups {
    fn wait(&mut self, bundle: BundleId, until: Mono, asker: Asker) {
        self.waiting += 1;
        self.due = earliest(self.due, Some(until));
        self.doubted.entry(bundle).or_default().push((until, asker)); // I5
    }
}

impl Broker {
    /// Answers a lookup: at once, or when the bundle was assigned.
    pub(crate) fn look_up(&mut self, now: Now, conn: ConnId, request_id: u64, topic: &TopicName) {
        let Some(bundle) = self.core.bundle_of(topic).filter(|_| self.core.cluster.view().is_some()) else {
            let reply = commands::lookup_connect(request_id, self.core.options.urls.clone());
            return self.out.command(conn, &reply);
        };
        let asker = Asker { who: Who::Client { conn, request_id }, topic: topic.clone() };
        self.find(now, asker, bundle, now.mono + TAKEOVER_MAX);
    }

    /// An operator's request needs to know who serves a topic.
    pub(crate) fn find_owner(&mut self, now: Now, id: AdminId, topic: &TopicName) {
        match self.core.bundle_of(topic).filter(|_| self.core.cluster.view().is_some()) {
            Some(bundle) => {
                let asker = Asker { who: Who::Admin(id), topic: topic.clone() };
                self.find(now, asker, bundle, now.mono + TAKEOVER_MAX);
            }
            None => admin::reply(&mut self.out, id, AdminReply::Done),
        }
    }

    fn find(&mut self, now: Now, asker: Asker, bundle: BundleId, until: Mono) {
        let apart = self.core.cluster.view().is_some_and(|view| view.is_apart());
        let lookups = &mut self.bundles.lookups;
        let owner = self.core.cluster.owner(&bundle);
        let changes = match owner {
            Owner::By(node) => lookups.lost.contains(&node),
            Owner::Us { moving_to, .. } => moving_to.is_some() || self.bundles.leaving.contains_key(&bundle),
            Owner::Nobody => false,
        };
        if changes && !apart && now.mono < until && lookups.waiting < WAITING_MAX {
            lookups.wait(bundle, until, asker);
        } else if owner != Owner::Nobody {
            self.answer_owner(asker.who, &bundle, "");
        } else if lookups.waiting >= WAITING_MAX {
            let text = format!("{WAITING_MAX} lookups already wait for owners of bundles; try again");
            self.answer_owner(asker.who, &bundle, &text);
        } else if self.assign(&bundle) {
            self.bundles.lookups.waiting += 1;
            self.bundles.lookups.assigning.entry(bundle).or_default().push(asker);
        } else {
            let text = if apart { APART } else { "no node of this region counts as alive and takes topics; try again" };
            self.answer_owner(asker.who, &bundle, text);
        }
    }

    /// A connection with another node exists, or has ended.
    pub(crate) fn note_peer(&mut self, now: Now, node: NodeId, connected: bool) {
        if connected {
            self.bundles.lookups.lost.remove(&node);
            self.look_all_again(now);
        } else {
            self.bundles.lookups.lost.insert(node);
        }
    }

    /// Something changed that the waiting lookups of a bundle may wait for.
    pub(super) fn look_again(&mut self, now: Now, bundle: &BundleId) {
        if let Some(batch) = &mut self.bundles.lookups.batch {
            batch.insert(bundle.clone());
            return;
        }
        let doubted = self.bundles.lookups.doubted.remove(bundle).unwrap_or_default();
        self.bundles.lookups.waiting -= doubted.len();
        for (until, asker) in doubted {
            let bundle = self.bundle_now(&asker, bundle);
            self.find(now, asker, bundle, until);
        }
    }

    /// The bundle of a topic that was in this one when it was asked for: it may have been divided since.
    fn bundle_now(&self, asker: &Asker, then: &BundleId) -> BundleId {
        self.core.bundle_of(&asker.topic).unwrap_or_else(|| then.clone())
    }

    /// Changes follow that belong together: nobody is answered by the first half of them.
    pub(crate) fn begin_batch(&mut self) {
        self.bundles.lookups.batch = Some(BTreeSet::new());
    }

    /// All of them are taken over; those of a namespace concern every lookup of its topics.
    pub(crate) fn end_batch(&mut self, now: Now, namespaces: &BTreeSet<NamespaceName>) {
        let mut bundles = self.bundles.lookups.batch.take().unwrap_or_default();
        let doubted = self.bundles.lookups.doubted.keys();
        bundles.extend(doubted.filter(|bundle| namespaces.contains(&bundle.0)).cloned());
        for bundle in bundles {
            self.look_again(now, &bundle);
        }
    }

    pub(super) fn look_all_again(&mut self, now: Now) {
        for bundle in self.bundles.lookups.doubted.keys().cloned().collect::<Vec<_>>() {
            self.look_again(now, &bundle);
        }
    }

    /// When a lookup has waited long enough.
    pub(crate) fn lookups_due(&self) -> Option<Mono> {
        self.bundles.lookups.due
    }

    /// Answers the lookups that have waited long enough with what is known.
    pub(crate) fn end_lookups(&mut self, now: Now) {
        if self.bundles.lookups.due.is_some_and(|due| due <= now.mono) {
            self.look_all_again(now);
            let waiting = self.bundles.lookups.doubted.values().flatten().map(|(until, _)| *until);
            let due = waiting.min();
            assert!(due.is_none_or(|due| due > now.mono), "Lookups I5: who has waited long enough is answered");
            self.bundles.lookups.due = due;
        }
    }

    /// Finds an owner for a bundle that has none, unless that is under way; false when no node can take it.
    pub(crate) fn assign(&mut self, bundle: &BundleId) -> bool {
        if self.bundles.lookups.assigning.contains_key(bundle) {
            return true;
        }
        let Some(assignment) = self.core.cluster.view().and_then(|view| view.assign(bundle, &BTreeMap::new())) else {
            return false;
        };
        let mut request = assignment.request;
        let namespace = self.namespace_version(&bundle.0);
        if let (MetaRequest::Txn { compare, .. }, Some(version)) = (&mut request, namespace)
            && matches!(compare.first(), Some(Compare::Absent { .. }))
        {
            // I6: the absent record may be that of a bundle which was divided.
            compare.push(Compare::Version { key: keys::namespace_key(&bundle.0), version });
        }
        self.bundles.lookups.assigning.insert(bundle.clone(), Vec::new()); // I2
        let waiter = Waiter::Assigned { bundle: bundle.clone(), namespace, request: request.clone() };
        self.ask_meta(request, waiter);
        true
    }

    /// The version of a namespace's record that the directory shows.
    fn namespace_version(&self, namespace: &NamespaceName) -> Option<u64> {
        self.policy_sync.version_of(&keys::namespace_key(namespace))
    }

    /// The compare-and-put of an owner record was answered; `namespace`: the version of its namespace's record at that time.
    pub(crate) fn handle_assigned(
        &mut self,
        now: Now,
        bundle: &BundleId,
        namespace: Option<u64>,
        request: &MetaRequest,
        response: MetaResponse,
    ) {
        let changed = matches!(response, MetaResponse::Conflict { index: NAMESPACE_CONDITION, .. });
        let trouble = self.take_written(now, request, response);
        let askers = self.bundles.lookups.assigning.remove(bundle).unwrap_or_default();
        self.bundles.lookups.waiting -= askers.len();
        let (until, shown) = (now.mono + TAKEOVER_MAX, self.namespace_version(&bundle.0) != namespace);
        for asker in askers {
            let bundle = self.bundle_now(&asker, bundle);
            match &trouble {
                Some(trouble) => self.answer_owner(asker.who, &bundle, trouble),
                // The change of the namespace is on its way here.
                None if changed && !shown => self.bundles.lookups.wait(bundle, until, asker),
                None if !changed && self.core.cluster.owner(&bundle) == Owner::Nobody => {
                    self.answer_owner(asker.who, &bundle, "its owner changes; try again");
                }
                None => self.find(now, asker, bundle, until),
            }
        }
    }

    fn answer_owner(&mut self, who: Who, bundle: &BundleId, trouble: &str) {
        let (conn, request_id) = match who {
            Who::Client { conn, request_id } => (conn, request_id),
            Who::Admin(id) if self.core.cluster.owner(bundle) == Owner::Nobody => {
                let text = format!("no node serves bundle {}/{} now: {trouble}", bundle.0, bundle.1);
                return admin::fail(&mut self.out, id, FailureKind::Unavailable, text);
            }
            Who::Admin(id) => return admin::reply(&mut self.out, id, AdminReply::Done),
        };
        let connect = |urls| commands::lookup_connect(request_id, urls);
        let reply = match self.core.cluster.owner(bundle) {
            Owner::Us { moving_to: None, .. } if !self.bundles.leaving.contains_key(bundle) => {
                connect(self.core.options.urls.clone())
            }
            Owner::By(node) => connect(self.core.urls_of(node)),
            Owner::Us { .. } => {
                let text = "the topic's bundle is moving to another node; try again";
                commands::lookup_failed(request_id, ServerError::ServiceNotReady, text)
            }
            Owner::Nobody => {
                let text = format!("no node serves bundle {}/{} now: {trouble}", bundle.0, bundle.1);
                commands::lookup_failed(request_id, ServerError::ServiceNotReady, &text)
            }
        };
        self.out.command(conn, &reply);
    }
}
