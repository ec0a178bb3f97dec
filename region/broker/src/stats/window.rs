//! Counts by class over a sliding window, for gauges that dashboards divide by 60.

use super::RATE_WINDOW;
use base::Mono;

/// Upper bounds of Pulsar's write latency gauges, in microseconds; what is above them is overflow (ux.md §5.4).
pub const LATENCY_BOUNDS_US: [u64; 9] = [500, 1_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 1_000_000];
/// Upper bounds of Pulsar's entry size gauges, in bytes; what is above them is overflow.
pub const SIZE_BOUNDS: [u64; 8] = [128, 512, 1024, 2048, 4096, 16_384, 102_400, 1_048_576];

/// How often each of `N` classes occurred during about the last [`RATE_WINDOW`].
///
/// As with [`RateMeter`](super::RateMeter), the part of the previous window that still overlaps counts proportionally.
///
/// **Invariants**
/// - I1  `current` holds what was recorded at or after `start`, `previous` what was recorded in the window before it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WindowCounts<const N: usize> {
    start: Mono,
    current: [u64; N],
    previous: [u64; N],
}

impl<const N: usize> Default for WindowCounts<N> {
    fn default() -> Self {
        Self { start: Mono::default(), current: [0; N], previous: [0; N] }
    }
}

impl<const N: usize> WindowCounts<N> {
    /// Counts one `value` in the first class whose bound holds it, else in the one after the last bound.
    pub fn record(&mut self, now: Mono, value: u64, bounds: &[u64]) {
        let elapsed = now.since(self.start);
        if elapsed >= RATE_WINDOW * 2 {
            *self = Self { start: now, ..Self::default() };
        } else if elapsed >= RATE_WINDOW {
            self.previous = std::mem::replace(&mut self.current, [0; N]);
            self.start = self.start + RATE_WINDOW;
        }
        let class = bounds.iter().position(|bound| value <= *bound).unwrap_or(bounds.len());
        assert!(class < N, "WindowCounts has a class for every bound and one above: {N} of {}", bounds.len());
        self.current[class] += 1;
    }

    /// The counts of the window that ends at `now`.
    pub fn counts(&self, now: Mono) -> [u64; N] {
        let elapsed = now.since(self.start);
        let (current, previous, elapsed) = if elapsed < RATE_WINDOW {
            (self.current, self.previous, elapsed)
        } else if elapsed < RATE_WINDOW * 2 {
            ([0; N], self.current, elapsed - RATE_WINDOW)
        } else {
            return [0; N];
        };
        let overlap = 1.0 - elapsed.as_secs_f64() / RATE_WINDOW.as_secs_f64();
        std::array::from_fn(|class| current[class] + (previous[class] as f64 * overlap).round() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn values_fall_into_the_class_of_their_bound_and_leave_with_the_window() {
        let at = |s: u64| Mono::default() + Duration::from_secs(1000 + s);
        let mut window: WindowCounts<9> = WindowCounts::default();
        for bytes in [1, 128, 129, 1_048_576, 1_048_577] {
            window.record(at(0), bytes, &SIZE_BOUNDS);
        }
        assert_eq!(window.counts(at(30)), [2, 1, 0, 0, 0, 0, 0, 1, 1], "WindowCounts I1");
        assert_eq!(window.counts(at(90)), [1, 1, 0, 0, 0, 0, 0, 1, 1], "half of the window before still counts");
        window.record(at(61), 1, &SIZE_BOUNDS);
        assert_eq!(window.counts(at(61))[0], 3);
        assert_eq!(window.counts(at(300)), [0; 9]);
    }
}
