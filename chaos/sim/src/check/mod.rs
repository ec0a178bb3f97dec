//! Judges a history. Pure: no machine, no clock.
//!
//! **Tests**  `tests.rs`: each checker finds what was planted into a correct history.

mod acks;
mod copies;
mod holders;
mod loads;
mod owners;
mod quota;
#[cfg(test)]
mod tests;

use crate::history::History;
use std::fmt;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// An answered publish is not in a region's log, or a subscription never got it.
    Lost,
    /// A message stands twice in a log.
    Duplicate,
    /// A message of nobody.
    Phantom,
    /// Messages of one producer stand out of order.
    Order,
    /// Two regions hold different sequences of one origin.
    Copy,
    /// One position shows two contents, or a receipt named another one.
    Position,
    /// An exclusive consumer was sent entries out of order.
    DeliveryOrder,
    /// An answered acknowledgement was forgotten.
    AckForgotten,
    /// A seek did not bring everything again.
    Seek,
    /// Two consumers of a subscription had the same, or keys were out of order.
    Sharing,
    /// Somebody changed what another one owns, or two own the same.
    Ownership,
    /// More was published than the quota allows.
    Quota,
    /// The world did not come to rest in time.
    Liveness,
    /// The server itself failed: a panic-worthy state, a log that does not open.
    Server,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub kind: Kind,
    pub text: String,
}

impl Violation {
    pub fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.text)
    }
}

/// At most this many findings of one kind are worth reading.
const PER_CHECK_MAX: usize = 5;

/// All findings.
pub fn check(history: &History) -> Vec<Violation> {
    let mut found = Vec::new();
    let checks: [fn(&History, &mut Vec<Violation>); 10] = [
        copies::check_logs,
        copies::check_regions,
        copies::check_subscriptions,
        copies::check_read_back,
        acks::check_answered,
        acks::check_delivery_order,
        acks::check_seeks,
        holders::check_holders,
        owners::check_owners,
        quota::check_quota,
    ];
    for check in checks {
        let mut some = Vec::new();
        check(history, &mut some);
        some.truncate(PER_CHECK_MAX);
        found.extend(some);
    }
    if let Some(text) = &history.unfinished {
        found.push(Violation::new(Kind::Liveness, text.clone()));
    }
    found
}
