//! What a benchmark leaves behind: latencies as whole histograms, everything else as it was measured, in one JSON file.

use crate::exit::Failure;
use crate::{clock, term};
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// Latencies in microseconds, from 1 µs to 10 minutes, three digits.
#[derive(Clone, Debug)]
pub(super) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(super) fn new() -> Self {
        Self(Histogram::new_with_bounds(1, 600_000_000, 3).expect("the bounds are right"))
    }

    pub(super) fn record(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).max(1));
    }

    pub(super) fn add(&mut self, others: &Self) {
        // Both have the same bounds.
        let _ = self.0.add(&others.0);
    }

    pub(super) fn count(&self) -> u64 {
        self.0.len()
    }

    /// Microseconds at a quantile.
    pub(super) fn at(&self, quantile: f64) -> u64 {
        self.0.value_at_quantile(quantile)
    }

    /// Quantiles for people, and every bucket for machines.
    pub(super) fn json(&self) -> Value {
        let buckets: Vec<[u64; 2]> =
            self.0.iter_recorded().map(|at| [at.value_iterated_to(), at.count_at_value()]).collect();
        json!({
            "unit": "us",
            "count": self.count(),
            "p50": self.at(0.5), "p90": self.at(0.9), "p99": self.at(0.99), "p999": self.at(0.999),
            "max": self.0.max(), "mean": self.0.mean(),
            "buckets": buckets,
        })
    }

    /// `p50 1.2 ms  p99 …`.
    pub(super) fn line(&self) -> String {
        let ms = |quantile| to_f64(self.at(quantile)) / 1e3;
        format!(
            "p50 {:.2} ms  p99 {:.2} ms  p99.9 {:.2} ms  max {:.2} ms",
            ms(0.5),
            ms(0.99),
            ms(0.999),
            to_f64(self.0.max()) / 1e3
        )
    }
}

/// Counts become floats for ratios; what is lost beyond 2^53 is not measured here.
#[expect(clippy::cast_precision_loss, reason = "benchmarks count less than 2^53")]
pub(super) fn to_f64(count: u64) -> f64 {
    count as f64
}

/// Decimal megabytes per second.
pub(super) fn mb_per_s(bytes: u64, took: Duration) -> f64 {
    to_f64(bytes) / 1e6 / took.as_secs_f64().max(1e-9)
}

/// The middle of some measurements.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = sorted.get(middle).copied().unwrap_or(f64::NAN);
    match sorted.len() % 2 {
        0 => (upper + middle.checked_sub(1).and_then(|at| sorted.get(at)).copied().unwrap_or(f64::NAN)) / 2.0,
        _ => upper,
    }
}

/// What the machine was doing.
pub(super) fn machine() -> Value {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    json!({ "cores": cores, "loadavg": load.trim(), "at": crate::template::rfc3339(clock::wall_ms()) })
}

/// Writes the raw data.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn write(out: &Path, report: &Value) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(report).unwrap_or_default();
    std::fs::write(out, text).map_err(|error| Failure::io(format!("cannot write {}", out.display()), error))?;
    term::say(&format!("raw data: {}", out.display()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_counts() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn latencies_keep_every_bucket() {
        let mut latencies = Latencies::new();
        latencies.record(Duration::from_micros(10));
        latencies.record(Duration::from_micros(10));
        latencies.record(Duration::from_secs(3600));
        let json = latencies.json();
        assert_eq!((json["count"].as_u64(), json["p50"].as_u64()), (Some(3), Some(10)));
        assert_eq!(json["buckets"].as_array().map(Vec::len), Some(2));
    }
}
