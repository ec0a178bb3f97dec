//! When a voter may stand for election because the leader's process is gone.
//!
//! **What**  Raft's own timer counts from the leader's last word and ends at a random moment, so two voters may stand at once,
//! split the votes and wait another timeout. A process that is known to be gone needs no such guess: its voters stand one
//! after the other, in the order of their numbers, as soon as none of them is bound by the leader's lease any more.
//!
//! **Invariants**
//! - I1  a voter stands [`LEASE`] and [`SLACK`] after it heard that the leader's process is gone, and [`TURN`] later for each living voter
//!   with a smaller number. The order matters: of two candidates for one term openraft prefers the greater number, so one
//!   whose log is too short spoils nothing for the next.
//! - I2  it stands once for a leader that is gone; what comes after is left to raft's timer.
//! - I3  a leader that is connected again, or another one, ends it.
//!
//! **Not here**  Whether the voter reaches a majority (`reach`), has room to lead, and has really heard nothing: a leader whose
//! connection is refused in one direction may speak in the other (`standing`).

use base::NodeId;
use std::collections::BTreeSet;
use std::time::Duration;

/// Openraft's lease (`ELECTION_MS_MAX`), which the leader's last word began.
pub(crate) const LEASE: Duration = Duration::from_millis(600);
/// For what the leader said last and is still on its way, and for the other voters' clocks.
const SLACK: Duration = Duration::from_millis(20);
/// An election that is won takes two syncs of a disk and a round trip.
pub(crate) const TURN: Duration = Duration::from_millis(150);

/// What the machine is shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Court<'a> {
    pub(crate) me: NodeId,
    /// Whom the voter follows.
    pub(crate) leader: Option<NodeId>,
    pub(crate) term: u64,
    /// Nodes of which it is known that their processes have ended.
    pub(crate) gone: &'a BTreeSet<NodeId>,
    pub(crate) voters: &'a BTreeSet<NodeId>,
}

/// The machine. Times are since any fixed moment.
#[derive(Debug, Default)]
pub(crate) struct Succession {
    /// The leader that is gone, its term, and since when that is known.
    vacant: Option<(NodeId, u64, Duration)>,
    stood: bool,
}

/// What follows from it now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Nothing: the leader lives, or the voter has stood.
    None,
    At(Duration),
    Now,
}

impl Succession {
    pub(crate) fn judge(&mut self, now: Duration, court: Court<'_>) -> Turn {
        let Court { me, leader, term, gone, voters } = court;
        let Some(leader) = leader.filter(|leader| gone.contains(leader) && voters.contains(&me)) else {
            *self = Self::default(); // I3
            return Turn::None;
        };
        if self.vacant.is_none_or(|(known, of, _)| (known, of) != (leader, term)) {
            *self = Self { vacant: Some((leader, term, now)), stood: false };
        }
        let since = self.vacant.map_or(now, |(_, _, since)| since);
        if self.stood {
            return Turn::None; // I2
        }
        let before = voters.iter().filter(|voter| **voter < me && !gone.contains(voter)).count();
        let at = since + LEASE + SLACK + TURN * u32::try_from(before).unwrap_or(u32::MAX); // I1
        self.stood = now >= at;
        if self.stood { Turn::Now } else { Turn::At(at) }
    }
}

#[cfg(test)]
mod tests {
    use super::{Court, LEASE, SLACK, Succession, TURN, Turn};
    use base::NodeId;
    use std::collections::BTreeSet;
    use std::time::Duration;

    const T: Duration = Duration::from_secs(100);
    const FIRST: Duration = LEASE.saturating_add(SLACK);

    fn nodes(ids: &[u64]) -> BTreeSet<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    /// Asks voter `me` of 1, 2 and 3 who follows `leader` in `term`.
    fn judge(machine: &mut Succession, now: Duration, me: u64, (leader, term): (u64, u64), gone: &[u64]) -> Turn {
        let (gone, voters) = (nodes(gone), nodes(&[1, 2, 3]));
        let leader = (leader != 0).then_some(NodeId(leader));
        machine.judge(now, Court { me: NodeId(me), leader, term, gone: &gone, voters: &voters })
    }

    #[test]
    fn i1_the_living_voters_stand_one_after_the_other() {
        for (leader, first, second) in [(1, 2, 3), (2, 1, 3), (3, 1, 2)] {
            let (mut one, mut two) = (Succession::default(), Succession::default());
            assert_eq!(judge(&mut one, T, first, (leader, 5), &[leader]), Turn::At(T + FIRST), "I1");
            assert_eq!(judge(&mut two, T, second, (leader, 5), &[leader]), Turn::At(T + FIRST + TURN), "I1");
            assert_eq!(judge(&mut one, T + FIRST, first, (leader, 5), &[leader]), Turn::Now, "I1");
        }
    }

    #[test]
    fn i1_the_time_counts_from_the_first_news_and_a_voter_that_is_gone_too_has_no_turn() {
        let mut machine = Succession::default();
        assert_eq!(judge(&mut machine, T, 3, (2, 5), &[2]), Turn::At(T + FIRST + TURN));
        let later = T + Duration::from_millis(400);
        assert_eq!(judge(&mut machine, later, 3, (2, 5), &[1, 2]), Turn::At(T + FIRST), "I1");
    }

    #[test]
    fn i2_a_voter_stands_once_for_a_leader_that_is_gone() {
        let mut machine = Succession::default();
        judge(&mut machine, T, 2, (1, 5), &[1]);
        assert_eq!(judge(&mut machine, T + FIRST, 2, (1, 5), &[1]), Turn::Now);
        assert_eq!(judge(&mut machine, T + FIRST * 9, 2, (1, 5), &[1]), Turn::None, "I2");
        // The same node led again and is gone again.
        let again = T + FIRST * 10;
        assert_eq!(judge(&mut machine, again, 2, (1, 7), &[1]), Turn::At(again + FIRST), "I2");
    }

    #[test]
    fn i3_a_leader_that_is_back_or_another_one_ends_it() {
        let mut machine = Succession::default();
        judge(&mut machine, T, 2, (1, 5), &[1]);
        assert_eq!(judge(&mut machine, T + FIRST, 2, (1, 5), &[]), Turn::None, "I3");
        let again = T + FIRST * 2;
        assert_eq!(judge(&mut machine, again, 2, (1, 5), &[1]), Turn::At(again + FIRST), "I3: it is a new time");
        assert_eq!(judge(&mut machine, again + FIRST, 2, (3, 6), &[1]), Turn::None, "I3");
        assert_eq!(judge(&mut machine, again + FIRST, 2, (0, 6), &[1]), Turn::None, "I3: an election is under way");
    }

    #[test]
    fn one_without_a_vote_never_stands() {
        let (gone, voters) = (nodes(&[1]), nodes(&[1, 3]));
        let court = Court { me: NodeId(2), leader: Some(NodeId(1)), term: 5, gone: &gone, voters: &voters };
        assert_eq!(Succession::default().judge(T, court), Turn::None);
    }
}
