//! Connections of peers that nobody knows yet: how many there may be, and which one goes when there are too many.
//!
//! **What**  A connection enters as a [`Guest`] and stops being one when it has said who it is (or what it wants, for HTTP).
//! Beyond a bound the oldest guest is shown out: an honest peer needs milliseconds, so the oldest is the one that most
//! probably never meant to go on, and a newcomer is served in the middle of a flood.
//!
//! **Invariants**
//! - I1  there are at most `guests_max` guests.
//! - I2  one address has at most `per_address_max` of them, so a flood from one address pushes out only its own.
//!
//! **Not here**  The deadline of a handshake (the broker's session, the HTTP listener), the bound on all connections.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// After the first one, so many guests are shown out before the log says it again.
const LOG_EVERY: u64 = 1000;

/// The bounds on guests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EntranceLimits {
    pub guests_max: usize,
    pub per_address_max: usize,
}

#[derive(Debug, Default)]
struct Guests {
    /// In the order of arrival.
    by_number: BTreeMap<u64, (IpAddr, Arc<Notify>)>,
    by_address: HashMap<IpAddr, BTreeSet<u64>>,
    last_number: u64,
    shown_out: u64,
}

impl Guests {
    fn remove(&mut self, number: u64) -> Option<Arc<Notify>> {
        let (address, leave) = self.by_number.remove(&number)?;
        if let Some(same) = self.by_address.get_mut(&address) {
            same.remove(&number);
            if same.is_empty() {
                self.by_address.remove(&address);
            }
        }
        Some(leave)
    }
}

/// The guests of one listener.
#[derive(Debug)]
pub(crate) struct Entrance {
    listener: &'static str,
    limits: EntranceLimits,
    guests: Mutex<Guests>,
}

/// One connection whose peer is not known yet; no longer one when this is dropped.
#[derive(Debug)]
pub(crate) struct Guest {
    entrance: Arc<Entrance>,
    number: u64,
    leave: Arc<Notify>,
}

impl Entrance {
    pub(crate) fn new(listener: &'static str, limits: EntranceLimits) -> Arc<Self> {
        Arc::new(Self { listener, limits, guests: Mutex::default() })
    }

    /// Takes a connection in, at the price of the oldest guest when a bound is reached.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr) -> Guest {
        let mut guests = self.guests.lock().unwrap_or_else(PoisonError::into_inner);
        let same = guests.by_address.get(&address).filter(|same| same.len() >= self.limits.per_address_max);
        let oldest = match same {
            Some(same) => same.first().copied(),
            None if guests.by_number.len() >= self.limits.guests_max => guests.by_number.keys().next().copied(),
            None => None,
        };
        if let Some(leave) = oldest.and_then(|number| guests.remove(number)) {
            leave.notify_one();
            guests.shown_out += 1;
            if guests.shown_out % LOG_EVERY == 1 {
                self.warn(address, guests.shown_out);
            }
        }
        guests.last_number += 1;
        let (number, leave) = (guests.last_number, Arc::new(Notify::new()));
        guests.by_number.insert(number, (address, Arc::clone(&leave)));
        guests.by_address.entry(address).or_default().insert(number);
        assert!(guests.by_number.len() <= self.limits.guests_max, "Entrance I1: {} guests", guests.by_number.len());
        let same = guests.by_address.get(&address).map_or(0, BTreeSet::len);
        assert!(same <= self.limits.per_address_max, "Entrance I2: {same} guests from {address}");
        drop(guests);
        Guest { entrance: Arc::clone(self), number, leave }
    }

    fn warn(&self, address: IpAddr, shown_out: u64) {
        tracing::warn!(
            listener = self.listener,
            newest = %address,
            shown_out,
            "too many connections that have not said who they are ({} allowed, {} from one address): closing the oldest",
            self.limits.guests_max,
            self.limits.per_address_max
        );
    }
}

impl Guest {
    /// Resolves when the guest has to go, for one waiter; never after the guest was dropped.
    pub(crate) fn leave(&self) -> Arc<Notify> {
        Arc::clone(&self.leave)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.entrance.guests.lock().unwrap_or_else(PoisonError::into_inner).remove(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::{Context, Poll, Waker};

    fn must_leave(guest: &Guest) -> bool {
        let leave = guest.leave();
        let mut notified = std::pin::pin!(leave.notified());
        notified.as_mut().poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
    }

    fn entrance(guests_max: usize, per_address_max: usize) -> Arc<Entrance> {
        Entrance::new("test", EntranceLimits { guests_max, per_address_max })
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn a_flood_from_one_address_pushes_out_its_own_oldest_and_nobody_else() {
        let entrance = entrance(8, 3);
        let other = entrance.admit(address(1));
        let flood: Vec<Guest> = (0..10_000).map(|_| entrance.admit(address(2))).collect();
        let left = flood.iter().filter(|guest| must_leave(guest)).count();
        assert_eq!(left, 10_000 - 3, "Entrance I2");
        assert!(!must_leave(&other) && !must_leave(flood.last().unwrap()));
    }

    #[test]
    fn a_flood_from_many_addresses_pushes_out_the_oldest() {
        let entrance = entrance(4, 3);
        let flood: Vec<Guest> = (0..6).map(|n| entrance.admit(address(n))).collect();
        let gone: Vec<bool> = flood.iter().map(must_leave).collect();
        assert_eq!(gone, [true, true, false, false, false, false], "Entrance I1");
    }

    #[test]
    fn whoever_is_known_makes_room_and_is_never_shown_out() {
        let entrance = entrance(2, 2);
        let known = entrance.admit(address(1));
        let leave = known.leave();
        drop(known);
        let rest: Vec<Guest> = (0..5).map(|_| entrance.admit(address(1))).collect();
        let mut notified = std::pin::pin!(leave.notified());
        assert_eq!(notified.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Pending);
        drop(rest);
        let guests = entrance.guests.lock().unwrap();
        assert!(guests.by_number.is_empty() && guests.by_address.is_empty(), "nothing is kept of who has gone");
    }
}
