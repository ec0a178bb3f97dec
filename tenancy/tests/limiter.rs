//! Rates measured over simulated time: `RateLimiter` I1–I4.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use base::{Mono, Rng};
use proptest::prelude::{prop_assert, proptest};
use std::time::Duration;
use tenancy::{CREDIT, DEBT_MAX, Rate, RateLimiter};

const TEN_S: Duration = Duration::from_secs(10);

/// A payer that is always ready: charges `messages` of `bytes` each, waits as told plus up to `late_ms`, again.
/// Answers how many charges fell into `span` from `start` on.
fn charges_within(limiter: &mut RateLimiter, start: Mono, span: Duration, size: (u32, u64), late_ms: u64) -> u64 {
    let mut rng = Rng::new(7);
    let (mut now, mut charges) = (start, 0);
    while now < start + span {
        let until = limiter.try_charge(now, size.0, size.1).expect("the payer waited");
        charges += 1;
        now = until + Duration::from_micros(rng.below(late_ms * 1000 + 1));
    }
    charges
}

fn assert_within_2_percent(passed: u64, expected: u64, what: &str) {
    let percent = passed as f64 * 100.0 / expected as f64;
    assert!((98.0..=102.0).contains(&percent), "{what}: {passed} of {expected}, {percent:.2} %");
}

#[test]
fn single_messages_keep_the_rate_over_ten_seconds() {
    for rate in [1, 100, 10_000, 150_000] {
        let mut limiter = RateLimiter::new(Mono(5), Rate::messages_per_s(rate));
        let passed = charges_within(&mut limiter, Mono(5), TEN_S, (1, 0), 0);
        assert_within_2_percent(passed, rate * 10, &format!("single messages at {rate}/s"));
    }
}

#[test]
fn batches_keep_the_rate_over_ten_seconds() {
    for (rate, batch) in [(100, 7), (10_000, 7), (100, 1000), (10_000, 1000)] {
        let mut limiter = RateLimiter::new(Mono(0), Rate::messages_per_s(rate));
        let passed = charges_within(&mut limiter, Mono(0), TEN_S, (batch, 0), 0) * u64::from(batch);
        assert_within_2_percent(passed, rate * 10, &format!("batches of {batch} at {rate}/s"));
    }
}

#[test]
fn batches_larger_than_ten_seconds_of_the_rate_keep_it_over_their_own_time() {
    for batch in [7, 1000] {
        let mut limiter = RateLimiter::new(Mono(0), Rate::messages_per_s(1));
        // A batch of 1000 at 1/s owes 1000 s: one batch is more than any ten seconds may hold, fifty are exact.
        let span = Duration::from_secs(50 * u64::from(batch));
        let passed = charges_within(&mut limiter, Mono(0), span, (batch, 0), 0) * u64::from(batch);
        assert_within_2_percent(passed, 50 * u64::from(batch), &format!("batches of {batch} at 1/s"));
        let mut limiter = RateLimiter::new(Mono(0), Rate::messages_per_s(1));
        let first_window = charges_within(&mut limiter, Mono(0), TEN_S, (batch, 0), 0) * u64::from(batch);
        assert!(first_window <= 10 + u64::from(batch), "never more than the rate and one batch: {first_window}");
    }
}

#[test]
fn bytes_keep_the_rate_over_ten_seconds() {
    for (rate, size) in [(1_000_000, 1024), (100_000, 1), (10 << 20, 1 << 20), (3_000_000_000, 1 << 20), (333, 1)] {
        let mut limiter = RateLimiter::new(Mono(0), Rate::bytes_per_s(rate));
        let passed = charges_within(&mut limiter, Mono(0), TEN_S, (1, size), 0) * size;
        assert_within_2_percent(passed, rate * 10, &format!("{size} bytes at {rate} bytes/s"));
    }
}

#[test]
fn payers_that_wake_up_late_lose_nothing() {
    for (rate, batch) in [(1, 1), (50, 1), (60, 1), (100, 1), (100, 7)] {
        let mut limiter = RateLimiter::new(Mono(0), Rate::messages_per_s(rate));
        let passed = charges_within(&mut limiter, Mono(0), TEN_S, (batch, 0), 15) * u64::from(batch);
        assert_within_2_percent(passed, rate * 10, &format!("late batches of {batch} at {rate}/s"));
    }
}

#[test]
fn the_stricter_of_messages_and_bytes_decides() {
    let rate = Rate { messages: Some(1000), bytes: Some(10_000), period_s: 1 };
    let mut limiter = RateLimiter::new(Mono(0), rate);
    assert_within_2_percent(charges_within(&mut limiter, Mono(0), TEN_S, (1, 100), 0), 1000, "bytes decide");
    let mut limiter = RateLimiter::new(Mono(0), rate);
    assert_within_2_percent(charges_within(&mut limiter, Mono(0), TEN_S, (1, 1), 0), 10_000, "messages decide");
}

#[test]
fn a_rate_may_be_meant_over_a_longer_period() {
    let mut limiter = RateLimiter::new(Mono(0), Rate { messages: Some(10), bytes: None, period_s: 30 });
    let passed = charges_within(&mut limiter, Mono(0), Duration::from_secs(300), (1, 0), 0);
    assert_within_2_percent(passed, 100, "10 in 30 s");
}

#[test]
fn no_rate_is_no_wait() {
    let mut limiter = RateLimiter::new(Mono(0), Rate::NONE);
    assert_eq!(limiter.charge(Mono(3), u32::MAX, u64::MAX), Mono(3));
    assert_eq!(limiter.burst(), tenancy::Burst::default());
    assert_eq!(Rate::messages_per_s(0), Rate::NONE);
}

#[test]
fn a_pause_saves_no_more_than_the_credit() {
    for rate in [1, 100, 10_000] {
        let mut limiter = RateLimiter::new(Mono(0), Rate::messages_per_s(rate));
        charges_within(&mut limiter, Mono(0), Duration::from_secs(1), (1, 0), 0);
        let after = Mono(0) + Duration::from_secs(3600);
        let passed = charges_within(&mut limiter, after, TEN_S, (1, 0), 0);
        let burst = (rate * 20 / 1000).max(1);
        assert!(passed <= rate * 10 + burst, "{rate}/s: {passed}");
    }
}

#[test]
fn a_new_limiter_has_no_credit() {
    let mut limiter = RateLimiter::new(Mono(77), Rate::messages_per_s(100));
    assert_eq!(limiter.charge(Mono(77), 1, 0), Mono(77) + Duration::from_millis(10));
    assert_eq!(limiter.charge(Mono(77), 4, 0), Mono(77) + Duration::from_millis(50));
}

#[test]
fn a_refused_charge_takes_nothing() {
    let mut limiter = RateLimiter::new(Mono(0), Rate::messages_per_s(1));
    assert_eq!(limiter.try_charge(Mono(0), 1, 0), Ok(Mono(1_000_000_000)));
    assert_eq!(limiter.try_charge(Mono(5), 1, 0), Err(Mono(1_000_000_000)));
    assert_eq!(limiter.try_charge(Mono(1_000_000_000), 1, 0), Ok(Mono(2_000_000_000)));
}

#[test]
fn a_raised_rate_frees_those_who_wait() {
    let mut limiter = RateLimiter::new(Mono(0), Rate::messages_per_s(1));
    assert_eq!(limiter.charge(Mono(0), 100, 0), Mono(0) + Duration::from_secs(100));
    limiter.reconfigure(Mono(0), Rate::messages_per_s(1000));
    assert_eq!(limiter.wait_until(Mono(0)), Mono(0) + Duration::from_millis(100), "I3: 100 messages at the new rate");
    limiter.reconfigure(Mono(0), Rate::NONE);
    assert_eq!(limiter.wait_until(Mono(0)), Mono(0));
}

#[test]
fn a_lowered_rate_holds_at_once_and_does_not_lengthen_a_debt() {
    let mut limiter = RateLimiter::new(Mono(0), Rate::messages_per_s(10_000));
    let until = limiter.charge(Mono(0), 1000, 0);
    limiter.reconfigure(Mono(0), Rate::messages_per_s(100));
    assert_eq!(limiter.wait_until(Mono(0)), until, "I3");
    let passed = charges_within(&mut limiter, until, TEN_S, (1, 0), 0);
    assert_within_2_percent(passed, 1000, "after lowering to 100/s");
}

#[test]
fn the_same_rate_again_changes_nothing() {
    let mut limiter = RateLimiter::new(Mono(0), Rate::messages_per_s(3));
    let until = limiter.charge(Mono(0), 5, 0);
    for _ in 0..100 {
        limiter.reconfigure(Mono(1), Rate::messages_per_s(3));
    }
    assert_eq!(limiter.wait_until(Mono(1)), until);
}

#[test]
fn changing_one_of_two_rates_keeps_the_other_debt() {
    let mut limiter = RateLimiter::new(Mono(0), Rate { messages: Some(1), bytes: Some(1000), period_s: 1 });
    limiter.charge(Mono(0), 1, 9000);
    limiter.reconfigure(Mono(0), Rate { messages: Some(500), bytes: Some(1000), period_s: 1 });
    assert_eq!(limiter.wait_until(Mono(0)), Mono(0) + Duration::from_secs(9));
}

#[test]
fn a_debt_is_bounded() {
    let mut limiter = RateLimiter::new(Mono(0), Rate { messages: Some(1), bytes: Some(1), period_s: u32::MAX });
    for _ in 0..10 {
        let until = limiter.charge(Mono(1), u32::MAX, u64::MAX);
        assert!(until <= Mono(1) + DEBT_MAX + CREDIT, "I4: {until:?}");
    }
    let far = Mono(0) + Duration::from_secs(100 * 365 * 86_400);
    assert!(limiter.charge(far, 1, 1) >= far);
}

proptest! {
    #[test]
    fn no_window_holds_more_than_the_rate_one_charge_and_the_credit(
        rate in 1u64..20_000,
        steps in proptest::collection::vec((1u32..2000, 0u64..50_000_000), 1..200),
    ) {
        let mut limiter = RateLimiter::new(Mono(0), Rate::messages_per_s(rate));
        let mut now = Mono(0);
        let mut charged: Vec<(Mono, u32)> = Vec::new();
        for (messages, idle_ns) in steps {
            now = now + Duration::from_nanos(idle_ns);
            match limiter.try_charge(now, messages, 0) {
                Ok(_) => charged.push((now, messages)),
                Err(until) => prop_assert!(until > now),
            }
        }
        for first in 0..charged.len() {
            let (mut sum, from) = (0u64, charged[first].0);
            for (at, messages) in &charged[first..] {
                // The charge at the window's end is the "one charge" of I1.
                let allowed = (at.since(from) + CREDIT).as_nanos() * u128::from(rate) / 1_000_000_000 + 1;
                prop_assert!(u128::from(sum) <= allowed, "I1: {sum} > {allowed}");
                sum += u64::from(*messages);
            }
        }
    }

    #[test]
    fn the_first_payer_to_ask_after_the_wait_is_let_through(rate in 1u64..1_000_000, messages in 1u32..5000) {
        let mut limiter = RateLimiter::new(Mono(0), Rate::messages_per_s(rate));
        let until = limiter.charge(Mono(0), messages, 0);
        prop_assert!(limiter.try_charge(until, 1, 0).is_ok());
    }
}
