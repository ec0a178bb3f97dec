//! The nodes of a region: who they are, who is alive, which node serves which bundle of topics, and who decides (ADR 0009).
//!
//! **What**  [`NodeRecord`], [`AliveRecord`] and [`OwnerRecord`] are what the metadata holds.
//!
//! **Not here**  Connections between nodes (`peer`), the metadata itself (`meta`), what an owner does with a topic (`broker`).

mod records;

pub use records::{AliveRecord, NodeRecord, OwnerRecord};
