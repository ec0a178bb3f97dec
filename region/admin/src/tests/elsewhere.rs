//! Which way commands go, and how answers of several rounds are put together.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use super::*;
use base::Rng;

fn topic(index: u32) -> TopicName {
    TopicName::parse("persistent://acme/orders/t").unwrap().with_partition(index)
}

fn commands(count: u32) -> Vec<AdminCommand> {
    (0..count).map(|index| AdminCommand::Topic { topic: topic(index), op: TopicOp::Subscriptions }).collect()
}

fn failed(kind: FailureKind, reason: &str) -> AdminReply {
    AdminReply::Failed(AdminFailure::new(kind, reason))
}

#[test]
fn only_what_is_all_one_other_nodes_is_redirected() {
    let (two, three) = (Way::Node(NodeId(2)), Way::Node(NodeId(3)));
    for (ways, expected) in [
        (vec![two], Plan::Redirect(NodeId(2))),
        (vec![two, two], Plan::Redirect(NodeId(2))),
        (vec![], Plan::Spread),
        (vec![Way::Here], Plan::Spread),
        (vec![Way::Nowhere], Plan::Spread),
        (vec![Way::Nowhere, Way::Nowhere], Plan::Spread),
        (vec![two, three], Plan::Spread),
        (vec![two, Way::Here], Plan::Spread),
        (vec![Way::Here, two], Plan::Spread),
        (vec![two, Way::Nowhere], Plan::Spread),
    ] {
        assert_eq!(plan(ways.clone()), expected, "{ways:?}");
    }
}

#[test]
fn a_partition_that_is_created_has_no_owner_yet() {
    let create = TopicOp::Create { properties: BTreeMap::new() };
    assert_eq!(subject(&AdminCommand::Topic { topic: topic(0), op: create.clone() }), None);
    let whole = topic(0).partitioned();
    assert_eq!(subject(&AdminCommand::Topic { topic: whole.clone(), op: create }), Some(&whole));
    assert_eq!(subject(&AdminCommand::LoadedTopics), None);
}

#[test]
fn a_failure_names_its_topic_once_and_only_among_several() {
    let mut replies = vec![
        failed(FailureKind::Unavailable, "no answer"),
        AdminReply::Done,
        failed(FailureKind::NotFound, &format!("no subscription on {}", topic(2))),
    ];
    name(&commands(3), &mut replies);
    let reason = |place: usize| match &replies[place] {
        AdminReply::Failed(failure) => failure.reason.clone(),
        other => format!("{other:?}"),
    };
    assert_eq!(reason(0), format!("{}: no answer", topic(0)));
    assert_eq!(reason(1), "Done");
    assert_eq!(reason(2), format!("no subscription on {}", topic(2)));
    let mut one = vec![failed(FailureKind::Unavailable, "no answer")];
    name(&commands(1), &mut one);
    assert!(matches!(&one[0], AdminReply::Failed(failure) if failure.reason == "no answer"));
}

/// Whatever moves in whichever round, each command has its own last answer in the end.
#[test]
fn i1_answers_of_all_rounds_stand_at_the_places_of_their_commands() {
    for seed in 0..500 {
        let mut rng = Rng::new(seed);
        let count = usize::try_from(1 + rng.below(20)).unwrap();
        let mut round = 0;
        let answer = |place: usize, rng: &mut Rng| {
            if rng.below(3) == 0 {
                failed(FailureKind::Moved { revision: rng.below(100) }, "moved")
            } else {
                AdminReply::Names(vec![place.to_string()])
            }
        };
        let mut replies: Vec<AdminReply> = (0..count).map(|place| answer(place, &mut rng)).collect();
        loop {
            let (places, revision) = moved(&replies);
            let newest = replies.iter().filter_map(|reply| match reply {
                AdminReply::Failed(AdminFailure { kind: FailureKind::Moved { revision }, .. }) => Some(*revision),
                _ => None,
            });
            assert_eq!(revision, newest.max().unwrap_or(0), "seed {seed}");
            if places.is_empty() || round == ROUNDS_MAX {
                break;
            }
            round += 1;
            let later = places.iter().map(|place| answer(*place, &mut rng)).collect();
            merge(&mut replies, &places, later);
        }
        assert_eq!(replies.len(), count);
        for (place, reply) in replies.iter().enumerate() {
            let whole = matches!(reply, AdminReply::Names(names) if *names == [place.to_string()]);
            let moved =
                matches!(reply, AdminReply::Failed(failure) if matches!(failure.kind, FailureKind::Moved { .. }));
            assert!(whole || (moved && round == ROUNDS_MAX), "seed {seed}: place {place} has {reply:?}");
        }
    }
}

#[test]
#[should_panic(expected = "elsewhere I1")]
fn i1_a_round_with_an_answer_too_few_is_a_bug() {
    merge(&mut [AdminReply::Done, AdminReply::Done], &[0, 1], vec![AdminReply::Done]);
}
