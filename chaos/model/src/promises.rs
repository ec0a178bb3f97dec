//! What must hold in every state, and what must be seen in some.

use crate::client::content;
use crate::scene::Scene;
use crate::state::State;
use base::{EntryId, NodeId};

/// What a state shows, in words, and whether it does.
pub type Sign = (&'static str, fn(&Scene, &State) -> bool);

/// The promises, the gravest first.
pub const PROMISES: [Sign; 5] = [
    ("no confirmed entry is missing after the close", no_confirmed_entry_is_missing),
    ("nobody believes in another end", one_end),
    ("a closed ledger has an ack quorum of copies of each entry", copies_are_there),
    ("no two copies of a closed entry differ", copies_agree),
    ("no rule is broken on the way", |_, state| state.broken().is_none()),
];

/// What a walk must meet, so that the promises are not kept by an empty world.
pub const SIGHTS: [Sign; 4] = [
    ("the ledger is closed with every entry", |scene, state| {
        state.metadata().closed().is_some_and(|(last, _)| last == last_entry(scene))
    }),
    ("the ledger is closed by a recovery with entries that were not confirmed", |scene, state| {
        scene.recoveries == 0
            || state.metadata().closed().is_some_and(|(last, _)| last >= EntryId(0) && !state.is_confirmed(last))
    }),
    ("the ledger is closed without an entry that the writer had sent", |scene, state| {
        scene.recoveries == 0
            || state.metadata().closed().is_some_and(|(last, _)| {
                nodes(scene).any(|node| state.bookie(node).is_some_and(|bookie| bookie.holds(last.next()).is_some()))
            })
    }),
    ("a bookie is replaced", |scene, state| {
        let ensemble = u64::from(scene.replication.ensemble());
        scene.bookies <= ensemble || state.metadata().bookies().iter().any(|node| node.0 > ensemble)
    }),
];

fn last_entry(scene: &Scene) -> EntryId {
    EntryId(i64::from(scene.entries) - 1)
}

fn entries(scene: &Scene) -> impl Iterator<Item = EntryId> {
    (0..i64::from(scene.entries)).map(EntryId)
}

fn nodes(scene: &Scene) -> impl Iterator<Item = NodeId> {
    (1..=scene.bookies).map(NodeId)
}

/// Also: whoever was taken over confirms nothing above the end any more.
fn no_confirmed_entry_is_missing(scene: &Scene, state: &State) -> bool {
    let Some((last, _)) = state.metadata().closed() else { return true };
    entries(scene).all(|entry| entry <= last || !state.is_confirmed(entry))
}

fn one_end(_: &Scene, state: &State) -> bool {
    match state.metadata().closed() {
        Some((last, _)) => state.ends().iter().all(|end| *end == last),
        None => state.ends().is_empty(),
    }
}

fn copies_are_there(scene: &Scene, state: &State) -> bool {
    let metadata = state.metadata();
    let Some((last, _)) = metadata.closed() else { return true };
    entries(scene).filter(|entry| *entry <= last).all(|entry| {
        let bookies = &metadata.fragment_of(entry).bookies;
        let slots = metadata.replication.write_set(entry);
        let holds = |node: &NodeId| state.bookie(*node).is_some_and(|bookie| bookie.holds(entry).is_some());
        let held = bookies.iter().zip(0..).filter(|(node, slot)| slots.contains(*slot) && holds(node)).count();
        held + usize::from(state.disks_lost())
            >= usize::try_from(metadata.replication.ack_quorum()).unwrap_or(usize::MAX)
    })
}

fn copies_agree(scene: &Scene, state: &State) -> bool {
    let Some((last, _)) = state.metadata().closed() else { return true };
    entries(scene).filter(|entry| *entry <= last).all(|entry| {
        let copies = nodes(scene).filter_map(|node| state.bookie(node)?.holds(entry));
        copies.into_iter().all(|copy| *copy == content(entry))
    })
}
