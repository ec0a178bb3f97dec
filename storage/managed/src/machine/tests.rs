//! `log` and `cursors`: one behaviour each, driven to rest. `crash`: seeded runs of `world` against `model`.

mod checks;
mod crash;
mod cursors;
mod log;
mod model;
mod rig;
mod users;
mod world;
