//! One broker of two nodes, told by a store in memory who is alive and who owns what.

use super::lookups::TAKEOVER_MAX;
use crate::admin_command::{AdminCommand, AdminReply, SplitHow, TopicOp};
use crate::io::{AdminId, BrokerEffect, BrokerInput, ConnId, ConnInfo, Outgoing};
use crate::{Broker, BrokerOptions, Core};
use auth::Authenticator;
use base::{Mono, NodeId, Now, RegionId, RegionName, Rng, TopicName};
use cluster::{AliveRecord, NodeRecord, Owner};
use meta_api::{MetaEvent, MetaRequest, MetaResponse, MetaState, Write};
use std::time::Duration;
use tenancy::{Authorization, BrokerDefaults, Policies, PolicyRecord, keys};
use wire::commands::BrokerUrls;
use wire::frame::{RawFrame, decode_command, encode_command};
use wire::pulsar::base_command::Command;
use wire::pulsar::{
    BaseCommand, CommandCloseConsumer, CommandConnect, CommandLookupTopic, CommandProducer, CommandSubscribe,
    ServerError,
};

const CONN: ConnId = ConnId(1);
const NOW: Now = Now { mono: Mono(1_000_000_000), wall_ms: 1_700_000_000_000 };

struct Bed {
    broker: Broker,
    store: MetaState,
    replies: Vec<AdminReply>,
    answers: Vec<Command>,
    /// Answers of the metadata wait here while it is slow.
    slow: Option<Vec<BrokerInput>>,
    asked: u64,
}

impl Bed {
    /// Node 1, alive when `alive`, and node 2, which is.
    fn new(alive: bool) -> Self {
        let options = BrokerOptions {
            node: NodeId(1),
            incarnation: 1,
            shared: true,
            region_name: RegionName::parse("east").unwrap(),
            region: RegionId(1),
            urls: BrokerUrls { plain: Some("pulsar://one:6650".to_owned()), tls: None },
            http_url: "http://one:8080".to_owned(),
            server_version: "test".to_owned(),
            message_bytes_max: 5 << 20,
            keep_alive: Duration::from_secs(30),
            auth_check: Duration::from_secs(60),
            pending_bytes_max: 1 << 20,
            topic_cache_bytes: 1 << 20,
            cache_bytes_max: 1 << 20,
            connections_max: 10,
            rehearsal: None,
        };
        let core = Core::new(options, BrokerDefaults::standalone(), Authenticator::Off, Authorization::Off);
        let mut bed = Self {
            broker: Broker::new(core, Rng::new(1)),
            store: MetaState::new(),
            replies: Vec::new(),
            answers: Vec::new(),
            slow: None,
            asked: 0,
        };
        let region = RegionName::parse("east").unwrap();
        let record = PolicyRecord { policies: Policies::default().at_creation(&region), ..PolicyRecord::default() };
        let namespace = keys::namespace_key(topic().namespace());
        bed.put(namespace, serde_json::to_vec(&record).unwrap().into());
        for (node, host) in [(1, "one"), (2, "two")] {
            let record = NodeRecord {
                incarnation: 1,
                pulsar_url: format!("pulsar://{host}:6650"),
                http_url: format!("http://{host}:8080"),
                ..NodeRecord::default()
            };
            bed.put(keys::node_key(NodeId(node)), record.encode());
            if alive || node == 2 {
                bed.put(keys::alive_key(NodeId(node)), AliveRecord { incarnation: 1 }.encode());
            }
        }
        bed
    }

    fn put(&mut self, key: String, value: bytes::Bytes) {
        self.change(vec![Write::Put { key, value }]);
    }

    fn change(&mut self, writes: Vec<Write>) {
        let (_, events) = self.store.apply(&MetaRequest::Txn { compare: Vec::new(), writes });
        self.broker.handle(NOW, BrokerInput::MetaEvents(events));
        self.settle();
    }

    fn ask(&mut self, command: AdminCommand) -> Vec<AdminReply> {
        self.asked += 1;
        self.broker.handle(NOW, BrokerInput::Admin { id: AdminId(self.asked), command });
        self.settle();
        std::mem::take(&mut self.replies)
    }

    /// Answers what the broker asks of the metadata; bookies stay silent.
    fn settle(&mut self) {
        loop {
            let effects = self.broker.take_effects();
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                match effect {
                    BrokerEffect::Meta { id, request } => {
                        let (response, events) = self.store.apply(&request);
                        let inputs = [BrokerInput::Meta { id, response }, BrokerInput::MetaEvents(events)];
                        match &mut self.slow {
                            Some(later) => later.extend(inputs),
                            None => inputs.into_iter().for_each(|input| self.broker.handle(NOW, input)),
                        }
                    }
                    BrokerEffect::Send { bytes: Outgoing::One(frame), .. } => {
                        self.answers.extend(decode_command(&frame.slice(8..)).unwrap().command);
                    }
                    BrokerEffect::Admin { reply, .. } => self.replies.push(reply),
                    _ => (),
                }
            }
        }
    }

    fn hear(&mut self, input: BrokerInput) {
        self.broker.handle(NOW, input);
        self.settle();
    }

    fn frame(&mut self, command: impl Into<BaseCommand>) {
        let frame = RawFrame { command: encode_command(&command.into()).slice(8..), payload: None };
        self.hear(BrokerInput::Frame { conn: CONN, frame });
    }

    /// A client that has found its way here and subscribes, or makes a producer.
    fn connect(&mut self) {
        let info = ConnInfo { peer: "127.0.0.1:9".to_owned(), tls_common_name: None, tls: false };
        self.hear(BrokerInput::ConnOpened { conn: CONN, info });
        self.frame(CommandConnect { protocol_version: Some(21), ..CommandConnect::default() });
        self.answers.clear();
    }

    fn subscribe(&mut self) {
        self.frame(CommandSubscribe {
            topic: topic().to_string(),
            subscription: "s".to_owned(),
            consumer_id: 1,
            request_id: 7,
            ..CommandSubscribe::default()
        });
    }

    fn owner(&self) -> Owner {
        self.broker.core().owner_of(&topic())
    }

    /// Gives the topic's bundle to a node.
    fn give(&mut self, node: u64) {
        let events = self.give_unheard(node);
        self.hear(BrokerInput::MetaEvents(events));
    }

    /// Gives the topic's bundle to a node; the broker has not heard of it yet.
    fn give_unheard(&mut self, node: u64) -> Vec<MetaEvent> {
        let bundle = self.broker.core().bundle_of(&topic()).unwrap();
        let view = self.broker.core().cluster.view().unwrap();
        let request = view.give(&bundle, NodeId(node)).unwrap().request;
        let (response, events) = self.store.apply(&request);
        assert!(matches!(response, MetaResponse::Committed { .. }));
        events
    }
}

fn topic() -> TopicName {
    TopicName::parse("persistent://public/default/t").unwrap()
}

fn create() -> AdminCommand {
    AdminCommand::Topic { topic: topic(), op: TopicOp::Create { properties: Default::default() } }
}

#[test]
fn a_bundle_that_nobody_serves_is_assigned_when_somebody_asks() {
    let mut bed = Bed::new(true);
    assert_eq!(bed.owner(), Owner::Nobody);
    let find = || AdminCommand::FindOwner { topic: topic() };
    assert!(matches!(bed.ask(find())[..], [AdminReply::Done]));
    assert!(matches!(bed.owner(), Owner::Us { epoch: 1, .. }));
    let mut alone = Bed::new(false);
    assert!(matches!(alone.ask(find())[..], [AdminReply::Done]));
    assert_eq!(alone.owner(), Owner::By(NodeId(2)));
    assert_eq!(alone.broker.core().urls_of(NodeId(2)).plain.as_deref(), Some("pulsar://two:6650"));
}

#[test]
fn i1_a_topic_of_another_node_is_refused_and_not_loaded() {
    let mut bed = Bed::new(true);
    bed.give(2);
    let replies = bed.ask(create());
    let [AdminReply::Failed(failure)] = &replies[..] else { panic!("{replies:?}") };
    assert!(failure.reason.contains("not served by this instance"), "{failure:?}");
    assert_eq!(bed.broker.stats(NOW).topics, 0, "I1");
}

#[test]
fn i1_a_lost_bundle_is_closed() {
    let mut bed = Bed::new(true);
    bed.give(1);
    bed.ask(create());
    assert_eq!(bed.broker.stats(NOW).topics, 1);
    bed.change(vec![Write::Delete { key: keys::alive_key(NodeId(1)) }]);
    assert_eq!((bed.owner(), bed.broker.stats(NOW).topics), (Owner::Nobody, 0), "I1");
}

#[test]
fn i3_a_node_that_ends_gives_its_bundles_up_and_gets_no_new_ones() {
    let mut bed = Bed::new(true);
    bed.give(1);
    bed.ask(create());
    bed.broker.begin_shutdown(NOW);
    bed.settle();
    assert!(bed.broker.is_idle(), "I3");
    assert_eq!(bed.owner(), Owner::Nobody);
    assert!(matches!(bed.ask(AdminCommand::FindOwner { topic: topic() })[..], [AdminReply::Done]));
    assert_eq!(bed.owner(), Owner::By(NodeId(2)));
}

#[test]
fn a_bundle_on_its_way_to_a_node_that_went_down_is_free_for_whoever_is_asked_next() {
    let mut bed = Bed::new(true);
    bed.give(1);
    bed.ask(create());
    let bundle = bed.broker.core().bundle_of(&topic()).unwrap();
    let wish = bed.broker.core().cluster.view().unwrap().move_bundle(&bundle, NodeId(2)).unwrap();
    // Node 2 goes down, and this one hears of the wish first.
    let writes = vec![Write::Delete { key: keys::alive_key(NodeId(2)) }];
    bed.store.apply(&MetaRequest::Txn { compare: Vec::new(), writes });
    let (_, events) = bed.store.apply(&wish);
    bed.hear(BrokerInput::MetaEvents(events));
    assert_eq!(bed.owner(), Owner::Nobody);
}

#[test]
fn an_unloaded_bundle_is_free_for_whoever_is_asked_next() {
    let mut bed = Bed::new(true);
    bed.give(1);
    let (namespace, bundle) = bed.broker.core().bundle_of(&topic()).unwrap();
    bed.ask(AdminCommand::UnloadBundle { namespace, bundle });
    assert_eq!(bed.owner(), Owner::Nobody);
}

#[test]
fn a_client_that_knows_the_new_owner_before_the_owner_does_is_served() {
    let mut bed = Bed::new(true);
    bed.give(2);
    bed.connect();
    bed.give_unheard(1);
    assert_eq!(bed.owner(), Owner::By(NodeId(2)), "the change has not arrived");
    let producer = CommandProducer {
        topic: topic().to_string(),
        producer_id: 1,
        request_id: 6,
        producer_name: Some("p".to_owned()),
        ..CommandProducer::default()
    };
    bed.frame(producer);
    bed.subscribe();
    assert!(matches!(bed.owner(), Owner::Us { .. }));
    assert_eq!(bed.broker.stats(NOW).topics, 1);
    // The subscription waits for its cursor, and bookies are silent here.
    assert!(matches!(bed.answers[..], [Command::ProducerSuccess(_)]), "{:?}", bed.answers);
}

#[test]
fn a_client_that_was_sent_here_wrongly_is_refused_after_the_metadata_was_asked() {
    let mut bed = Bed::new(true);
    bed.give(2);
    bed.connect();
    bed.subscribe();
    let [Command::Error(error), Command::CloseConsumer(close)] = &bed.answers[..] else { panic!("{:?}", bed.answers) };
    assert_eq!((error.request_id, error.error), (7, ServerError::ServiceNotReady as i32));
    assert_eq!(close.consumer_id, 1, "without it the official C++ client never tries again");
    assert_eq!(bed.broker.stats(NOW).topics, 0, "I1");
}

#[test]
fn i4_a_held_command_is_dropped_when_its_consumer_or_its_connection_closes() {
    for whole in [false, true] {
        let mut bed = Bed::new(true);
        bed.give(2);
        bed.connect();
        bed.give_unheard(1);
        bed.slow = Some(Vec::new());
        bed.subscribe();
        if whole {
            bed.hear(BrokerInput::ConnClosed { conn: CONN });
        } else {
            bed.frame(CommandCloseConsumer { consumer_id: 1, request_id: 8, ..CommandCloseConsumer::default() });
        }
        bed.answers.clear();
        while let Some(later) = bed.slow.replace(Vec::new()).filter(|later| !later.is_empty()) {
            later.into_iter().for_each(|input| bed.hear(input));
        }
        assert_eq!((bed.broker.stats(NOW).topics, bed.answers.len()), (0, 0), "I4");
    }
}

#[test]
fn a_node_that_is_cut_off_ends_its_topics_and_serves_them_again_when_nobody_took_them() {
    let mut bed = Bed::new(true);
    bed.give(1);
    bed.ask(create());
    bed.connect();
    bed.frame(CommandProducer {
        topic: topic().to_string(),
        producer_id: 1,
        request_id: 6,
        producer_name: Some("p".to_owned()),
        ..CommandProducer::default()
    });
    bed.answers.clear();
    bed.broker.set_apart(NOW, true);
    bed.settle();
    assert!(matches!(bed.answers[..], [Command::CloseProducer(_)]), "its clients go elsewhere: {:?}", bed.answers);
    assert_eq!(bed.broker.stats(NOW).topics, 0);
    let replies = bed.ask(AdminCommand::FindOwner { topic: topic() });
    let [AdminReply::Failed(failure)] = &replies[..] else { panic!("{replies:?}") };
    assert!(failure.reason.contains("lost the majority of its region"), "{failure:?}");
    bed.broker.set_apart(NOW, false);
    bed.settle();
    assert!(matches!(bed.owner(), Owner::Us { epoch: 1, .. }));
}

fn look_up(bed: &mut Bed) {
    bed.frame(CommandLookupTopic { topic: topic().to_string(), request_id: 9, ..CommandLookupTopic::default() });
}

#[test]
fn i5_a_lookup_of_a_lost_node_waits_for_the_takeover() {
    let mut bed = Bed::new(true);
    bed.give(2);
    bed.connect();
    bed.broker.set_peer(NOW, NodeId(2), false);
    look_up(&mut bed);
    assert!(bed.answers.is_empty(), "{:?}", bed.answers);
    bed.change(vec![Write::Delete { key: keys::alive_key(NodeId(2)) }]);
    let [Command::LookupTopicResponse(found)] = &bed.answers[..] else { panic!("{:?}", bed.answers) };
    assert_eq!(found.broker_service_url.as_deref(), Some("pulsar://one:6650"), "I5");
}

#[test]
fn i5_a_lookup_is_answered_when_the_node_is_back_and_in_the_end_in_any_case() {
    for comes_back in [true, false] {
        let mut bed = Bed::new(true);
        bed.give(2);
        bed.connect();
        bed.broker.set_peer(NOW, NodeId(2), false);
        look_up(&mut bed);
        assert!(bed.answers.is_empty(), "{:?}", bed.answers);
        if comes_back {
            bed.broker.set_peer(NOW, NodeId(2), true);
        } else {
            let late = Now { mono: NOW.mono + TAKEOVER_MAX, ..NOW };
            assert!(bed.broker.next_deadline().is_some_and(|at| at <= late.mono), "I5");
            bed.broker.on_deadline(late);
        }
        bed.settle();
        let [Command::LookupTopicResponse(found)] = &bed.answers[..] else { panic!("{:?}", bed.answers) };
        assert_eq!(found.broker_service_url.as_deref(), Some("pulsar://two:6650"), "I5");
    }
}

fn split(bed: &mut Bed) -> Vec<AdminReply> {
    let (namespace, bundle) = bed.broker.core().bundle_of(&topic()).unwrap();
    bed.ask(AdminCommand::SplitBundle { namespace, bundle, how: SplitHow::Range, unload: false })
}

/// Answers what the metadata was asked, and what is asked because of that, until all is answered.
fn hurry(bed: &mut Bed) {
    while let Some(later) = bed.slow.replace(Vec::new()).filter(|later| !later.is_empty()) {
        later.into_iter().for_each(|input| bed.hear(input));
    }
    bed.slow = None;
}

#[test]
fn i7_i8_topics_of_a_bundle_close_before_it_is_divided_and_open_under_the_parts_owner() {
    let mut bed = Bed::new(true);
    bed.give(1);
    bed.ask(create());
    assert_eq!(bed.broker.stats(NOW).topics, 1);
    let (whole, guard) = (bed.broker.core().bundle_of(&topic()).unwrap(), bed.broker.core().guard_of(&topic()));
    assert!(matches!(split(&mut bed)[..], [AdminReply::Done]), "I8");
    assert_eq!(bed.broker.stats(NOW).topics, 0, "I7");
    let part = bed.broker.core().bundle_of(&topic()).unwrap();
    assert!(part != whole && whole.1.contains(part.1.lower), "{part:?} of {whole:?}");
    assert!(matches!(bed.owner(), Owner::Us { epoch: 2, .. }));
    assert_ne!(bed.broker.core().guard_of(&topic()), guard);
    let late = MetaRequest::Txn { compare: guard.into_iter().collect(), writes: Vec::new() };
    assert!(matches!(bed.store.apply(&late).0, MetaResponse::Conflict { .. }), "an old topic writes nothing any more");
    let stats = AdminCommand::Topic { topic: topic(), op: TopicOp::Stats };
    bed.ask(stats);
    assert_eq!(bed.broker.stats(NOW).topics, 1, "it opens again");
}

#[test]
fn a_lookup_during_a_division_is_answered_once_the_parts_are_known() {
    let mut bed = Bed::new(true);
    bed.give(1);
    bed.connect();
    bed.slow = Some(Vec::new());
    assert!(split(&mut bed).is_empty());
    look_up(&mut bed);
    assert!(bed.answers.is_empty(), "{:?}", bed.answers);
    hurry(&mut bed);
    let [Command::LookupTopicResponse(found)] = &bed.answers[..] else { panic!("{:?}", bed.answers) };
    assert_eq!(found.broker_service_url.as_deref(), Some("pulsar://one:6650"));
    assert!(matches!(bed.replies[..], [AdminReply::Done]), "I8");
}

#[test]
fn a_division_goes_on_over_a_change_of_policies_and_not_over_a_loss_of_the_bundle() {
    for lost in [false, true] {
        let mut bed = Bed::new(true);
        bed.give(1);
        bed.slow = Some(Vec::new());
        assert!(split(&mut bed).is_empty());
        if lost {
            bed.change(vec![Write::Delete { key: keys::alive_key(NodeId(1)) }]);
        } else {
            let key = keys::namespace_key(topic().namespace());
            let value = bed.store.get(&key).unwrap().value.clone();
            bed.put(key, value);
        }
        hurry(&mut bed);
        let count = bed.broker.core().directory.namespace(topic().namespace()).unwrap().bundles.ranges().count();
        let replies = std::mem::take(&mut bed.replies);
        if lost {
            let [AdminReply::Failed(failure)] = &replies[..] else { panic!("I8: {replies:?}") };
            assert!(failure.reason.contains("moving or being split"), "{failure:?}");
        } else {
            assert!(matches!(replies[..], [AdminReply::Done]), "I8: {replies:?}");
        }
        assert_eq!(count, if lost { 4 } else { 5 });
    }
}

#[test]
fn i6_a_node_that_has_not_heard_of_a_division_assigns_nothing_of_the_whole() {
    let mut bed = Bed::new(true);
    bed.connect();
    let key = keys::namespace_key(topic().namespace());
    let whole = bed.broker.core().bundle_of(&topic()).unwrap();
    let mut record: PolicyRecord = serde_json::from_slice(&bed.store.get(&key).unwrap().value).unwrap();
    record.policies.bundles = record.policies.bundles.split(whole.1, &[whole.1.middle().unwrap()]).unwrap();
    let value = serde_json::to_vec(&record).unwrap().into();
    let put = MetaRequest::Txn { compare: Vec::new(), writes: vec![Write::Put { key, value }] };
    let (_, unheard) = bed.store.apply(&put);
    look_up(&mut bed);
    assert!(bed.answers.is_empty(), "I6: it waits for the change: {:?}", bed.answers);
    assert_eq!(bed.store.get(&keys::owner_key(&whole.0, whole.1)), None, "I6");
    bed.hear(BrokerInput::MetaEvents(unheard));
    let [Command::LookupTopicResponse(found)] = &bed.answers[..] else { panic!("{:?}", bed.answers) };
    assert!(found.broker_service_url.is_some());
    assert!(matches!(bed.owner(), Owner::Us { epoch: 1, .. }));
}
