//! Walks through every state of a scene.

use crate::promises::{PROMISES, SIGHTS};
use crate::scene::Scene;
use crate::state::{Action, State};
use stateright::{Checker, HasDiscoveries, Model, Property};
use std::collections::HashMap;

/// What a walk has seen.
#[derive(Clone, Debug)]
pub struct Report {
    /// Different states.
    pub states: usize,
    /// States reached, counting each way.
    pub steps: usize,
    /// Whether nothing new was left; otherwise the bound on states ended the walk.
    pub whole: bool,
    /// Actions on the longest of the shortest ways.
    pub depth: usize,
    /// The gravest promise that was broken; the walk ends with the first.
    pub finding: Option<Finding>,
    /// What should have been met and was not; only told of walks without a finding.
    pub unseen: Vec<&'static str>,
}

/// A broken promise and a shortest way to it.
#[derive(Clone, Debug)]
pub struct Finding {
    pub promise: &'static str,
    pub way: Vec<String>,
}

struct Walk(Scene);

impl Model for Walk {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::first(&self.0)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        state.actions(&self.0, actions);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        state.after(&self.0, action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(PROMISES[0].0, |walk: &Self, state| PROMISES[0].1(&walk.0, state)),
            Property::always(PROMISES[1].0, |walk: &Self, state| PROMISES[1].1(&walk.0, state)),
            Property::always(PROMISES[2].0, |walk: &Self, state| PROMISES[2].1(&walk.0, state)),
            Property::always(PROMISES[3].0, |walk: &Self, state| PROMISES[3].1(&walk.0, state)),
            Property::always(PROMISES[4].0, |walk: &Self, state| PROMISES[4].1(&walk.0, state)),
            Property::sometimes(SIGHTS[0].0, |walk: &Self, state| SIGHTS[0].1(&walk.0, state)),
            Property::sometimes(SIGHTS[1].0, |walk: &Self, state| SIGHTS[1].1(&walk.0, state)),
            Property::sometimes(SIGHTS[2].0, |walk: &Self, state| SIGHTS[2].1(&walk.0, state)),
            Property::sometimes(SIGHTS[3].0, |walk: &Self, state| SIGHTS[3].1(&walk.0, state)),
        ]
    }
}

/// Walks breadth first on `threads` threads, until a promise is broken, nothing new is left, or about `steps_max` steps are
/// done: a state takes some hundred bytes.
pub fn explore(scene: Scene, threads: usize, steps_max: usize) -> Report {
    let walk = Walk(scene).checker().threads(threads).target_state_count(steps_max);
    let checker = walk.finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let found: HashMap<&str, _> = checker.discoveries();
    let broken = PROMISES.iter().find_map(|(promise, _)| Some((*promise, found.get(promise)?.clone())));
    let finding = broken.map(|(promise, path)| Finding { promise, way: tell(path) });
    let seen = |sight: &str| found.contains_key(sight);
    let unseen = SIGHTS.iter().map(|(sight, _)| *sight).filter(|sight| finding.is_none() && !seen(sight)).collect();
    Report {
        states: checker.unique_state_count(),
        steps: checker.state_count(),
        whole: checker.state_count() < steps_max,
        depth: checker.max_depth(),
        finding,
        unseen,
    }
}

fn tell(path: stateright::Path<State, Action>) -> Vec<String> {
    let mut way = Vec::new();
    for (state, action) in path.into_vec() {
        way.extend(action.map(|action| state.describe(action)));
        way.extend(state.broken().map(str::to_owned));
    }
    way
}
