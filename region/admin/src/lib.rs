//! The admin REST API as a pure machine on broker commands and metadata transactions.
//!
//! **What**  An [`HttpRequest`] goes in, effects come out, one [`HttpResponse`] follows. `routes` is the one table of
//! paths, rights and handlers; `access` is the door before it; `step` and `record` are how a handler waits.
//!
//! **Not here**  Sockets and HTTP syntax (`server`), what topics do (`broker`), what policies mean (`tenancy`).

mod access;
mod answer;
mod api;
mod asks;
mod brokers;
mod bundles;
mod call;
mod clusters;
mod elsewhere;
mod entry;
mod hand_over;
mod http;
mod lookup;
mod metrics;
mod namespace_policies;
mod namespace_work;
mod namespaces;
mod nodes;
mod only_copies;
mod permissions;
mod policy;
mod probes;
mod properties;
mod record;
mod routes;
mod schemas;
mod step;
mod subscriptions;
mod table;
mod tenants;
#[cfg(test)]
mod tests;
mod topic_list;
mod topic_policies;
mod topic_state;
mod topics;

pub use api::{AdminApi, AdminEffect, AdminOptions};
pub use asks::Asker;
pub use http::{HttpId, HttpRequest, HttpResponse, Method};
