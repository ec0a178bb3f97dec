//! How busy the node's thread is, and whether it has time to serve sockets itself.
//!
//! **What**  While little happens, a connection that is read and written by the node's own thread saves two wake-ups of other
//! threads per message. When much happens, there is somebody awake anyway, and the node's thread is the one that must not be
//! kept from its work: then sockets belong to the pool.
//!
//! **Invariants**
//! - I1  between becoming busy and becoming idle lies a whole window of little work, so connections do not go to and fro.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Above this share of its time, in percent, the thread is busy …
const BUSY_PERCENT: u128 = 50;
/// … and below this one it is idle again.
const IDLE_PERCENT: u128 = 25;
/// Over so much time the share is taken: busy is noticed soon, idleness late.
const BUSY_WINDOW: Duration = Duration::from_millis(100);
const IDLE_WINDOW: Duration = Duration::from_secs(1);

/// Read by connections.
#[derive(Clone, Debug, Default)]
pub(crate) struct Load(Arc<AtomicBool>);

impl Load {
    pub(crate) fn is_busy(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Kept up by the node's thread.
#[derive(Debug, Default)]
pub(crate) struct LoadMeter {
    load: Load,
    since: Duration,
    worked: Duration,
}

impl LoadMeter {
    /// Where others read what this one finds.
    pub(crate) fn load(&self) -> Load {
        self.load.clone()
    }

    /// At `now`, the thread has worked for `worked` in all; both since the process began.
    pub(crate) fn note(&mut self, now: Duration, worked: Duration) {
        let busy = self.load.is_busy();
        let window = now.saturating_sub(self.since);
        if window < if busy { IDLE_WINDOW } else { BUSY_WINDOW } {
            return; // I1
        }
        let share = worked.saturating_sub(self.worked).as_nanos() * 100 / window.as_nanos().max(1);
        self.load.0.store(share >= if busy { IDLE_PERCENT } else { BUSY_PERCENT }, Ordering::Relaxed);
        (self.since, self.worked) = (now, worked);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn busy_is_noticed_within_a_tenth_of_a_second_and_idleness_after_one() {
        let mut meter = LoadMeter::default();
        let load = meter.load();
        meter.note(ms(50), ms(50));
        assert!(!load.is_busy(), "too early to tell");
        meter.note(ms(100), ms(60));
        assert!(load.is_busy());
        meter.note(ms(1_000), ms(70));
        assert!(load.is_busy(), "LoadMeter I1: idle, but not for long");
        meter.note(ms(1_100), ms(360));
        assert!(load.is_busy(), "LoadMeter I1: less than busy is not yet idle");
        meter.note(ms(2_200), ms(500));
        assert!(!load.is_busy());
    }
}
