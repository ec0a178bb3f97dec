//! A transport that loses answers: a forwarded write is made once or not at all, and its answer does not lie.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster;

use cluster::{Cluster, value};
use meta_api::{MetaRequest, MetaResponse};
use std::collections::BTreeSet;
use tokio::task::JoinSet;

const WRITES: u64 = 300;

#[tokio::test]
async fn a_forwarded_write_is_never_made_twice_though_answers_get_lost() {
    let cluster = Cluster::of_three().await;
    let follower = cluster.node(cluster.followers().await[0]);
    cluster.board.lose_answers_of_writes(3);
    let mut writers = JoinSet::new();
    for _lane in 0..8 {
        let follower = follower.clone();
        writers.spawn(async move {
            let mut answers = Vec::new();
            for _ in 0..WRITES / 8 {
                answers.push(follower.request(MetaRequest::Reserve { key: "/counter".to_owned(), by: 1 }).await);
            }
            answers
        });
    }
    let answers: Vec<MetaResponse> = writers.join_all().await.into_iter().flatten().collect();
    assert!(cluster.board.answers_lost() > 0);
    let mut numbers = BTreeSet::new();
    let mut unknown = 0;
    for answer in &answers {
        match answer {
            MetaResponse::Reserved { first } => assert!(numbers.insert(*first), "{first} was given twice"),
            MetaResponse::Unavailable { reason } => {
                assert!(reason.contains("the outcome is unknown"), "{reason}");
                unknown += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(unknown > 0);
    let counter: u64 = value(&follower, "/counter").await.unwrap().parse().unwrap();
    let answered = numbers.len() as u64;
    assert!(
        counter >= answered && counter <= answered + unknown,
        "{counter} of {answered} and {unknown}: WriteQueue I4"
    );
}

#[tokio::test]
async fn numbers_stay_unique_while_leaders_are_lost() {
    let mut cluster = Cluster::of_three().await;
    let first = cluster.leader(1, None).await;
    let follower = cluster.node(if first.0 == 1 { 2 } else { 1 });
    let reserve = || MetaRequest::Reserve { key: "/counter".to_owned(), by: 1 };
    let mut writers = JoinSet::new();
    for _lane in 0..4 {
        let follower = follower.clone();
        writers.spawn(async move {
            let mut answers = Vec::new();
            for _ in 0..50 {
                answers.push(follower.request(reserve()).await);
            }
            answers
        });
    }
    cluster.stop(first).await;
    let answers: Vec<MetaResponse> = writers.join_all().await.into_iter().flatten().collect();
    let numbers: Vec<u64> = answers
        .iter()
        .filter_map(|answer| if let MetaResponse::Reserved { first } = answer { Some(*first) } else { None })
        .collect();
    let unique: BTreeSet<u64> = numbers.iter().copied().collect();
    assert_eq!(unique.len(), numbers.len());
    let unknown = (answers.len() - numbers.len()) as u64;
    let counter: u64 = value(&follower, "/counter").await.unwrap().parse().unwrap();
    assert!(counter >= unique.len() as u64 && counter <= unique.len() as u64 + unknown, "WriteQueue I4");
}
