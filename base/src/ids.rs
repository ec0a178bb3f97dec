//! Numeric ids.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Bits of the per-region ledger counter; the region number sits above them (product.md §4).
pub const LEDGER_COUNTER_BITS: u32 = 40;

/// A region's small number, 1–255, agreed at joining and never reused. 0 stands for "not assigned".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RegionId(pub u8);

/// A node of a region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u64);

/// A fencing epoch: whoever holds a larger one has replaced the holder of a smaller one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Epoch(pub u64);

/// A ledger: region number in bits 40–47 above a 40-bit counter, so always below 2^48 and safe in JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LedgerId(pub u64);

impl LedgerId {
    /// What the keys of all ledgers begin with.
    pub const KEYS: &str = "/ledgers/";

    /// Where a region's metadata holds what is known of the ledger.
    pub fn key(self) -> String {
        format!("{}{self}", Self::KEYS)
    }

    /// Puts the region number above the counter.
    ///
    /// # Panics
    /// When the counter does not fit 40 bits: a region has then created 10^12 ledgers, which is a bug.
    pub fn compose(region: RegionId, counter: u64) -> Self {
        assert!(counter < 1 << LEDGER_COUNTER_BITS, "LedgerId: the counter fits {LEDGER_COUNTER_BITS} bits");
        Self(u64::from(region.0) << LEDGER_COUNTER_BITS | counter)
    }

    /// The region in which the ledger was created.
    pub fn region(self) -> RegionId {
        RegionId(u8::try_from((self.0 >> LEDGER_COUNTER_BITS) & 0xff).unwrap_or(0))
    }

    pub fn counter(self) -> u64 {
        self.0 & ((1 << LEDGER_COUNTER_BITS) - 1)
    }
}

macro_rules! display_number {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

display_number!(RegionId, NodeId, Epoch, LedgerId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ledger_ids_carry_their_region_and_stay_below_2_to_the_53() {
        let id = LedgerId::compose(RegionId(255), (1 << 40) - 1);
        assert_eq!(id.region(), RegionId(255));
        assert_eq!(id.counter(), (1 << 40) - 1);
        assert!(id.0 < 1 << 53);
    }
}
