//! Two regions that send each other records, each over its own metadata in memory. A test carries the frames.

use crate::broker::Broker;
use crate::core::{BrokerOptions, Core};
use crate::io::{BrokerEffect, BrokerInput};
use auth::Authenticator;
use base::{Mono, NamespaceName, NodeId, Now, RegionId, RegionName, Rng, TopicName};
use meta_api::{MetaEvent, MetaRequest, MetaState, Write};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use tenancy::keys::{namespace_key, partitioned_key, tenant_key, topic_policies_key};
use tenancy::{
    Authorization, BrokerDefaults, PartitionedRecord, PolicyRecord, TenantInfo, TopicPolicies, TopicPolicyRecord,
};
use wire::commands::BrokerUrls;
use wire::region::RegionFrame;

const NOW: Now = Now { mono: Mono(1_000_000_000), wall_ms: 1_700_000_000_000 };

fn region(name: &str) -> RegionName {
    RegionName::parse(name).unwrap()
}

fn namespace() -> NamespaceName {
    NamespaceName::parse("acme/orders").unwrap()
}

fn topic() -> TopicName {
    TopicName::parse("persistent://acme/orders/t").unwrap()
}

/// One region: a broker and its metadata.
struct Region {
    name: RegionName,
    broker: Broker,
    meta: MetaState,
    /// Changes that the broker has not been told of.
    events: VecDeque<MetaEvent>,
    /// Frames for the other region, in order.
    sent: VecDeque<RegionFrame>,
    alarms: Vec<String>,
}

impl Region {
    /// A region with the tenant `acme`, in contact with `other`.
    fn new(name: &str, number: u8, other: &str) -> Self {
        let options = BrokerOptions {
            node: NodeId(1),
            incarnation: 0,
            shared: false,
            region_name: region(name),
            region: RegionId(number),
            urls: BrokerUrls { plain: None, tls: None },
            http_url: String::new(),
            server_version: "Meridian-test".to_owned(),
            message_bytes_max: 5 << 20,
            keep_alive: Duration::from_secs(30),
            auth_check: Duration::from_secs(60),
            pending_bytes_max: 1 << 30,
            topic_cache_bytes: 1 << 20,
            cache_bytes_max: 16 << 20,
            connections_max: 100,
            rehearsal: None,
        };
        let core = Core::new(options, BrokerDefaults::standalone(), Authenticator::Off, Authorization::Off);
        let mut made = Self {
            name: region(name),
            broker: Broker::new(core, Rng::new(7)),
            meta: MetaState::new(),
            events: VecDeque::new(),
            sent: VecDeque::new(),
            alarms: Vec::new(),
        };
        made.put(&tenant_key(namespace().tenant()), &TenantInfo::default());
        made.hear(BrokerInput::RegionUp { region: region(other) });
        made
    }

    /// Writes a record as this region's admin API does.
    fn put(&mut self, key: &str, record: &impl Serialize) {
        let value = serde_json::to_vec(record).unwrap().into();
        let writes = vec![Write::Put { key: key.to_owned(), value }];
        let (_, events) = self.meta.apply(&MetaRequest::Txn { compare: Vec::new(), writes });
        self.events.extend(events);
        self.tell();
    }

    /// Tells the broker of every change.
    fn tell(&mut self) {
        while let Some(event) = self.events.pop_front() {
            self.hear(BrokerInput::MetaEvents(vec![event]));
        }
    }

    /// Hands an input in and carries out what comes of it; changes wait for [`Self::tell`].
    fn hear(&mut self, input: BrokerInput) {
        self.broker.handle(NOW, input);
        for effect in self.broker.take_effects() {
            match effect {
                BrokerEffect::Meta { id, request } => {
                    let (response, events) = self.meta.apply(&request);
                    self.events.extend(events);
                    self.hear(BrokerInput::Meta { id, response });
                }
                BrokerEffect::Region { frame, .. } => self.sent.push_back(frame),
                BrokerEffect::Alarm { text } => self.alarms.push(text),
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    /// Takes a frame of `from` in.
    fn receive(&mut self, from: &str, frame: RegionFrame) {
        self.hear(BrokerInput::Region { from: region(from), frame });
        self.tell();
    }

    fn namespace(&self) -> Option<PolicyRecord> {
        self.broker.core().directory.namespace_record(&namespace()).cloned()
    }

    fn topic(&self) -> Option<TopicPolicyRecord> {
        self.broker.core().directory.topic_policies(&topic()).cloned()
    }

    fn partitions(&self) -> Option<u32> {
        self.broker.core().directory.partitions(&topic())
    }
}

/// Carries frames until both regions are silent.
fn exchange(one: &mut Region, two: &mut Region) {
    for _ in 0..100 {
        let (from_one, from_two) = (std::mem::take(&mut one.sent), std::mem::take(&mut two.sent));
        if from_one.is_empty() && from_two.is_empty() {
            return;
        }
        from_one.into_iter().for_each(|frame| two.receive(one.name.as_str(), frame));
        from_two.into_iter().for_each(|frame| one.receive(two.name.as_str(), frame));
    }
    panic!("the regions never come to rest");
}

fn pair() -> (Region, Region) {
    (Region::new("east", 1, "west"), Region::new("west", 2, "east"))
}

/// Two regions that both have the namespace, which replicates between them.
fn met() -> (Region, Region) {
    let (mut east, mut west) = pair();
    east.put(&namespace_key(&namespace()), &policies(1, "east", &["east", "west"], 0));
    exchange(&mut east, &mut west);
    (east, west)
}

fn policies(version: u64, writer: &str, regions: &[&str], ttl_s: i32) -> PolicyRecord {
    let mut record = PolicyRecord { version, writer: Some(region(writer)), ..PolicyRecord::default() };
    record.policies.replication_clusters = regions.iter().map(|name| region(name)).collect::<BTreeSet<_>>();
    record.policies.message_ttl_s = Some(ttl_s);
    record
}

fn overrides(version: u64, writer: &str, ttl_s: i32) -> TopicPolicyRecord {
    let policies = TopicPolicies { message_ttl_s: Some(ttl_s), ..TopicPolicies::default() };
    TopicPolicyRecord { policies, version, writer: Some(region(writer)) }
}

fn frame(key: String, record: &impl Serialize) -> RegionFrame {
    let value = serde_json::to_vec(record).unwrap().into();
    RegionFrame::Policy { key, version: 0, writer: RegionId(2), value: Some(value) }
}

#[test]
fn records_follow_to_the_regions_of_their_namespace() {
    let (mut east, mut west) = met();
    assert_eq!(west.namespace(), east.namespace());
    east.put(&topic_policies_key(&topic()), &overrides(1, "east", 60));
    east.put(&partitioned_key(&topic()), &PartitionedRecord { partitions: 4, ..PartitionedRecord::default() });
    exchange(&mut east, &mut west);
    assert_eq!((west.topic(), west.partitions()), (Some(overrides(1, "east", 60)), Some(4)));
    assert_eq!((east.alarms, west.alarms), (vec![], vec![]));
}

#[test]
fn records_of_a_namespace_that_begins_to_replicate_follow_it() {
    let (mut east, mut west) = pair();
    east.put(&namespace_key(&namespace()), &policies(1, "east", &["east"], 0));
    east.put(&topic_policies_key(&topic()), &overrides(1, "east", 60));
    exchange(&mut east, &mut west);
    assert_eq!((west.namespace(), west.topic()), (None, None));
    east.put(&namespace_key(&namespace()), &policies(2, "east", &["east", "west"], 0));
    exchange(&mut east, &mut west);
    assert_eq!((west.namespace(), west.topic()), (east.namespace(), east.topic()));
}

#[test]
fn records_that_were_written_while_the_regions_were_apart_come_when_they_meet() {
    let (mut east, mut west) = met();
    let down = |name| BrokerInput::RegionDown { region: region(name), reason: "cut".to_owned() };
    east.hear(down("west"));
    west.hear(down("east"));
    east.put(&topic_policies_key(&topic()), &overrides(1, "east", 60));
    west.put(&namespace_key(&namespace()), &policies(2, "west", &["east", "west"], 7));
    assert!(east.sent.is_empty() && west.sent.is_empty());
    east.hear(BrokerInput::RegionUp { region: region("west") });
    west.hear(BrokerInput::RegionUp { region: region("east") });
    exchange(&mut east, &mut west);
    assert_eq!(east.namespace(), Some(policies(2, "west", &["east", "west"], 7)));
    assert_eq!((west.namespace(), west.topic()), (east.namespace(), east.topic()));
}

#[test]
fn the_newer_record_wins_by_version_and_then_by_writer_in_whatever_order_they_come() {
    // (version, writer) from the oldest to the newest; the TTL says which one it is.
    let ranked = [(1, "west"), (2, "east"), (2, "west"), (3, "east")];
    for (first, second) in (0..ranked.len()).flat_map(|a| (0..ranked.len()).map(move |b| (a, b))) {
        let (mut east, _) = met();
        let ttl = |rank: usize| i32::try_from(rank).unwrap() + 100;
        for rank in [first, second] {
            let (version, writer) = ranked[rank];
            let record = policies(version, writer, &["east", "west"], ttl(rank));
            east.receive("west", frame(namespace_key(&namespace()), &record));
            east.receive("west", frame(topic_policies_key(&topic()), &overrides(version, writer, ttl(rank))));
        }
        let newest = ttl(first.max(second));
        assert_eq!(east.namespace().unwrap().policies.message_ttl_s, Some(newest), "{first} then {second}");
        assert_eq!(east.topic().unwrap().policies.message_ttl_s, Some(newest), "{first} then {second}");
    }
}

#[test]
fn an_older_or_the_same_record_changes_nothing() {
    let (mut east, _) = met();
    east.put(&topic_policies_key(&topic()), &overrides(5, "east", 60));
    let before = east.meta.revision();
    for version in [0, 1] {
        east.receive("west", frame(namespace_key(&namespace()), &policies(version, "east", &["east", "west"], 9)));
    }
    for (version, writer) in [(4, "west"), (5, "east")] {
        east.receive("west", frame(topic_policies_key(&topic()), &overrides(version, writer, 9)));
    }
    assert_eq!(east.meta.revision(), before, "nothing is written");
}

#[test]
fn of_two_partition_counts_the_larger_wins_and_properties_stay_a_regions_own() {
    let own = |partitions, owner: &str| PartitionedRecord {
        partitions,
        properties: BTreeMap::from([("owner".to_owned(), owner.to_owned())]),
    };
    let key = partitioned_key(&topic());
    let (mut east, mut west) = met();
    east.put(&key, &own(4, "east"));
    exchange(&mut east, &mut west);
    west.put(&key, &own(6, "west"));
    exchange(&mut east, &mut west);
    east.receive("west", frame(key.clone(), &own(5, "west")));
    assert_eq!((east.partitions(), west.partitions()), (Some(6), Some(6)));
    let kept = east.broker.core().directory.partitioned(&topic()).cloned();
    assert_eq!(kept, Some(own(6, "east")), "policy_sync I3");
}

#[test]
fn what_is_one_regions_own_survives_a_newer_record() {
    let (mut east, _) = met();
    let mut ours = policies(2, "east", &["east", "west"], 0);
    ours.local.anti_affinity_group = Some("ours".to_owned());
    east.put(&namespace_key(&namespace()), &ours);
    let mut theirs = policies(3, "west", &["east", "west"], 9);
    theirs.local.anti_affinity_group = Some("theirs".to_owned());
    theirs.policies.bundles = tenancy::Bundles::even(9);
    east.receive("west", frame(namespace_key(&namespace()), &theirs));
    let kept = east.namespace().unwrap();
    assert_eq!((kept.version, kept.local.anti_affinity_group.as_deref()), (3, Some("ours")), "policy_sync I3");
    assert_eq!(kept.policies.bundles, ours.policies.bundles, "policy_sync I3");
}

#[test]
fn a_namespace_takes_no_record_from_a_region_that_it_does_not_replicate_with() {
    let (mut east, _) = pair();
    east.receive("west", frame(namespace_key(&namespace()), &policies(9, "west", &["east"], 9)));
    assert_eq!(east.namespace(), None, "policy_sync I1");
    east.put(&namespace_key(&namespace()), &policies(1, "east", &["east"], 0));
    east.receive("west", frame(topic_policies_key(&topic()), &overrides(9, "west", 9)));
    east.receive("west", frame(partitioned_key(&topic()), &PartitionedRecord { partitions: 9, ..Default::default() }));
    assert_eq!((east.topic(), east.partitions()), (None, None), "policy_sync I1");
}

#[test]
fn a_namespace_of_an_unknown_tenant_is_refused_with_a_reason() {
    let (mut east, _) = pair();
    let stranger = NamespaceName::parse("globex/orders").unwrap();
    east.receive("west", frame(namespace_key(&stranger), &policies(1, "west", &["east", "west"], 9)));
    assert!(east.broker.core().directory.namespace_record(&stranger).is_none());
    assert!(east.alarms[0].contains("tenant globex does not exist here; create it"), "{:?}", east.alarms);
}

#[test]
fn a_record_that_came_between_is_compared_too() {
    let (mut east, _) = met();
    // Written here, and the broker does not know yet.
    let ours = overrides(5, "east", 60);
    let value = serde_json::to_vec(&ours).unwrap().into();
    let writes = vec![Write::Put { key: topic_policies_key(&topic()), value }];
    let (_, events) = east.meta.apply(&MetaRequest::Txn { compare: Vec::new(), writes });
    east.events.extend(events);
    east.receive("west", frame(topic_policies_key(&topic()), &overrides(4, "west", 9)));
    assert_eq!(east.topic(), Some(ours), "policy_sync I2: the older one does not replace it");
}
