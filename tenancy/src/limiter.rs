//! Keeps one payer, or many who share a limit, at a rate.
//!
//! **What**  A charge is always taken and answers the instant until which the payer must wait before it may charge again:
//! what is too much now is owed, and a batch larger than any burst just waits longer. `governor` does the counting; its
//! clock is ours and shows the `now` of the charge, so that there is no hidden time and no entropy.
//!
//! Payers who share a limit must not each charge before they know of the others: `reserve` gives them turns in the order
//! in which they ask, `try_charge` refuses while somebody else is still paying (and leaves the order to the caller).
//!
//! The unit that governor counts is not a message but a slice of time: a charge costs `amount / rate` seconds. That makes
//! every rate exact (fractions are carried over), from one message in a minute to gigabytes per second.
//!
//! **Invariants**
//! - I1  over any span, what passes (reserved, or charged when nobody must wait) is at most rate × span, one charge and
//!   [`CREDIT`]; while somebody is always ready it is at least rate × span, less one charge.
//! - I2  a pause, or waking up late, is made good for at most [`CREDIT`]; a new limiter starts with no credit.
//! - I3  a changed rate holds at once: a debt from before is never larger than it was, and is no more than the same amount
//!   costs at the new rate.
//! - I4  a debt is at most [`DEBT_MAX`]; a charge beyond that is answered with it and not recorded.
//!
//! **Not here**  Making anybody wait; who shares a limit (`hierarchy`).
//!
//! **Tests**  `tests/limiter.rs`: rates over simulated spans, late payers, changes.

use crate::rates::Rate;
use base::Mono;
use governor::Quota;
use governor::clock::Clock;
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use std::cell::Cell;
use std::num::NonZeroU32;
use std::time::Duration;

/// How much unused time is made good: enough for timers that wake up late, too little to be a burst.
pub const CREDIT: Duration = Duration::from_millis(20);
/// Governor's unit: ten microseconds of the rate.
const CELL: Duration = Duration::from_micros(10);
const CELLS_PER_S: u128 = 100_000;
const CREDIT_CELLS: u32 = 2_000;
/// Longest debt: what fits governor's burst size, about twelve hours.
pub const DEBT_MAX: Duration = Duration::from_micros(10 * (u32::MAX - CREDIT_CELLS) as u64);

/// Shows governor the instant of the charge that is being taken.
#[derive(Debug)]
struct ChargeClock {
    /// Governor asks through a shared reference; nobody else sees this cell.
    instant: Cell<u64>,
}

impl Clock for ChargeClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(self.instant.get())
    }
}

type Counter = governor::RateLimiter<NotKeyed, InMemoryState, ChargeClock, StateInformationMiddleware>;

/// One rate of one thing: messages, or bytes.
#[derive(Debug)]
struct Meter {
    counter: Counter,
    /// `amount` may pass in `period_s`.
    amount: u64,
    period_s: u32,
    /// What the last charge cost beyond whole cells, in 1/`amount` of a cell.
    carry: u64,
    /// When everything that was charged is paid for.
    paid_at: Mono,
}

impl Meter {
    /// A meter that owes `debt` at `now`.
    fn new(now: Mono, amount: u64, period_s: u32, debt: Duration) -> Self {
        let clock = ChargeClock { instant: Cell::new(now.0) };
        let quota = Quota::with_period(CELL).expect("RateLimiter: a cell is longer than nothing");
        let quota = quota.allow_burst(NonZeroU32::MAX);
        let counter = governor::RateLimiter::direct_with_clock(quota, clock).with_middleware();
        let mut meter = Self { counter, amount, period_s, carry: 0, paid_at: now };
        // Governor starts idle, as if CREDIT had passed unused; I2 wants none of it.
        let owed = u32::try_from(debt.as_nanos() / CELL.as_nanos()).unwrap_or(u32::MAX);
        meter.take_cells(now, CREDIT_CELLS.saturating_add(owed));
        meter
    }

    fn charge(&mut self, now: Mono, amount: u64) {
        let cost = u128::from(amount) * CELLS_PER_S * u128::from(self.period_s) + u128::from(self.carry);
        let cells = cost / u128::from(self.amount);
        self.carry = u64::try_from(cost % u128::from(self.amount)).unwrap_or(0);
        self.take_cells(now, u32::try_from(cells).unwrap_or(u32::MAX));
    }

    fn take_cells(&mut self, now: Mono, cells: u32) {
        let Some(cells) = NonZeroU32::new(cells) else { return };
        self.counter.clock().instant.set(now.0);
        self.paid_at = match self.counter.check_n(cells) {
            Ok(Ok(after)) => {
                let taken = u32::MAX - after.remaining_burst_capacity();
                // Governor lets an idle payer run up CREDIT more than is paid for: that is what an idle payer has saved.
                now + CELL * taken - CREDIT
            }
            Ok(Err(_)) | Err(_) => now + DEBT_MAX, // I4
        };
    }

    /// What is owed at `now`, at the rate of `amount` per `period_s` instead of the own (I3).
    fn debt_at(&self, now: Mono, amount: u64, period_s: u32) -> Duration {
        let debt = self.paid_at.since(now);
        let owed = debt.as_nanos() * u128::from(self.amount) / u128::from(self.period_s);
        let at_new_rate = owed.saturating_mul(u128::from(period_s)) / u128::from(amount);
        debt.min(Duration::from_nanos(u64::try_from(at_new_rate).unwrap_or(u64::MAX)))
    }

    /// What CREDIT is worth, at least 1.
    fn burst(&self) -> u64 {
        let worth = u128::from(self.amount) * CREDIT.as_nanos() / (u128::from(self.period_s) * 1_000_000_000);
        u64::try_from(worth).unwrap_or(u64::MAX).max(1)
    }
}

/// How much to take in one go so that the rate stays smooth; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Burst {
    pub messages: Option<u64>,
    pub bytes: Option<u64>,
}

/// Keeps a rate of messages and a rate of bytes, either of which may be unlimited.
#[derive(Debug)]
pub struct RateLimiter {
    rate: Rate,
    messages: Option<Box<Meter>>,
    bytes: Option<Box<Meter>>,
}

impl RateLimiter {
    pub fn new(now: Mono, rate: Rate) -> Self {
        let mut limiter = Self { rate: Rate::NONE, messages: None, bytes: None };
        limiter.reconfigure(now, rate);
        limiter
    }

    /// Takes `messages` and `bytes` and answers the instant until which the payer must wait, `now` when it need not.
    /// Charges must come with a `now` that does not go back.
    pub fn charge(&mut self, now: Mono, messages: u32, bytes: u64) -> Mono {
        if let Some(meter) = &mut self.messages {
            meter.charge(now, u64::from(messages));
        }
        if let Some(meter) = &mut self.bytes {
            meter.charge(now, bytes);
        }
        self.wait_until(now)
    }

    /// Charges, and answers the instant from which what was charged may pass: when everything charged before it is paid.
    /// Instants never go back, so that those who share the limit pass in the order in which they asked.
    pub fn reserve(&mut self, now: Mono, messages: u32, bytes: u64) -> Mono {
        let pass_at = self.wait_until(now);
        self.charge(now, messages, bytes);
        pass_at
    }

    /// Charges only if nobody must wait at `now`.
    ///
    /// # Errors
    /// The instant until which to wait; nothing is charged.
    pub fn try_charge(&mut self, now: Mono, messages: u32, bytes: u64) -> Result<Mono, Mono> {
        let until = self.wait_until(now);
        if until > now { Err(until) } else { Ok(self.charge(now, messages, bytes)) }
    }

    /// The instant until which a payer must wait, without charging anything.
    pub fn wait_until(&self, now: Mono) -> Mono {
        let meters = [&self.messages, &self.bytes];
        meters.into_iter().flatten().map(|meter| meter.paid_at).fold(now, Mono::max)
    }

    /// Changes the rate from this instant on (I3). The same rate again changes nothing.
    pub fn reconfigure(&mut self, now: Mono, rate: Rate) {
        if rate == self.rate {
            return;
        }
        let period_s = rate.period_s.max(1);
        renew(&mut self.messages, now, rate.messages, period_s);
        renew(&mut self.bytes, now, rate.bytes, period_s);
        self.rate = rate;
    }

    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// How much to take at once; for whoever can choose the size of its charges, such as a dispatcher.
    pub fn burst(&self) -> Burst {
        let worth = |meter: &Option<Box<Meter>>| meter.as_ref().map(|meter| meter.burst());
        Burst { messages: worth(&self.messages), bytes: worth(&self.bytes) }
    }
}

fn renew(meter: &mut Option<Box<Meter>>, now: Mono, amount: Option<u64>, period_s: u32) {
    let Some(amount) = amount.filter(|amount| *amount > 0) else {
        *meter = None;
        return;
    };
    match meter {
        Some(own) if own.amount == amount && own.period_s == period_s => (),
        Some(own) => **own = Meter::new(now, amount, period_s, own.debt_at(now, amount, period_s)),
        None => *meter = Some(Box::new(Meter::new(now, amount, period_s, Duration::ZERO))),
    }
}
