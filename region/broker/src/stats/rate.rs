//! Rates over a sliding window, and points in time as text.

use base::Mono;
use std::time::Duration;

/// The window of every rate.
pub const RATE_WINDOW: Duration = Duration::from_secs(60);

/// How much happened per second during about the last [`RATE_WINDOW`].
///
/// Two counters stand for the window: the part of the previous window that still overlaps counts proportionally. Until
/// the first window is full the rate is that of the time since the first event, at least one second.
///
/// **Invariants**
/// - I1  `current` holds what was recorded at or after `start`, `previous` what was recorded in the window before it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RateMeter {
    start: Mono,
    current: u64,
    previous: u64,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Phase {
    /// Nothing was ever recorded.
    #[default]
    Empty,
    /// The first window since something was recorded.
    First,
    Sliding,
}

impl RateMeter {
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts `amount` at `now`.
    pub fn record(&mut self, now: Mono, amount: u64) {
        *self = self.rolled(now);
        if self.phase == Phase::Empty {
            self.start = now;
            self.phase = Phase::First;
        }
        self.current = self.current.saturating_add(amount);
    }

    /// The rate per second at `now`.
    pub fn rate(&self, now: Mono) -> f64 {
        let this = self.rolled(now);
        let elapsed = now.since(this.start).as_secs_f64();
        let window = RATE_WINDOW.as_secs_f64();
        match this.phase {
            Phase::Empty => 0.0,
            Phase::First => this.current as f64 / elapsed.max(1.0),
            Phase::Sliding => {
                let overlap = (1.0 - elapsed / window).max(0.0);
                (this.current as f64 + this.previous as f64 * overlap) / window
            }
        }
    }

    /// The same meter with its windows moved to where `now` is.
    fn rolled(self, now: Mono) -> Self {
        let elapsed = now.since(self.start);
        if self.phase == Phase::Empty || elapsed < RATE_WINDOW {
            return self;
        }
        if elapsed < RATE_WINDOW * 2 {
            let start = self.start + RATE_WINDOW;
            return Self { start, current: 0, previous: self.current, phase: Phase::Sliding };
        }
        Self { start: now, current: 0, previous: 0, phase: Phase::Empty }
    }
}

/// Unix milliseconds as `2026-01-02T03:04:05.678Z`.
pub fn iso_time(wall_ms: u64) -> String {
    let (days, ms_of_day) = (wall_ms / 86_400_000, wall_ms % 86_400_000);
    let (year, month, day) = civil_date(days);
    let (hours, minutes) = (ms_of_day / 3_600_000, ms_of_day / 60_000 % 60);
    let (seconds, ms) = (ms_of_day / 1000 % 60, ms_of_day % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{ms:03}Z")
}

/// Year, month (1–12) and day (1–31) of a day counted from 1970-01-01.
fn civil_date(days_since_1970: u64) -> (u64, u64, u64) {
    const DAYS_PER_400_YEARS: u64 = 146_097;
    let mut year = 1970 + days_since_1970 / DAYS_PER_400_YEARS * 400;
    let mut rest = days_since_1970 % DAYS_PER_400_YEARS;
    while rest >= days_of_year(year) {
        rest -= days_of_year(year);
        year += 1;
    }
    let mut month = 1;
    while rest >= days_of_month(year, month) {
        rest -= days_of_month(year, month);
        month += 1;
    }
    (year, month, rest + 1)
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_of_year(year: u64) -> u64 {
    if is_leap(year) { 366 } else { 365 }
}

fn days_of_month(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}
