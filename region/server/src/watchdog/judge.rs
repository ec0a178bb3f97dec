//! Whether a process that should beat stands still.
//!
//! **Invariants**
//! - I1  without a beat for the limit, of which the judge was awake all the time, the verdict is that it stands still.
//! - I2  time that the judge itself did not see counts for nothing: what stopped it may have stopped the other one too.

use base::Mono;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Runs,
    StandsStill,
}

/// The judge of one process.
#[derive(Debug)]
pub(super) struct Judge {
    limit: Duration,
    looked: Mono,
    /// Time without a beat that was seen.
    silent: Duration,
}

impl Judge {
    pub(super) fn new(now: Mono, limit: Duration) -> Self {
        Self { limit, looked: now, silent: Duration::ZERO }
    }

    /// To be told several times per limit whether something was heard since the last time.
    pub(super) fn look(&mut self, now: Mono, heard: bool) -> Verdict {
        let since = Duration::from_nanos(now.0.saturating_sub(self.looked.0));
        self.looked = now;
        if heard || since > self.limit / 2 {
            self.silent = Duration::ZERO; // I2
            return Verdict::Runs;
        }
        self.silent += since;
        if self.silent < self.limit { Verdict::Runs } else { Verdict::StandsStill } // I1
    }
}

#[cfg(test)]
mod tests {
    use super::{Judge, Verdict};
    use base::Mono;
    use std::time::Duration;

    const LIMIT: Duration = Duration::from_millis(500);

    fn at(ms: u64) -> Mono {
        Mono(ms * 1_000_000)
    }

    #[test]
    fn i1_a_process_that_is_silent_for_the_limit_stands_still() {
        let mut judge = Judge::new(at(0), LIMIT);
        assert_eq!(judge.look(at(50), true), Verdict::Runs);
        for ms in (100..550).step_by(50) {
            assert_eq!(judge.look(at(ms), false), Verdict::Runs, "{ms}");
        }
        assert_eq!(judge.look(at(550), false), Verdict::StandsStill);
    }

    #[test]
    fn i1_any_beat_begins_anew() {
        let mut judge = Judge::new(at(0), LIMIT);
        for round in 0..10 {
            for ms in (50..500).step_by(50) {
                assert_eq!(judge.look(at(round * 500 + ms), false), Verdict::Runs);
            }
            assert_eq!(judge.look(at(round * 500 + 500), true), Verdict::Runs);
        }
    }

    #[test]
    fn i2_a_judge_that_was_stopped_itself_blames_nobody() {
        let mut judge = Judge::new(at(0), LIMIT);
        for ms in (50..500).step_by(50) {
            judge.look(at(ms), false);
        }
        assert_eq!(judge.look(at(60_000), false), Verdict::Runs);
        assert_eq!(judge.look(at(60_050), false), Verdict::Runs, "it begins to count again");
        for ms in (60_100..60_500).step_by(50) {
            assert_eq!(judge.look(at(ms), false), Verdict::Runs, "{ms}");
        }
        assert_eq!(judge.look(at(60_500), false), Verdict::StandsStill);
    }
}
