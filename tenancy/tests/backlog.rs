//! Verdicts about backlogs.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use proptest::prelude::{Strategy, prop_assert, prop_assert_eq, proptest};
use proptest::sample::select;
use tenancy::{Backlog, BacklogExcess, BacklogPolicy, BacklogQuota, BacklogVerdict, check_backlog};

const POLICIES: [BacklogPolicy; 3] =
    [BacklogPolicy::ProducerRequestHold, BacklogPolicy::ProducerException, BacklogPolicy::ConsumerBacklogEviction];

fn by_bytes(limit: u64, policy: BacklogPolicy) -> BacklogQuota {
    BacklogQuota { limit_bytes: Some(limit), limit_s: None, policy }
}

fn by_age(limit_s: u64, policy: BacklogPolicy) -> BacklogQuota {
    BacklogQuota { limit_bytes: None, limit_s: Some(limit_s), policy }
}

#[test]
fn each_policy_has_its_verdict_from_the_first_byte_above_the_limit() {
    let none = BacklogQuota::default();
    let excess = BacklogExcess::Bytes { bytes: 101, limit: 100 };
    for (policy, verdict) in [
        (BacklogPolicy::ProducerRequestHold, BacklogVerdict::HoldProducers(excess)),
        (BacklogPolicy::ProducerException, BacklogVerdict::RefuseProducers(excess)),
        (
            BacklogPolicy::ConsumerBacklogEviction,
            BacklogVerdict::Evict { down_to_bytes: Some(100), down_to_age_s: None },
        ),
    ] {
        let quota = by_bytes(100, policy);
        let at = |bytes| check_backlog(&quota, &none, Backlog { bytes, oldest_age_s: u64::MAX });
        assert_eq!(at(100), BacklogVerdict::Within, "I1");
        assert_eq!(at(101), verdict);
    }
}

#[test]
fn age_counts_by_its_own_quota() {
    let none = BacklogQuota::default();
    let quota = by_age(60, BacklogPolicy::ConsumerBacklogEviction);
    let at = |oldest_age_s| check_backlog(&none, &quota, Backlog { bytes: u64::MAX, oldest_age_s });
    assert_eq!(at(60), BacklogVerdict::Within);
    assert_eq!(at(61), BacklogVerdict::Evict { down_to_bytes: None, down_to_age_s: Some(60) });
}

#[test]
fn refusing_wins_over_holding_and_holding_over_evicting() {
    let over = Backlog { bytes: 11, oldest_age_s: 11 };
    let verdict = |bytes, age| check_backlog(&by_bytes(10, bytes), &by_age(10, age), over);
    let (hold, refuse, evict) = (POLICIES[0], POLICIES[1], POLICIES[2]);
    assert!(matches!(verdict(hold, refuse), BacklogVerdict::RefuseProducers(BacklogExcess::Age { .. })));
    assert!(matches!(verdict(refuse, evict), BacklogVerdict::RefuseProducers(BacklogExcess::Bytes { .. })));
    assert!(matches!(verdict(evict, hold), BacklogVerdict::HoldProducers(BacklogExcess::Age { .. })));
    let both = BacklogVerdict::Evict { down_to_bytes: Some(10), down_to_age_s: Some(10) };
    assert_eq!(verdict(evict, evict), both);
}

#[test]
fn the_words_name_the_limit_and_the_remedy() {
    let text = BacklogExcess::Bytes { bytes: 11, limit: 10 }.to_string();
    assert_eq!(text, "the backlog of 11 bytes exceeds the backlog quota of 10 bytes: consume it or raise backlogQuota");
}

fn quota() -> impl Strategy<Value = BacklogQuota> {
    let limit = || proptest::option::of(0u64..20);
    (limit(), limit(), select(POLICIES.to_vec())).prop_map(|(limit_bytes, limit_s, policy)| BacklogQuota {
        limit_bytes,
        limit_s,
        policy,
    })
}

proptest! {
    #[test]
    fn nothing_is_evicted_unless_the_exceeded_limit_says_so(
        size in quota(),
        age in quota(),
        bytes in 0u64..25,
        oldest_age_s in 0u64..25,
    ) {
        let over_size = size.limit_bytes.is_some_and(|limit| bytes > limit);
        let over_age = age.limit_s.is_some_and(|limit| oldest_age_s > limit);
        let verdict = check_backlog(&size, &age, Backlog { bytes, oldest_age_s });
        prop_assert_eq!(verdict == BacklogVerdict::Within, !over_size && !over_age, "I1");
        if let BacklogVerdict::Evict { down_to_bytes, down_to_age_s } = verdict {
            let evict = BacklogPolicy::ConsumerBacklogEviction;
            prop_assert!(!over_size || size.policy == evict, "I2");
            prop_assert!(!over_age || age.policy == evict, "I2");
            prop_assert_eq!((down_to_bytes.is_some(), down_to_age_s.is_some()), (over_size, over_age));
        }
    }
}
