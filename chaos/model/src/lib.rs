//! Every interleaving of one small ledger.
//!
//! **What**  The real machines of `ledger`, a writer and up to two recoveries at once, over two or three bookies (and a spare) and
//! two entries. Where the simulator draws one order of events from a seed, this walks all of them, with `stateright`: any
//! message may be late, doubled, overtaken or lost, any machine may stop for good at any point, timeouts may fire at any
//! moment, a bookie may come back with an empty disk. [`Scene`] says how large the world is, [`explore`] walks it,
//! [`promises`] are what must hold in every state.
//!
//! **How it stays small**  Time stands still and all waiting is bounded by budgets. Messages are a set that only grows: what
//! was sent may arrive at any time and any number of times, so that losing it and never delivering it are the same.
//! Request ids are left out of a state's identity ([`identity`]).
//!
//! **Not here**  Disks, clocks, large ensembles, repair (the seeds of `sim` and of `ledger/tests`), chains of ledgers.
//!
//! **Tests**  `tests/explore.rs`: the correct machines pass every scene; `tests/defects.rs`: each seeded defect is found.

pub mod bookie;
mod client;
pub mod identity;
pub mod promises;
pub mod scene;
mod state;
mod walk;

pub use scene::Scene;
pub use state::{Action, State};
pub use walk::{Finding, Report, explore};
