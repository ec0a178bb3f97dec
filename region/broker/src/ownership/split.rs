//! Dividing a bundle: of one range of topics become several, which may be served apart.
//!
//! **What**  The bundle's topics close; then one transaction changes the namespace's record and the owner records together, and
//! clients look up again. So at every revision a topic has one bundle and one owner, and what a topic that was opened before
//! still wants to write finds its owner record gone (ADR 0009 §6). The only node of a region has no such records: there only
//! the namespace's record changes, and topics stay open.
//!
//! **States**  topics close → the namespace's record is read → the transaction is asked for → divided, or read again when the
//! namespace's record changed in between.
//!
//! **Invariants**
//! - I7  a bundle is divided only while none of its topics is loaded, unless this node is the only one.
//! - I8  a division that an operator asked for is answered exactly once.
//!
//! **Not here**  Where it is divided best (`tenancy::BundleRange`), who gets the parts (`cluster::View`).

use crate::admin_command::{AdminReply, FailureKind, SplitHow};
use crate::broker::Broker;
use crate::io::{AdminId, BrokerEffect};
use crate::session::waiting::Waiter;
use crate::topic::admin;
use base::{Domain, NamespaceName, Now};
use cluster::{BundleId, Owner, OwnerChange};
use meta_api::{Compare, MetaRequest, MetaResponse, Versioned, Write};
use tenancy::{PolicyRecord, keys, topic_hash};

/// How often a division is tried because the namespace's record changed meanwhile.
const TRIES_MAX: u32 = 8;

/// A division under way.
#[derive(Debug)]
pub(super) struct Split {
    asked_by: Option<AdminId>,
    at: Vec<u32>,
    spread: bool,
    tries: u32,
}

type Failure = (FailureKind, String);

impl Broker {
    /// Divides a bundle; `asked_by` hears how it went, or the log when nobody asked.
    pub(crate) fn split_bundle(
        &mut self,
        now: Now,
        asked_by: Option<AdminId>,
        bundle: BundleId,
        how: SplitHow,
        unload: bool,
    ) {
        let at = match self.may_split(&bundle, how) {
            Ok(at) => at,
            Err(failure) => return self.tell_split(asked_by, &bundle, Err(failure)),
        };
        self.bundles.splitting.insert(bundle.clone(), Split { asked_by, at, spread: unload, tries: 0 });
        match self.core.cluster.view() {
            None if unload => {
                self.close_bundle(now, &bundle);
                self.read_for_split(bundle);
            }
            // I7: nobody serves it, or nobody else is there to be mistaken for its owner.
            None => self.read_for_split(bundle),
            Some(_) if self.core.cluster.owner(&bundle) == Owner::Nobody => self.read_for_split(bundle),
            Some(_) => self.leave_bundle(now, bundle),
        }
    }

    /// Where the bundle is divided, when it can be.
    fn may_split(&self, bundle: &BundleId, how: SplitHow) -> Result<Vec<u32>, Failure> {
        let Some(policies) = self.core.directory.namespace(&bundle.0) else {
            return Err((FailureKind::NotFound, "Namespace does not exist".to_owned()));
        };
        let refused = |text: String| (FailureKind::Precondition, text);
        let at = match how {
            SplitHow::At(at) => at,
            SplitHow::Range => {
                let smallest = || refused(format!("bundle {} is the smallest there is: it cannot be split", bundle.1));
                vec![bundle.1.middle().ok_or_else(smallest)?]
            }
            SplitHow::TopicCount => {
                let few = || refused(format!("bundle {} has fewer than two topics: nothing to divide", bundle.1));
                let domains = [Domain::Persistent, Domain::NonPersistent];
                let known = domains
                    .iter()
                    .flat_map(|domain| self.core.directory.topics_of(&bundle.0, *domain, None, usize::MAX));
                vec![bundle.1.middle_of(known.map(|topic| topic_hash(&topic))).ok_or_else(few)?]
            }
        };
        policies.bundles.split(bundle.1, &at).map_err(|error| refused(error.to_string()))?;
        let busy = self.bundles.splitting.contains_key(bundle) || self.bundles.leaving.contains_key(bundle);
        match self.core.cluster.owner(bundle) {
            Owner::By(_) => Err((FailureKind::Unavailable, "another node serves the bundle: ask that one".to_owned())),
            Owner::Us { moving_to: Some(_), .. } => Err(moving()),
            Owner::Us { .. } | Owner::Nobody if busy => Err(moving()),
            Owner::Us { .. } | Owner::Nobody => Ok(at),
        }
    }

    /// The bundle's topics are closed: what its namespace's record says now is what the transaction changes.
    pub(super) fn read_for_split(&mut self, bundle: BundleId) {
        let key = keys::namespace_key(&bundle.0);
        self.ask_meta(MetaRequest::Get { key }, Waiter::SplitRead { bundle });
    }

    pub(crate) fn handle_split_read(&mut self, now: Now, bundle: BundleId, response: MetaResponse) {
        let found = match response {
            MetaResponse::Value(Some(found)) => found,
            MetaResponse::Value(None) => {
                let gone = (FailureKind::NotFound, "Namespace does not exist".to_owned());
                return self.end_split(now, &bundle, Err(gone));
            }
            other => return self.end_split(now, &bundle, Err(unanswered(&other))),
        };
        match self.split_request(&bundle, &found) {
            Ok(request) => self.ask_meta(request, Waiter::Split { bundle }),
            Err(failure) => self.end_split(now, &bundle, Err(failure)),
        }
    }

    /// The namespace's record comes first, so that whoever hears of the change knows the parts before their owners.
    fn split_request(&self, bundle: &BundleId, found: &Versioned) -> Result<MetaRequest, Failure> {
        let split = self.bundles.splitting.get(bundle).ok_or_else(moving)?;
        let refused = |text: String| (FailureKind::Precondition, text);
        let mut record: PolicyRecord = serde_json::from_slice(&found.value)
            .map_err(|error| (FailureKind::Internal, format!("the namespace's record cannot be read: {error}")))?;
        let divided = record.policies.bundles.split(bundle.1, &split.at).map_err(|error| refused(error.to_string()))?;
        record.policies.bundles = divided;
        // The version stays: other regions have bundles of their own.
        let value = serde_json::to_vec(&record)
            .map_err(|error| (FailureKind::Internal, format!("the namespace's record cannot be written: {error}")))?;
        let owners = match self.core.cluster.view() {
            Some(view) => view.split(bundle, &bundle.1.parts(&split.at), split.spread).ok_or_else(moving)?,
            None => OwnerChange::default(),
        };
        let key = keys::namespace_key(&bundle.0);
        let mut compare = vec![Compare::Version { key: key.clone(), version: found.version }];
        compare.extend(owners.compare);
        let mut writes = vec![Write::Put { key, value: value.into() }];
        writes.extend(owners.writes);
        let served = self.core.cluster.view().is_some() && !self.slots_of(bundle).is_empty();
        assert!(!served, "Ownership I7: topics of a bundle that is divided are closed");
        Ok(MetaRequest::Txn { compare, writes })
    }

    pub(crate) fn handle_split(&mut self, now: Now, bundle: BundleId, response: MetaResponse) {
        let again = match self.bundles.splitting.get_mut(&bundle) {
            Some(split) => {
                split.tries += 1;
                split.tries < TRIES_MAX
            }
            None => false,
        };
        match response {
            MetaResponse::Committed { .. } => self.end_split(now, &bundle, Ok(())),
            MetaResponse::Conflict { index: 0, .. } if again => self.read_for_split(bundle),
            MetaResponse::Conflict { .. } => self.end_split(now, &bundle, Err(moving())),
            other => self.end_split(now, &bundle, Err(unanswered(&other))),
        }
    }

    /// Answers whoever asked (I8). After a success lookups wait until the change arrives here; otherwise the bundle serves on.
    fn end_split(&mut self, now: Now, bundle: &BundleId, result: Result<(), Failure>) {
        let Some(split) = self.bundles.splitting.remove(bundle) else { return };
        let failed = result.is_err();
        self.tell_split(split.asked_by, bundle, result);
        if !failed {
            return;
        }
        self.bundles.leaving.remove(bundle);
        match self.core.cluster.owner(bundle) {
            Owner::Us { moving_to: None, .. } if !self.bundles.draining => self.load_replicated(now, bundle),
            Owner::Us { .. } => self.leave_bundle(now, bundle.clone()),
            Owner::By(_) | Owner::Nobody => (),
        }
        self.look_again(now, bundle);
    }

    /// The bundle was lost or is given away while its topics closed: it is not divided.
    pub(super) fn give_up_split(&mut self, bundle: &BundleId) {
        if let Some(split) = self.bundles.splitting.remove(bundle) {
            self.tell_split(split.asked_by, bundle, Err(moving()));
        }
    }

    fn tell_split(&mut self, asked_by: Option<AdminId>, bundle: &BundleId, result: Result<(), Failure>) {
        match (asked_by, result) {
            (Some(id), Ok(())) => admin::reply(&mut self.out, id, AdminReply::Done),
            (Some(id), Err((kind, text))) => admin::fail(&mut self.out, id, kind, text),
            (None, Ok(())) => (),
            (None, Err((_, text))) => {
                let text = format!("bundle {}/{} could not be split: {text}", bundle.0, bundle.1);
                self.out.effect(BrokerEffect::Alarm { text });
            }
        }
    }

    /// The bundles of a namespace are others now; some of ours may have been known before it was.
    pub(crate) fn load_divided(&mut self, now: Now, namespace: &NamespaceName) {
        let stays = |bundle: &&BundleId| bundle.0 == *namespace && !self.bundles.leaving.contains_key(*bundle);
        let ours: Vec<BundleId> = self.bundles.ours.keys().filter(stays).cloned().collect();
        for bundle in ours {
            self.load_replicated(now, &bundle);
        }
    }
}

fn moving() -> Failure {
    (FailureKind::Unavailable, "the bundle is moving or being split: try again".to_owned())
}

fn unanswered(response: &MetaResponse) -> Failure {
    let text = match response {
        MetaResponse::Unavailable { reason } => {
            format!("the metadata store gave no answer ({reason}): look at the namespace's bundles, then try again")
        }
        other => format!("the metadata store answered {other:?}"),
    };
    (FailureKind::Unavailable, text)
}
