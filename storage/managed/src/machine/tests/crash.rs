//! Crashes and takeovers between any two effects, lost and reordered answers, against the model.
//!
//! **What**  One seed is one run: owners come and go (also while the one before still believes to own the log), every
//! request and every answer travels alone, in any order, some never. After each run everything heals and must come to
//! rest. Checked: nothing persisted is lost or moves, nothing is stored twice, order per owner, the cursors are exactly
//! a state that the answers allow, trimming takes only what everybody can do without.

use super::model::positions;
use super::world::{Check, World};
use crate::testing::Executed;
use crate::{Entry, ManagedEffect, ManagedEvent, Read, ReadId, SeededBug};
use base::{NodeId, Position};
use std::collections::{BTreeMap, BTreeSet};

impl World {
    // ---- what fate does ----

    /// The newest owner dies, is replaced while alive, closes, or a bookie goes or comes.
    fn strike(&mut self) -> Check {
        let Some(newest) = self.newest() else { return Ok(()) };
        match self.rng.below(8) {
            0..3 => {
                // A crash: what it asked for may still happen, but it hears of nothing any more.
                if let Some(owner) = self.owners.get_mut(&newest) {
                    (owner.stopped, owner.dead) = (true, true);
                }
                self.start_owner();
            }
            3..5 => self.start_owner(),
            5 => {
                if let Some(owner) = self.owners.get_mut(&newest) {
                    owner.log.close(self.now, &mut owner.fx);
                }
            }
            _ => self.down = if self.down.is_none() { Some(NodeId(self.rng.range(1, 4))) } else { None },
        }
        if self.options.replication.ensemble() == 1 {
            self.down = None;
        }
        let ids: Vec<u64> = self.owners.keys().copied().collect();
        ids.into_iter().try_for_each(|id| self.collect(id))
    }

    fn step(&mut self) -> Check {
        if self.newest().is_none_or(|id| self.owners[&id].stopped) {
            self.start_owner();
            let newest = self.next_owner - 1;
            self.collect(newest)?;
        }
        match self.rng.below(200) {
            0..130 => self.travel(),
            130..190 => self.act(),
            190..198 => self.tick(),
            _ => self.strike(),
        }
    }

    /// Everything works again: the newest owner comes to rest with nothing unanswered.
    fn heal(&mut self) -> Check {
        (self.healing, self.down) = (true, None);
        for _ in 0..400 {
            while !self.net.is_empty() {
                self.travel()?;
            }
            let newest = self.newest().unwrap();
            let owner = &self.owners[&newest];
            if owner.stopped {
                self.start_owner();
                let newest = self.next_owner - 1;
                self.collect(newest)?;
            } else if owner.log.is_open() && self.is_quiet(newest) {
                return self.check_rest(newest);
            } else {
                self.tick()?;
            }
        }
        Err(format!("no rest: {:?}", self.owners[&self.newest().unwrap()]))
    }

    fn is_quiet(&self, id: u64) -> bool {
        let owner = &self.owners[&id];
        let answered = owner.history.as_ref().is_none_or(|history| history.done + 1 == history.states.len());
        owner.adds.is_empty() && owner.reads.is_empty() && answered
    }

    /// Reads everything back, from the bookies.
    fn check_rest(&mut self, id: u64) -> Check {
        self.check_cursors()?;
        let mut next = Position::EARLIEST;
        let mut seen = BTreeSet::new();
        loop {
            let Some(owner) = self.owners.get_mut(&id) else { return Ok(()) };
            owner.log.evict_to(0);
            let entries = match owner.log.read(self.now, next, 7, 90, &mut owner.fx) {
                Read::AtTail => break,
                Read::Ready(entries) => entries,
                Read::Pending(read) => self.finish_read(id, read)?,
                Read::Busy => return Err("busy at rest".to_owned()),
            };
            self.see_all(&entries)?;
            seen.extend(entries.iter().map(|entry| entry.position));
            next = entries[entries.len() - 1].position.next();
        }
        if seen != positions(&self.owners[&id].log).into_iter().collect() {
            return Err("reading skips entries".to_owned());
        }
        self.check_gone(id)?;
        self.check_order()
    }

    fn finish_read(&mut self, id: u64, read: ReadId) -> Result<Vec<Entry>, String> {
        for _ in 0..1000 {
            let Some(owner) = self.owners.get_mut(&id) else { break };
            let mut found = None;
            if let (true, Some(due)) = (owner.fx.is_empty(), owner.log.next_deadline()) {
                self.now.mono = self.now.mono.max(due);
                owner.log.on_deadline(self.now, &mut owner.fx);
            }
            for effect in owner.fx.take() {
                match effect {
                    ManagedEffect::Event(ManagedEvent::ReadDone { read: done, result }) if done == read => {
                        found = Some(result.map_err(|error| error.to_string()));
                    }
                    ManagedEffect::Event(_) => (),
                    other => {
                        if let Executed::Answer(answer) = self.storage.execute(other) {
                            answer.deliver(self.now, &mut owner.log, &mut owner.fx);
                        }
                    }
                }
            }
            if let Some(result) = found {
                return result;
            }
        }
        Err("a read does not end".to_owned())
    }
}

fn run(seed: u64, bug: Option<SeededBug>) -> Result<World, String> {
    let mut world = World::new(seed, bug);
    for _ in 0..700 {
        world.step()?;
        world.check_cursors()?;
    }
    world.heal()?;
    Ok(world)
}

fn number_from(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn nothing_answered_is_ever_lost_whatever_crashes_and_whoever_takes_over() {
    let (first, count) = (number_from("MANAGED_SEED", 0), number_from("MANAGED_SEEDS", 150));
    let mut events: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in first..first + count {
        match run(seed, None) {
            Err(complaint) => panic!("MANAGED_SEED={seed} MANAGED_SEEDS=1: {complaint}"),
            Ok(world) => world.events.iter().for_each(|(kind, n)| *events.entry(kind).or_default() += n),
        }
    }
    println!("{events:?}");
    let wanted =
        ["opened", "persisted", "adds unknown", "fenced", "read", "cursor done", "checkpointed", "trimmed", "closed"];
    assert!(count < 100 || wanted.iter().all(|kind| events.get(kind).is_some_and(|n| *n > count / 4)), "{events:?}");
}

#[test]
fn every_seeded_bug_is_noticed() {
    for bug in SeededBug::ALL {
        let notices =
            |seed: &u64| std::panic::catch_unwind(|| run(*seed, Some(bug))).map_or(true, |check| check.is_err());
        let found = (0..400).find(notices);
        assert!(found.is_some(), "{bug:?} goes unnoticed");
        println!("seeded bug: Managed({bug:?}) | tests of managed | {} seeds | ", found.unwrap_or(0) + 1);
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    let trace = |seed| {
        let mut world = World::new(seed, None);
        (0..400).for_each(|_| world.step().unwrap());
        format!("{world:?}")
    };
    assert_eq!(trace(3), trace(3));
}
