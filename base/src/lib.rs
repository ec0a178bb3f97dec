//! The words that every crate of Meridian shares: ids, names, time, randomness, effects, bounded collections.
//!
//! **What**  Plain data and small pure algorithms. Nothing here reads a clock, a file, a socket or entropy: time arrives
//! as [`Now`], randomness as [`Rng`], and what a machine wants done leaves it as data in [`Effects`].
//!
//! **Not here**  Anything that knows Pulsar's protocol (`wire`), storage or policies.

mod effects;
mod entry;
mod error;
mod flow;
mod ids;
mod interval;
mod map;
mod names;
mod position;
mod queue;
mod rng;
mod time;

pub use effects::{Effects, OwnerId, RequestId};
pub use entry::EntryData;
pub use error::ErrorClass;
pub use flow::Flow;
pub use ids::{Epoch, LEDGER_COUNTER_BITS, LedgerId, NodeId, RegionId};
pub use interval::IntervalSet;
pub use map::{FixedMap, FixedSet};
pub use names::{Domain, NameError, NamespaceName, RegionName, SubscriptionName, TenantName, TopicName};
pub use position::{EntryId, Position};
pub use queue::{BoundedQueue, QueueFull};
pub use rng::Rng;
pub use time::{Mono, Now, earliest};
