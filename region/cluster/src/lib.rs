//! The nodes of a region: who they are, who is alive, which node serves which bundle of topics, and who decides (ADR 0009).
//!
//! **What**  [`NodeRecord`], [`AliveRecord`] and [`OwnerRecord`] are what the metadata holds; [`View`] is a node's picture of it
//! and makes the compare-and-puts that assign bundles; [`Controller`] declares nodes up and down; [`Balancer`] moves bundles away
//! from hot nodes; [`Auditor`] gives entries back the copies that lost nodes took away; [`Ownership`] says whether there is
//! anything to ask at all.
//!
//! **Not here**  Connections between nodes (`peer`), the metadata itself (`meta`), what an owner does with a topic (`broker`).

mod auditor;
mod balance;
mod controller;
mod records;
mod view;

pub use auditor::{AuditStats, Auditor, AuditorEffect, AuditorOptions};
pub use balance::{BUNDLES_SAID_MAX, BalanceEffect, BalanceOptions, Balancer, HOT_MIN, NodeLoad};
pub use balance::{SHEDDING_EXCLUDED, namespaces};
pub use controller::{Controller, ControllerEffect, ControllerInput, SILENCE_MAX};
pub use records::{AliveRecord, NodeRecord, OwnerRecord};
pub use view::{Assignment, BundleId, Owner, OwnerChange, Ownership, VIEW_PREFIXES, View, ViewChange, written};
