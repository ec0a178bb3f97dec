//! Key_Shared: who holds unacknowledged messages of which slot, so that a key never runs on two consumers at once.
//!
//! **What**  When a slot changes its owner while messages of it lie with the former one, the slot is *draining*: nothing
//! of it is sent until the former owner has acknowledged, returned or lost them.
//!
//! **Invariants**
//! - I1  at most one consumer holds messages of a slot.
//! - I2  a slot without held entries is not in the table.

use super::consumer::ConsumerKey;
use std::collections::BTreeMap;

/// The holders of all slots. At most 65,536 entries.
#[derive(Debug, Default)]
pub(super) struct SlotHolders {
    held: BTreeMap<u16, Holder>,
}

#[derive(Clone, Copy, Debug)]
struct Holder {
    consumer: ConsumerKey,
    entries: u32,
}

impl SlotHolders {
    /// Whether messages of `slot` may go to `consumer` now.
    pub(super) fn allows(&self, slot: u16, consumer: ConsumerKey) -> bool {
        self.held.get(&slot).is_none_or(|holder| holder.consumer == consumer)
    }

    /// An entry of `slot` was sent to `consumer`.
    pub(super) fn take(&mut self, slot: u16, consumer: ConsumerKey) {
        let holder = self.held.entry(slot).or_insert(Holder { consumer, entries: 0 });
        assert!(holder.consumer == consumer, "SlotHolders I1: slot {slot} is held by another consumer");
        holder.entries += 1;
    }

    /// An entry of `slot` no longer lies with its consumer.
    pub(super) fn release(&mut self, slot: u16) {
        let Some(holder) = self.held.get_mut(&slot) else { return };
        assert!(holder.entries > 0, "SlotHolders I2: slot {slot} is held by nobody");
        holder.entries -= 1;
        if holder.entries == 0 {
            self.held.remove(&slot);
        }
    }

    /// Whether nobody holds entries of `slot`.
    pub(super) fn is_free(&self, slot: u16) -> bool {
        !self.held.contains_key(&slot)
    }

    /// Every slot that is held, with its holder, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u16, ConsumerKey)> + '_ {
        self.held.iter().map(|(slot, holder)| (*slot, holder.consumer))
    }
}
