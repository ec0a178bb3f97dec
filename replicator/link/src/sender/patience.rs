//! How long to wait before trying again, and when waiting has become a stall.

use crate::LinkOptions;
use base::{Mono, Rng};
use std::time::Duration;

/// Doublings of the stall timeout while nothing helps: a saturated path needs time to drain, not more copies.
const STALL_DOUBLINGS_MAX: u32 = 6;

#[derive(Debug)]
pub(crate) struct Patience {
    rng: Rng,
    failures: u32,
    stalls: u32,
    progress_at: Mono,
}

impl Patience {
    pub(crate) fn new(rng: Rng) -> Self {
        Self { rng, failures: 0, stalls: 0, progress_at: Mono(0) }
    }

    /// The remote made something durable.
    pub(crate) fn note_progress(&mut self, now: Mono) {
        *self = Self { rng: self.rng.clone(), failures: 0, stalls: 0, progress_at: now };
    }

    /// The clock of the stall starts now: an attempt begins, or work comes after idleness.
    pub(crate) fn restart_clock(&mut self, now: Mono) {
        self.progress_at = now;
    }

    pub(crate) fn note_stall(&mut self) {
        self.stalls = (self.stalls + 1).min(STALL_DOUBLINGS_MAX);
    }

    pub(crate) fn stall_at(&self, options: &LinkOptions) -> Mono {
        self.progress_at + options.stall_timeout * (1 << self.stalls)
    }

    /// The pause after one more failure: doubled each time up to the maximum, with ± 50 % jitter.
    pub(crate) fn next_pause(&mut self, options: &LinkOptions) -> Duration {
        let doubled = options.backoff_min.saturating_mul(1 << self.failures.min(20));
        self.failures = self.failures.saturating_add(1);
        let percent = u32::try_from(self.rng.range(50, 150)).unwrap_or(100);
        doubled.min(options.backoff_max) * percent / 100
    }
}
