//! The one place that reads the clock.

use base::{Mono, Now};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Monotonic time counts from the moment the clock was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the monotonic clock")]
    pub(crate) fn start() -> Self {
        Self { start: Instant::now() }
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    pub(crate) fn now(&self) -> Now {
        let mono = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let wall_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        Now { mono: Mono(mono), wall_ms: u64::try_from(wall_ms).unwrap_or(u64::MAX) }
    }

    /// The instant of a deadline, for timers.
    pub(crate) fn instant(&self, at: Mono) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.start + std::time::Duration::from_nanos(at.0.min(u64::MAX / 4)))
    }
}
