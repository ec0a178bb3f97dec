//! What a node answers to the questions of others.

use super::bed::Bed;
use crate::asks::{QUESTION_TIME_MAX, QUESTIONS_MAX, Question};
use crate::{AdminEffect, Asker, Method::Put};
use base::{NamespaceName, NodeId, TopicName};
use broker::admin_command::{AdminReply, FailureKind, StartAt, TopicOp};
use bytes::Bytes;
use cluster::OwnerRecord;
use std::collections::BTreeMap;
use tenancy::{BundleRange, keys, topic_hash};

const TOPIC: &str = "persistent://acme/orders/t";

/// Node 1 of two, which serves the topic or does not.
fn bed(owner: u64) -> Bed {
    let mut bed = Bed::of_nodes(2);
    bed.ok(Put, "/admin/v2/clusters/east", r#"{"serviceUrl":"http://127.0.0.1:8080","regionNumber":1}"#);
    bed.ok(Put, "/admin/v2/tenants/acme", r#"{"allowedClusters":["east"]}"#);
    bed.ok(Put, "/admin/v2/namespaces/acme/orders", "");
    let lower = topic_hash(&topic()) / 0x4000_0000 * 0x4000_0000;
    let range = BundleRange { lower, upper: lower.saturating_add(0x4000_0000) };
    let record = OwnerRecord { node: NodeId(owner), incarnation: 1, epoch: 1, moving_to: None };
    bed.put(keys::owner_key(&NamespaceName::parse("acme/orders").unwrap(), range), record.encode());
    bed
}

fn topic() -> TopicName {
    TopicName::parse(TOPIC).unwrap()
}

fn asker(id: u64) -> Asker {
    Asker { node: NodeId(2), incarnation: 9, id }
}

fn ask(bed: &mut Bed, id: u64, revision: u64, op: TopicOp) {
    let content = serde_json::to_vec(&Question { revision, topic: topic(), op }).unwrap();
    bed.asked_by(asker(id), &content.into());
}

/// The answers so far, with the askers' numbers.
fn answers(bed: &mut Bed) -> Vec<(Asker, AdminReply)> {
    let answer = |effect| match effect {
        AdminEffect::Answer { to, content } => (to, serde_json::from_slice(&content).unwrap()),
        other => panic!("{other:?} is no answer"),
    };
    std::mem::take(&mut bed.out).into_iter().map(answer).collect()
}

fn kind_of(reply: &AdminReply) -> Option<FailureKind> {
    if let AdminReply::Failed(failure) = reply { Some(failure.kind) } else { None }
}

#[test]
fn i2_an_answer_has_the_numbers_of_its_question() {
    let mut bed = bed(1);
    let create = TopicOp::Create { properties: BTreeMap::from([("a".to_owned(), "b".to_owned())]) };
    ask(&mut bed, 7, 0, create);
    assert!(matches!(answers(&mut bed)[..], [(to, AdminReply::MessageId(_))] if to == asker(7)));
    ask(&mut bed, u64::MAX, 0, TopicOp::Stats);
    assert!(matches!(&answers(&mut bed)[..], [(to, AdminReply::Stats(_))] if *to == asker(u64::MAX)));
    ask(&mut bed, 8, 0, TopicOp::Subscriptions);
    assert!(matches!(&answers(&mut bed)[..], [(_, AdminReply::Names(names))] if names.is_empty()));
}

#[test]
fn i1_a_node_that_does_not_serve_the_topic_says_so_and_does_nothing() {
    let mut bed = bed(2);
    ask(&mut bed, 7, 0, TopicOp::Create { properties: BTreeMap::new() });
    let known = bed.broker.known_revision();
    let told = answers(&mut bed);
    assert_eq!(kind_of(&told[0].1), Some(FailureKind::Moved { revision: known }));
    assert!(bed.meta.iter_prefix("/topics/").next().is_none());
}

#[test]
fn i1_nothing_is_done_before_the_metadata_is_as_new_as_the_askers() {
    let mut bed = bed(1);
    ask(&mut bed, 1, 0, TopicOp::Create { properties: BTreeMap::new() });
    answers(&mut bed);
    let next = bed.broker.known_revision() + 1;
    ask(&mut bed, 2, next, TopicOp::Stats);
    assert!(answers(&mut bed).is_empty());
    bed.ok(Put, "/admin/v2/namespaces/acme/later", "");
    assert_eq!(answers(&mut bed).len(), 1);
}

#[test]
fn i3_questions_are_bounded_in_number_and_time() {
    let mut bed = bed(1);
    let future = bed.broker.known_revision() + 1000;
    for id in 0..=QUESTIONS_MAX as u64 {
        ask(&mut bed, id, future, TopicOp::Stats);
    }
    let busy = answers(&mut bed);
    assert_eq!((busy.len(), busy[0].0), (1, asker(QUESTIONS_MAX as u64)));
    assert_eq!(kind_of(&busy[0].1), Some(FailureKind::Unavailable));
    bed.pass(QUESTION_TIME_MAX);
    let late = answers(&mut bed);
    assert_eq!(late.len(), QUESTIONS_MAX);
    assert!(late.iter().all(|(_, reply)| kind_of(reply) == Some(FailureKind::Unavailable)));
    assert_eq!(bed.api.next_deadline(), None);
}

#[test]
fn a_question_that_cannot_be_read_is_answered_with_words() {
    let mut bed = bed(1);
    bed.asked_by(asker(3), &Bytes::from_static(b"{\"topic\":\"persistent://acme/orders/t\",\"op\":\"Dance\"}"));
    let told = answers(&mut bed);
    assert!(matches!(&told[0].1, AdminReply::Failed(failure) if failure.reason.contains("the same version")));
}

#[test]
fn every_operation_is_read_as_it_was_written() {
    let name = base::SubscriptionName::parse("s").unwrap();
    let position = base::Position::new(base::LedgerId(7), -1);
    let force = broker::admin_command::Force::Yes;
    let properties = BTreeMap::from([("k".to_owned(), "ü\"".to_owned())]);
    let mut all = vec![
        TopicOp::Create { properties: properties.clone() },
        TopicOp::Delete { force },
        TopicOp::Unload,
        TopicOp::Stats,
        TopicOp::InternalStats,
        TopicOp::Subscriptions,
        TopicOp::DeleteSubscription { name: name.clone(), force },
        TopicOp::SkipAll { name: name.clone() },
        TopicOp::Skip { name: name.clone(), entries: u64::MAX },
        TopicOp::Expire { name: None, older_than_s: 1 },
        TopicOp::Peek { name: name.clone(), nth: 1 },
        TopicOp::Entry { position },
        TopicOp::FirstAt { publish_time_ms: 1 },
        TopicOp::LastMessageId,
        TopicOp::Terminate,
    ];
    let starts = [StartAt::Earliest, StartAt::Latest, StartAt::Position(position), StartAt::After(position)];
    for start in starts.into_iter().chain([StartAt::Time(u64::MAX)]) {
        all.push(TopicOp::Reset { name: name.clone(), to: start });
        all.push(TopicOp::CreateSubscription { name: name.clone(), start, properties: properties.clone() });
    }
    for op in all {
        let question = Question { revision: 1, topic: topic(), op };
        let bytes = serde_json::to_vec(&question).unwrap();
        assert_eq!(serde_json::from_slice::<Question>(&bytes).unwrap(), question);
    }
}
