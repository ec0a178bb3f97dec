//! The publish quota of a namespace, per region.

use super::{Kind, Violation};
use crate::history::History;
use crate::queue::{MS, SECOND, Time};
use std::collections::BTreeMap;

/// The span over which a quota is measured.
const SPAN: Time = 10 * SECOND;

/// Within one life of a server, no ten seconds see more than the quota, two percent, and what the limiter allows on top: one
/// charge, and what was admitted before and answered late. A server's seconds are those of its own clock.
pub(super) fn check_quota(history: &History, found: &mut Vec<Violation>) {
    let Some(rate) = history.quota else { return };
    let mut lives: BTreeMap<(usize, u64), Vec<(Time, u64)>> = BTreeMap::new();
    for acked in history.acked.iter().filter(|acked| acked.position.is_some()) {
        let region = history.producers[acked.producer].region;
        lives.entry((region, acked.boot)).or_default().push((acked.at, acked.last - acked.first + 1));
    }
    let (rate, span_s) = (u64::from(rate), SPAN / SECOND);
    for ((region, boot), mut times) in lives {
        let clock = history.quota_clocks.get(region).copied().unwrap_or_default();
        let late = (rate * clock.counts(history.answer_delay)).div_ceil(SECOND);
        let allowed = rate * clock.counts(SPAN) * 102 / 100 / SECOND + history.charge_max + late;
        times.sort_unstable();
        let (mut from, mut sum) = (0, 0);
        for to in 0..times.len() {
            sum += times[to].1;
            while times[to].0 - times[from].0 >= SPAN {
                sum -= times[from].1;
                from += 1;
            }
            if sum > allowed {
                let since = times[from].0 / MS;
                let text = format!(
                    "region {region} boot {boot}: {sum} messages within {span_s} s from {since} ms at {rate}/s, {allowed} allowed"
                );
                found.push(Violation::new(Kind::Quota, text));
                break;
            }
        }
    }
}
