//! Rates shared by topics of a namespace and namespaces of a tenant: `HierarchicalLimit`.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use base::{Mono, TopicName};
use std::collections::BTreeMap;
use std::time::Duration;
use tenancy::{HierarchicalLimit, Level, LimitId, PathRates, Rate};

const TEN_S: Duration = Duration::from_secs(10);

fn topic(text: &str) -> TopicName {
    TopicName::parse(text).unwrap()
}

fn namespace_rate(per_s: u64) -> PathRates {
    PathRates { namespace: Rate::messages_per_s(per_s), ..PathRates::default() }
}

/// Payers that are always ready, each on its topic, sending single messages and waking up when they are told to.
/// Answers how many each passed within `span` from `start` on.
fn run(limit: &mut HierarchicalLimit, start: Mono, payers: &[LimitId], span: Duration) -> Vec<u64> {
    let mut passed = vec![0; payers.len()];
    let mut turn = 0;
    let mut wake: BTreeMap<(Mono, u64), usize> = BTreeMap::new();
    for payer in 0..payers.len() {
        wake.insert((start, payer as u64), payer);
        turn = payer as u64 + 1;
    }
    while let Some(((now, _), payer)) = wake.pop_first() {
        if now >= start + span {
            break;
        }
        let until = match limit.try_charge(now, payers[payer], 1, 100) {
            Ok(until) => {
                passed[payer] += 1;
                until
            }
            Err(until) => until,
        };
        turn += 1;
        // A payer without any limit would spin; it sends every millisecond.
        wake.insert((until.max(now + Duration::from_millis(1)), turn), payer);
    }
    passed
}

fn assert_within_2_percent(passed: u64, expected: u64) {
    assert!(passed * 100 >= expected * 98 && passed * 100 <= expected * 102, "{passed} of {expected}");
}

#[test]
fn many_topics_of_a_limited_namespace_keep_its_rate_together_from_the_start() {
    let mut limit = HierarchicalLimit::new();
    let payers: Vec<LimitId> =
        (0..50).map(|n| limit.open(Mono(0), &topic(&format!("globex/events/t{n}")), namespace_rate(100))).collect();
    let neighbour = limit.open(Mono(0), &topic("acme/orders/t"), PathRates::default());
    let all: Vec<LimitId> = payers.iter().copied().chain([neighbour]).collect();
    let passed = run(&mut limit, Mono(0), &all, TEN_S);
    assert_within_2_percent(passed[..50].iter().sum(), 1000);
    assert_eq!(passed[50], 10_000, "the neighbour sends every millisecond, as it would alone");
}

#[test]
fn topics_that_reserve_get_equal_turns_at_exactly_the_shared_rate() {
    let mut limit = HierarchicalLimit::new();
    let payers: Vec<LimitId> =
        (0..50).map(|n| limit.open(Mono(0), &topic(&format!("globex/events/t{n}")), namespace_rate(100))).collect();
    let (mut passed, mut now) = ([0u64; 50], [Mono(0); 50]);
    // Each payer sends its next message as soon as the one before has passed; the earliest goes first.
    while let Some(next) = (0..50).filter(|payer| now[*payer] < Mono(0) + TEN_S).min_by_key(|payer| now[*payer]) {
        let pass_at = limit.reserve(now[next], payers[next], 1, 100);
        assert!(pass_at >= now[next]);
        now[next] = pass_at + Duration::from_nanos(1);
        passed[next] += u64::from(pass_at < Mono(0) + TEN_S);
    }
    assert_within_2_percent(passed.iter().sum(), 1000);
    assert_eq!((passed.iter().min(), passed.iter().max()), (Some(&20), Some(&20)));
}

#[test]
fn the_strictest_level_decides_and_is_named() {
    let mut limit = HierarchicalLimit::new();
    let rates = PathRates {
        tenant: Rate::messages_per_s(50),
        namespace: Rate::messages_per_s(1000),
        topic: Rate::messages_per_s(10),
    };
    let slow = limit.open(Mono(0), &topic("acme/a/slow"), rates);
    let free = PathRates { topic: Rate::NONE, ..rates };
    let fast = limit.open(Mono(0), &topic("acme/b/fast"), free);
    let passed = run(&mut limit, Mono(0), &[slow, fast], TEN_S);
    assert_within_2_percent(passed[0], 100);
    assert_within_2_percent(passed[0] + passed[1], 500);
    let now = Mono(0) + Duration::from_secs(60);
    assert_eq!(limit.waits_for(now, slow), None);
    limit.charge(now, slow, 1, 0);
    assert_eq!(
        limit.waits_for(now, slow),
        Some((now + Duration::from_millis(80), Level::Topic)),
        "100 ms less the credit"
    );
    assert_eq!(limit.waits_for(now, fast), None, "the tenant's 20 ms are covered by the credit of the pause");
    limit.charge(now, fast, 1, 0);
    assert_eq!(limit.waits_for(now, fast).map(|(_, level)| level), Some(Level::Tenant));
}

#[test]
fn a_changed_namespace_rate_holds_at_once_for_all_its_topics() {
    let mut limit = HierarchicalLimit::new();
    let payers: Vec<LimitId> =
        (0..4).map(|n| limit.open(Mono(0), &topic(&format!("a/b/t{n}")), namespace_rate(1000))).collect();
    assert_within_2_percent(run(&mut limit, Mono(0), &payers, TEN_S).iter().sum(), 10_000);
    limit.reconfigure(Mono(0) + TEN_S, payers[2], namespace_rate(100));
    assert_within_2_percent(run(&mut limit, Mono(0) + TEN_S, &payers, TEN_S).iter().sum(), 1000);
}

#[test]
fn shared_limiters_live_as_long_as_a_topic_below_them() {
    let mut limit = HierarchicalLimit::new();
    let first = limit.open(Mono(0), &topic("a/b/1"), namespace_rate(1));
    let second = limit.open(Mono(0), &topic("a/b/2"), namespace_rate(1));
    let third = limit.open(Mono(0), &topic("a/c/3"), PathRates::default());
    assert_eq!(limit.node_count(), 6, "three topics, two namespaces, one tenant");
    limit.charge(Mono(0), first, 5, 0);
    limit.close(first);
    assert_eq!(limit.waits_for(Mono(0), second), Some((Mono(5_000_000_000), Level::Namespace)));
    limit.close(second);
    limit.close(second);
    assert_eq!(limit.node_count(), 3, "the second close was ignored");
    limit.close(third);
    assert_eq!(limit.node_count(), 0);
}

#[test]
fn an_old_id_is_not_taken_for_a_later_topic() {
    let mut limit = HierarchicalLimit::new();
    let old = limit.open(Mono(0), &topic("a/b/old"), namespace_rate(1));
    limit.close(old);
    let new = limit.open(Mono(0), &topic("a/b/new"), namespace_rate(1));
    assert_eq!(limit.charge(Mono(0), old, 1000, 0), Mono(0), "a closed topic pays nothing");
    limit.reconfigure(Mono(0), old, namespace_rate(7));
    limit.close(old);
    assert_eq!(limit.charge(Mono(0), new, 1, 0), Mono(1_000_000_000));
}

#[test]
fn the_burst_is_that_of_the_strictest_level() {
    let mut limit = HierarchicalLimit::new();
    let rates = PathRates {
        tenant: Rate { messages: Some(10_000), bytes: Some(1_000_000), period_s: 1 },
        namespace: Rate::messages_per_s(1000),
        topic: Rate::NONE,
    };
    let id = limit.open(Mono(0), &topic("a/b/t"), rates);
    assert_eq!(limit.burst(id), tenancy::Burst { messages: Some(20), bytes: Some(20_000) });
}

#[test]
fn a_tree_can_move_to_the_thread_of_its_shard() {
    fn assert_send<T: Send>() {}
    assert_send::<HierarchicalLimit>();
}
