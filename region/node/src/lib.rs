//! One process: its machines and the only routing table.
//!
//! **What**  [`Node`] owns the broker, the bookie, the controller, the gateway and the admin API of one process. Inputs go to the machine that they concern;
//! effects of one machine that are inputs of another are passed on here and nowhere else; what is left over leaves as
//! [`Output`], for a server or a simulator to execute.
//!
//! **Invariants**
//! - I1  after each input every machine's effects are routed: nothing waits inside.
//! - I2  outputs leave in the order in which the machines gave them.
//!
//! **Not here**  Decisions of any protocol; sockets, files, clocks.

mod gateway;
mod requests;
mod route;

pub use route::{ADMIN_OWNER, CONTROLLER_OWNER, Input, Node, Output};
