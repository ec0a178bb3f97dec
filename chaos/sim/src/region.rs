//! One region: its metadata, and what a start of one of its nodes reads from there.

use crate::bugs::Bug;
use crate::history::{Life, Owned};
use crate::options::Options;
use crate::queue::{SECOND, Time};
use base::{LedgerId, NamespaceName, NodeId, RegionId, RegionName, TenantName, TopicName};
use bookie::LedgerListing;
use broker::Broker;
use bytes::Bytes;
use cluster::{AliveRecord, NodeRecord, OwnerRecord};
use ledger::LedgerMetadata;
use meta_api::{MetaEvent, MetaRequest, MetaResponse, MetaState, Write};
use std::collections::{BTreeSet, VecDeque};
use tenancy::keys::{self, Key};
use tenancy::{ClusterData, Persistence, Policies, PolicyRecord, PublishRate, TenantInfo};

/// The namespace of every run.
pub(crate) const NAMESPACE: (&str, &str) = ("sim", "both");
/// Metadata states kept for the bug that loses them.
const META_HISTORY: usize = 5;
/// How far into the past stale reads go.
const PAST: Time = 20 * SECOND;

/// A region's metadata: what its majority agreed on, durable at once.
pub(crate) struct Region {
    pub(crate) name: RegionName,
    pub(crate) number: RegionId,
    meta: MetaState,
    /// Earlier states, for [`Bug::MetadataNotDurable`].
    meta_before: VecDeque<MetaState>,
    /// For [`Bug::StaleReads`]: when it was changed, and what it was before.
    past: VecDeque<(Time, MetaState)>,
    /// Every change that nodes watch, in order.
    changes: Vec<MetaEvent>,
}

/// What a region is called.
pub(crate) fn name_of(index: usize) -> &'static str {
    ["east", "west"][index]
}

fn parse_region(index: usize) -> RegionName {
    RegionName::parse(name_of(index)).unwrap_or_else(|error| panic!("Region: its name is valid: {error}"))
}

/// Where clients reach a node.
pub(crate) fn url_of(region: &RegionName, node: NodeId) -> String {
    format!("pulsar://{region}-{}:6650", node.0)
}

impl Region {
    /// A region with metadata for a namespace that lives in both.
    pub(crate) fn new(index: usize, options: &Options, bug: Option<Bug>) -> Self {
        let mut region = Self {
            name: parse_region(index),
            number: RegionId(u8::try_from(index + 1).unwrap_or(1)),
            meta: MetaState::new(),
            meta_before: VecDeque::new(),
            past: VecDeque::new(),
            changes: Vec::new(),
        };
        region.create_records(options, bug);
        if options.nodes > 1 {
            for node in (1..=options.nodes).map(NodeId) {
                let record = NodeRecord {
                    cookie: node.0,
                    pulsar_url: url_of(&region.name, node),
                    http_url: format!("http://{}-{}:8080", region.name, node.0),
                    ..NodeRecord::default()
                };
                region.put(keys::node_key(node), &record);
            }
        }
        region
    }

    fn create_records(&mut self, options: &Options, bug: Option<Bug>) {
        let both = BTreeSet::from([parse_region(0), parse_region(1)]);
        for (number, name) in (1..).zip(&both) {
            let data = ClusterData { number: Some(RegionId(number)), ..ClusterData::default() };
            self.put(keys::cluster_key(name), &data);
        }
        let (Ok(tenant), Ok(namespace)) =
            (TenantName::parse(NAMESPACE.0), NamespaceName::new(NAMESPACE.0, NAMESPACE.1))
        else {
            panic!("Region: the names of the run are valid");
        };
        let info = TenantInfo { allowed_clusters: both.clone(), ..TenantInfo::default() };
        self.put(keys::tenant_key(&tenant), &info);
        let rate = options.quota.filter(|_| bug != Some(Bug::QuotaIgnored)).and_then(|rate| i32::try_from(rate).ok());
        let copies = options.cluster.takeovers.map(|takeovers| takeovers.copies);
        let policies = Policies {
            persistence: copies.map(|(ensemble, write_quorum, ack_quorum)| Persistence {
                bookkeeper_ensemble: ensemble,
                bookkeeper_write_quorum: write_quorum,
                bookkeeper_ack_quorum: ack_quorum,
                managed_ledger_max_mark_delete_rate: 0.0,
            }),
            replication_clusters: both,
            deduplication_enabled: Some(bug != Some(Bug::DeduplicationOff)),
            namespace_publish_rate: rate
                .map(|rate| PublishRate { publish_throttling_rate_in_msg: rate, ..PublishRate::default() }),
            ..Policies::default()
        };
        let record = PolicyRecord { policies, version: 1, writer: Some(parse_region(0)), ..PolicyRecord::default() };
        self.put(keys::namespace_key(&namespace), &record);
    }

    fn put<T: serde::Serialize>(&mut self, key: String, value: &T) {
        let value = serde_json::to_vec(value).unwrap_or_else(|error| panic!("Region: records are JSON: {error}"));
        let writes = vec![Write::Put { key, value: Bytes::from(value) }];
        self.apply(&MetaRequest::Txn { compare: Vec::new(), writes });
    }

    /// Applies a request; the changes go into the log of changes.
    pub(crate) fn apply(&mut self, request: &MetaRequest) -> MetaResponse {
        let (response, events) = self.meta.apply(request);
        let prefixes = Broker::watched_prefixes();
        let seen = |event: &MetaEvent| prefixes.iter().any(|prefix| event.key.starts_with(prefix));
        self.changes.extend(events.into_iter().filter(seen));
        response
    }

    /// All ledgers, as the metadata has them.
    pub(crate) fn ledgers(&self) -> impl Iterator<Item = (LedgerId, LedgerMetadata)> {
        self.meta.iter_prefix(keys::LEDGERS).filter_map(|(key, found)| match Key::parse(key) {
            Some(Key::Ledger(ledger)) => Some((ledger, serde_json::from_slice(&found.value).ok()?)),
            _ => None,
        })
    }

    /// Whom the metadata names as the owner under a key of [`keys::OWNERS`].
    pub(crate) fn owned(&self, key: &str) -> Option<Owned> {
        let record = self.meta.get(key).and_then(|found| OwnerRecord::decode(&found.value))?;
        let life = Life { node: record.node, incarnation: record.incarnation };
        Some(Owned { life, epoch: record.epoch })
    }

    /// The incarnation of a node that counts as alive.
    pub(crate) fn alive(&self, node: NodeId) -> Option<u64> {
        let found = self.meta.get(&keys::alive_key(node))?;
        AliveRecord::decode(&found.value).map(|record| record.incarnation)
    }

    /// Whom the metadata names as the owner of a topic's bundle.
    pub(crate) fn owner_of(&self, topic: &TopicName) -> Option<Life> {
        let holds = |key: &str| {
            matches!(Key::parse(key), Some(Key::Owner(namespace, range))
                if namespace == *topic.namespace() && range.contains(tenancy::topic_hash(topic)))
        };
        let key = self.meta.iter_prefix(keys::OWNERS).map(|(key, _)| key).find(|key| holds(key))?;
        self.owned(key).map(|owned| owned.life)
    }

    /// How many changes there were.
    pub(crate) fn changes(&self) -> usize {
        self.changes.len()
    }

    /// Some of the changes, oldest first.
    pub(crate) fn changes_between(&self, from: usize, to: usize) -> Vec<MetaEvent> {
        self.changes[from..to].to_vec()
    }

    /// [`Bug::StaleReads`]: what was known at that time.
    fn as_of(&mut self, at: Time) -> &mut MetaState {
        let place = self.past.iter().position(|(changed, _)| *changed > at);
        match place.and_then(|place| self.past.get_mut(place)) {
            Some((_, before)) => before,
            None => &mut self.meta,
        }
    }

    /// [`Bug::StaleReads`]: answers with what was known at that time.
    pub(crate) fn read_as_of(&mut self, at: Time, request: &MetaRequest) -> MetaResponse {
        self.as_of(at).apply(request).0
    }

    /// Takes the next incarnation of a node, as `server::cluster` does; `on_disk` is the one that its disk was last used in.
    /// `None`: the region has seen a later one, so the disk is an old copy.
    pub(crate) fn take_incarnation(&mut self, node: NodeId, on_disk: u64, bug: Option<Bug>) -> Option<u64> {
        let key = keys::node_key(node);
        let record = self.meta.get(&key).and_then(|found| NodeRecord::decode(&found.value))?;
        if record.incarnation != on_disk {
            return None;
        }
        if bug == Some(Bug::IncarnationReused) && record.incarnation > 0 {
            return Some(record.incarnation);
        }
        let record = NodeRecord { incarnation: record.incarnation + 1, draining: false, ..record };
        let writes = vec![Write::Put { key, value: record.encode() }];
        self.apply(&MetaRequest::Txn { compare: Vec::new(), writes });
        Some(record.incarnation)
    }

    /// Every ledger of the metadata, below an id that was reserved before; `stale`: as it was known at that time.
    pub(crate) fn list_ledgers(&mut self, stale: Option<Time>) -> LedgerListing {
        let reserve = MetaRequest::Reserve { key: keys::LEDGER_COUNTER.to_owned(), by: 1 };
        let MetaResponse::Reserved { first } = self.apply(&reserve) else {
            unreachable!("sim: the counter of ledgers is a counter");
        };
        let number = self.number;
        let meta = match stale {
            Some(at) => self.as_of(at),
            None => &mut self.meta,
        };
        let known = meta.iter_prefix(keys::LEDGERS).filter_map(|(key, _)| match Key::parse(key) {
            Some(Key::Ledger(ledger)) => Some(ledger),
            _ => None,
        });
        LedgerListing { known: known.collect(), below: LedgerId::compose(number, first) }
    }

    /// All that nodes watch, as it is now.
    pub(crate) fn snapshot(&self) -> Vec<MetaEvent> {
        let mut events = Vec::new();
        for prefix in Broker::watched_prefixes() {
            events.extend(self.meta.iter_prefix(prefix).map(|(key, versioned)| MetaEvent {
                revision: versioned.version,
                key: key.to_owned(),
                value: Some(versioned.value.clone()),
            }));
        }
        events
    }

    /// Before a write: here [`Bug::StaleReads`] goes back to.
    pub(crate) fn keep_past(&mut self, now: Time) {
        self.past.push_back((now, self.meta.clone()));
        while self.past.front().is_some_and(|(at, _)| at + PAST < now) {
            self.past.pop_front();
        }
    }

    /// Before a write: here [`Bug::MetadataNotDurable`] goes back to.
    pub(crate) fn remember(&mut self) {
        self.meta_before.push_back(self.meta.clone());
        if self.meta_before.len() > META_HISTORY {
            self.meta_before.pop_front();
        }
    }

    /// What the bugs of the metadata do when a process dies.
    pub(crate) fn crash(&mut self, bug: Option<Bug>) {
        if bug == Some(Bug::MetadataNotDurable)
            && let Some(before) = self.meta_before.pop_front()
        {
            self.meta = before;
        }
        if bug == Some(Bug::ForgottenCursor) {
            self.forget_cursors();
        }
        self.meta_before.clear();
    }

    /// [`Bug::ForgottenCursor`]: no topic knows where its cursors stand.
    fn forget_cursors(&mut self) {
        let records: Vec<(String, serde_json::Value)> = self
            .meta
            .iter_prefix("/ml/")
            .filter_map(|(key, versioned)| Some((key.to_owned(), serde_json::from_slice(&versioned.value).ok()?)))
            .collect();
        for (key, mut record) in records {
            record["cursor_ledger"] = serde_json::Value::Null;
            self.put(key, &record);
        }
    }
}
