//! Time as an argument.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A monotonic instant: nanoseconds since the process (or simulation) started. Only for durations and deadlines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(pub u64);

impl Mono {
    pub const MAX: Self = Self(u64::MAX);

    /// Time since `earlier`, zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Mono {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Mono {
    type Output = Self;
    fn sub(self, rhs: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// The present moment as a machine is told it: `mono` for deadlines, `wall_ms` (Unix milliseconds) for what people and
/// other machines see. Ordering and ownership never rest on `wall_ms`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    pub mono: Mono,
    pub wall_ms: u64,
}

/// The earlier of two optional deadlines.
pub fn earliest(left: Option<Mono>, right: Option<Mono>) -> Option<Mono> {
    match (left, right) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
