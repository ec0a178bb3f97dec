//! Whether this node reaches enough voters to decide anything.
//!
//! **What**  The process says which nodes it is connected with. A voter that cannot win an election does not stand for one:
//! each try would raise the term, and the first thing that the region would hear of it when the network heals is that its leader
//! must go. A node that has reached a majority and lost it is *apart*: others may decide without it.
//!
//! **States**  unknown (until a majority was reached once) → together ⇄ apart
//!
//! **Invariants**
//! - I1  a node that was never connected with a majority is not held back: at a region's start all must stand.
//! - I2  a node is apart [`APART_AFTER`] after it lost the majority, and together as soon as it has it again.
//! - I3  it stands for election again [`STAND_AFTER`] after it has it again: a leader that exists has shown itself by then.
//!
//! **Not here**  Detecting that a connection is dead (`peer`).

use base::NodeId;
use std::collections::BTreeSet;
use std::time::Duration;

/// A connection that breaks and is made again at once is no reason to stop serving.
pub(crate) const APART_AFTER: Duration = Duration::from_millis(300);
/// Ten heartbeats.
pub(crate) const STAND_AFTER: Duration = Duration::from_secs(1);

/// The machine. Times are since any fixed moment.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    met: bool,
    /// Since when the majority is lost.
    lost: Option<Duration>,
    /// Since when it is there again.
    back: Option<Duration>,
}

/// What follows from it now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) stands: bool,
    pub(crate) apart: bool,
    /// When to ask again, at the latest.
    pub(crate) again: Option<Duration>,
}

/// Whether `me` and the nodes it reaches hold a majority of the voters; a region without voters is one that is not known.
pub(crate) fn is_majority(me: NodeId, reached: &BTreeSet<NodeId>, voters: &BTreeSet<NodeId>) -> bool {
    let there = voters.iter().filter(|voter| **voter == me || reached.contains(voter)).count();
    there * 2 > voters.len()
}

impl Reach {
    /// Takes over whether a majority is reached, and says what follows.
    pub(crate) fn judge(&mut self, now: Duration, majority: bool) -> Verdict {
        if majority {
            if self.lost.take().is_some() {
                self.back = Some(now);
            }
            self.met = true;
            let stands_at = self.back.map_or(Duration::ZERO, |back| back + STAND_AFTER); // I3
            let stands = now >= stands_at;
            return Verdict { stands, apart: false, again: (!stands).then_some(stands_at) };
        }
        if !self.met {
            return Verdict { stands: true, apart: false, again: None }; // I1
        }
        let apart_at = *self.lost.get_or_insert(now) + APART_AFTER;
        let apart = now >= apart_at; // I2
        Verdict { stands: false, apart, again: (!apart).then_some(apart_at) }
    }
}

#[cfg(test)]
mod tests {
    use super::{APART_AFTER, Reach, STAND_AFTER, Verdict, is_majority};
    use base::NodeId;
    use std::collections::BTreeSet;
    use std::time::Duration;

    const T: Duration = Duration::from_secs(100);
    const TOGETHER: Verdict = Verdict { stands: true, apart: false, again: None };

    fn nodes(ids: &[u64]) -> BTreeSet<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    #[test]
    fn a_majority_counts_the_node_itself_only_when_it_votes() {
        let voters = nodes(&[1, 2, 3]);
        assert!(is_majority(NodeId(1), &nodes(&[2]), &voters));
        assert!(!is_majority(NodeId(1), &nodes(&[]), &voters));
        assert!(!is_majority(NodeId(1), &nodes(&[7, 8]), &voters), "they have no vote");
        assert!(!is_majority(NodeId(4), &nodes(&[1]), &voters), "it has none itself");
        assert!(is_majority(NodeId(4), &nodes(&[1, 3]), &voters));
        assert!(is_majority(NodeId(1), &nodes(&[]), &nodes(&[1])));
    }

    #[test]
    fn i1_a_node_that_never_met_the_others_stands() {
        assert_eq!(Reach::default().judge(T, false), TOGETHER, "I1");
    }

    #[test]
    fn i2_a_lost_majority_counts_after_a_moment_and_a_found_one_at_once() {
        let mut reach = Reach::default();
        assert_eq!(reach.judge(T, true), TOGETHER);
        let lost = reach.judge(T, false);
        assert_eq!(lost, Verdict { stands: false, apart: false, again: Some(T + APART_AFTER) }, "I2");
        assert!(reach.judge(T + APART_AFTER, false).apart, "I2");
        assert!(!reach.judge(T + APART_AFTER, true).apart, "I2");
    }

    #[test]
    fn i3_a_node_that_is_back_waits_for_the_leader_before_it_stands() {
        let mut reach = Reach::default();
        reach.judge(T, true);
        reach.judge(T, false);
        let back = reach.judge(T + APART_AFTER, true);
        assert_eq!((back.stands, back.again), (false, Some(T + APART_AFTER + STAND_AFTER)), "I3");
        assert_eq!(reach.judge(T + APART_AFTER + STAND_AFTER, true), TOGETHER, "I3");
    }
}
