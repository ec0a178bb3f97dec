//! Write latencies and entry sizes: gauges over a minute that look like buckets, and the broker's publish latency.

use super::{Families, Labels, number};
use broker::admin_command::BrokerStats;
use broker::stats::{EntryStats, LATENCY_BOUNDS_US};

const WRITE_LATENCY: [&str; 10] = [
    "pulsar_storage_write_latency_le_0_5",
    "pulsar_storage_write_latency_le_1",
    "pulsar_storage_write_latency_le_5",
    "pulsar_storage_write_latency_le_10",
    "pulsar_storage_write_latency_le_20",
    "pulsar_storage_write_latency_le_50",
    "pulsar_storage_write_latency_le_100",
    "pulsar_storage_write_latency_le_200",
    "pulsar_storage_write_latency_le_1000",
    "pulsar_storage_write_latency_overflow",
];
const ENTRY_SIZE: [&str; 9] = [
    "pulsar_entry_size_le_128",
    "pulsar_entry_size_le_512",
    "pulsar_entry_size_le_1_kb",
    "pulsar_entry_size_le_2_kb",
    "pulsar_entry_size_le_4_kb",
    "pulsar_entry_size_le_16_kb",
    "pulsar_entry_size_le_100_kb",
    "pulsar_entry_size_le_1_mb",
    "pulsar_entry_size_overflow",
];
const QUANTILES: [(&str, f64); 5] =
    [("0.5", 0.5), ("0.95", 0.95), ("0.99", 0.99), ("0.999", 0.999), ("0.9999", 0.9999)];

/// The classes do not contain each other: each counts its own entries of the last minute, as Pulsar's do.
pub(super) fn add_entries(families: &mut Families, labels: Labels<'_>, entries: &EntryStats) {
    families.gauge("pulsar_storage_write_rate", labels, entries.write_rate);
    families.gauge("pulsar_storage_read_rate", labels, entries.read_rate);
    for (name, count) in WRITE_LATENCY.into_iter().zip(entries.write_latency) {
        families.gauge(name, labels, number(count));
    }
    families.gauge("pulsar_storage_write_latency_count", labels, number(entries.write_latency.iter().sum()));
    for (name, count) in ENTRY_SIZE.into_iter().zip(entries.size) {
        families.gauge(name, labels, number(count));
    }
    families.gauge("pulsar_entry_size_count", labels, number(entries.size.iter().sum()));
}

/// Milliseconds from the arrival of an entry until it is durable, over all topics.
pub(super) fn add_publish_latency(
    families: &mut Families,
    cluster: &str,
    topics: impl Iterator<Item = EntryStats>,
    broker: &BrokerStats,
) {
    const FAMILY: &str = "pulsar_broker_publish_latency";
    let mut counts = [0; 10];
    for entries in topics {
        counts.iter_mut().zip(entries.write_latency).for_each(|(sum, one)| *sum += one);
    }
    for (text, quantile) in QUANTILES {
        let labels = [("cluster", cluster), ("quantile", text)];
        families.sample(FAMILY, "summary", "", &labels, quantile_ms(&counts, quantile));
    }
    let labels = [("cluster", cluster)];
    families.sample(FAMILY, "summary", "_sum", &labels, number(broker.publish_latency_us_total) / 1000.0);
    families.sample(FAMILY, "summary", "_count", &labels, number(broker.publishes_total));
}

/// Interpolated within the class that holds it; of the overflow only its lower bound is known. NaN when nothing was
/// counted, as Prometheus wants it.
fn quantile_ms(counts: &[u64; 10], quantile: f64) -> f64 {
    let rank = number(counts.iter().sum()) * quantile;
    let (mut below, mut lower) = (0.0, 0.0);
    for (class, count) in counts.iter().enumerate() {
        let Some(bound) = LATENCY_BOUNDS_US.get(class) else { break };
        let upper = number(*bound) / 1000.0;
        let here = number(*count);
        if here > 0.0 && below + here >= rank {
            return lower + (upper - lower) * (rank - below) / here;
        }
        below += here;
        lower = upper;
    }
    if counts.iter().all(|count| *count == 0) { f64::NAN } else { lower }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_lies_in_the_class_that_holds_it() {
        let counts = [0, 90, 0, 0, 0, 9, 0, 0, 0, 1];
        assert!((0.5..=1.0).contains(&quantile_ms(&counts, 0.5)));
        assert!((20.0..=50.0).contains(&quantile_ms(&counts, 0.95)));
        assert_eq!(quantile_ms(&counts, 0.999), 1000.0, "the overflow shows its lower bound");
        assert!(quantile_ms(&[0; 10], 0.5).is_nan());
    }
}
