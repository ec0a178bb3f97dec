//! Which of two connections to the same region stays.
//!
//! **What**  Both regions may dial, so two connections may come up at once. Both sides decide by the same facts, so both
//! keep the same one:
//! 1. another process of the peer than before: the old connection is dead, the new one stays;
//! 2. dialled by the same side as the current one: that side dials only when it has none, so the new one stays;
//! 3. dialled by different sides: the one stays that the region with the smaller number dialled.

use base::RegionId;

/// Which side opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DialledBy {
    Us,
    Peer,
}

/// What tells connections to one region apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionFacts {
    pub(crate) dialled_by: DialledBy,
    /// The peer's process, as its greeting told.
    pub(crate) peer_instance: u64,
}

/// The verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    Current,
    New,
}

/// Decides between the connection in use and a new one.
pub(crate) fn choose(own: RegionId, peer: RegionId, current: ConnectionFacts, new: ConnectionFacts) -> Keep {
    if current.peer_instance != new.peer_instance || current.dialled_by == new.dialled_by {
        return Keep::New;
    }
    let preferred = if own < peer { DialledBy::Us } else { DialledBy::Peer };
    if new.dialled_by == preferred { Keep::New } else { Keep::Current }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: ConnectionFacts = ConnectionFacts { dialled_by: DialledBy::Us, peer_instance: 1 };
    const PEER: ConnectionFacts = ConnectionFacts { dialled_by: DialledBy::Peer, peer_instance: 1 };

    #[test]
    fn both_sides_of_two_crossing_connections_keep_the_same_one() {
        let (small, large) = (RegionId(1), RegionId(2));
        // The connection dialled by the small region is `Us` there and `Peer` at the large one.
        assert_eq!(choose(small, large, PEER, US), Keep::New);
        assert_eq!(choose(small, large, US, PEER), Keep::Current);
        assert_eq!(choose(large, small, US, PEER), Keep::New);
        assert_eq!(choose(large, small, PEER, US), Keep::Current);
    }

    #[test]
    fn a_restarted_peer_is_taken_at_once_whoever_dialled() {
        let restarted = ConnectionFacts { peer_instance: 2, ..PEER };
        assert_eq!(choose(RegionId(1), RegionId(2), US, restarted), Keep::New);
        assert_eq!(choose(RegionId(2), RegionId(1), US, restarted), Keep::New);
    }

    #[test]
    fn whoever_dials_again_has_lost_its_connection() {
        assert_eq!(choose(RegionId(1), RegionId(2), US, US), Keep::New);
        assert_eq!(choose(RegionId(1), RegionId(2), PEER, PEER), Keep::New);
    }
}
