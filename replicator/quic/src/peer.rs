//! Keeps one connection to one peer.
//!
//! **States**  without a connection: a dial is under way or waits its pause; with one: it is read and written, and a
//! connection that comes besides is held against it (`arbiter`).
//!
//! **What**  Dials with a bounded, jittered pause; the region with the larger number lets the other one dial first. Events of
//! a region come in order: `Up`, frames, `Down`.

use crate::arbiter::{Keep, choose};
use crate::close::{CloseCode, close};
use crate::dial::dial;
use crate::event::QuicEvent;
use crate::greeting::Candidate;
use crate::live::Live;
use crate::shared::{PeerSlot, Shared};
use base::Rng;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// How long the region with the larger number waits for the other to dial.
const YIELD_PAUSE: Duration = Duration::from_millis(500);

type Dial = Pin<Box<dyn Future<Output = Result<Candidate, String>> + Send>>;

/// The task of one peer.
pub(crate) struct PeerTask {
    shared: Arc<Shared>,
    slot: Arc<PeerSlot>,
    /// Connections that the peer dialled; closed when the peer is to be given up.
    candidates: mpsc::Receiver<Candidate>,
    live: Option<Live>,
    up_since: Instant,
    dial: Option<Dial>,
    attempts: usize,
    failures: u32,
    rng: Rng,
}

enum Happening {
    Ended(String),
    Dialled(Result<Candidate, String>),
    Came(Candidate),
    GivenUp,
}

impl PeerTask {
    pub(crate) fn new(shared: Arc<Shared>, slot: Arc<PeerSlot>, candidates: mpsc::Receiver<Candidate>) -> Self {
        let rng = Rng::new(shared.config.instance).fork(slot.peer().region.as_str());
        let up_since = Instant::now();
        Self { shared, slot, candidates, live: None, up_since, dial: None, attempts: 0, failures: 0, rng }
    }

    /// Runs until the peer is given up.
    pub(crate) async fn run(mut self) {
        self.start_dial();
        loop {
            match self.next().await {
                Happening::Ended(reason) => {
                    self.take_down(CloseCode::Broken, &reason).await;
                    if self.up_since.elapsed() >= self.shared.config.limits.backoff_max {
                        self.failures = 0;
                    }
                    self.start_dial();
                }
                Happening::Dialled(Ok(candidate)) => {
                    self.dial = None;
                    self.consider(candidate).await;
                }
                Happening::Dialled(Err(reason)) => {
                    self.dial = None;
                    if self.live.is_none() {
                        self.tell_unreachable(reason);
                        self.start_dial();
                    }
                }
                Happening::Came(candidate) => self.consider(candidate).await,
                Happening::GivenUp => return self.take_down(CloseCode::Removed, "this region is leaving").await,
            }
        }
    }

    async fn next(&mut self) -> Happening {
        tokio::select! {
            candidate = self.candidates.recv() => candidate.map_or(Happening::GivenUp, Happening::Came),
            reason = ended(&mut self.live) => Happening::Ended(reason),
            result = dialled(&mut self.dial) => Happening::Dialled(result),
        }
    }

    async fn consider(&mut self, candidate: Candidate) {
        if let Some(live) = &self.live {
            let (own, peer) = (self.shared.config.number, self.slot.peer().number);
            match choose(own, peer, live.facts, candidate.facts) {
                Keep::Current => {
                    return close(&candidate.connection, CloseCode::Duplicate, "another connection is in use");
                }
                Keep::New => self.take_down(CloseCode::Duplicate, "another connection replaces this one").await,
            }
        }
        self.slot.set_reason(None);
        self.up_since = Instant::now();
        let peer = self.slot.peer();
        tracing::info!(region = %peer.region, address = %candidate.connection.remote_address(), "region connected");
        self.live = Some(Live::start(&self.shared, &self.slot, candidate));
    }

    async fn take_down(&mut self, code: CloseCode, reason: &str) {
        let Some(live) = self.live.take() else { return };
        live.stop(code, reason).await;
        let region = self.slot.peer().region.clone();
        tracing::info!(%region, reason, "region disconnected");
        self.slot.set_reason(Some(reason.to_owned()));
        self.shared.emit(QuicEvent::Down { region, reason: reason.to_owned() });
    }

    fn tell_unreachable(&mut self, reason: String) {
        if self.slot.set_reason(Some(reason.clone())) {
            let region = self.slot.peer().region.clone();
            tracing::warn!(%region, reason, "region cannot be reached");
            self.shared.emit(QuicEvent::Unreachable { region, reason });
        }
    }

    /// Begins the next attempt, unless one is under way or the peer has no address.
    fn start_dial(&mut self) {
        let peer = self.slot.peer();
        if self.dial.is_some() || peer.urls.is_empty() {
            return;
        }
        let yields = if self.shared.config.number > peer.number { YIELD_PAUSE } else { Duration::ZERO };
        let pause = yields + self.next_pause();
        let attempt = self.attempts;
        self.attempts = self.attempts.wrapping_add(1);
        self.dial = Some(Box::pin(dial(Arc::clone(&self.shared), self.slot.peer().clone(), pause, attempt)));
    }

    /// None for the first attempt; then doubled each time up to the maximum, with ± 50 % jitter.
    fn next_pause(&mut self) -> Duration {
        let limits = &self.shared.config.limits;
        let failures = self.failures;
        self.failures = failures.saturating_add(1);
        if failures == 0 {
            return Duration::ZERO;
        }
        let doubled = limits.backoff_min.saturating_mul(1 << (failures - 1).min(20)).min(limits.backoff_max);
        doubled * u32::try_from(self.rng.range(50, 150)).unwrap_or(100) / 100
    }
}

async fn ended(live: &mut Option<Live>) -> String {
    match live {
        Some(live) => live.ended().await,
        None => std::future::pending().await,
    }
}

async fn dialled(dial: &mut Option<Dial>) -> Result<Candidate, String> {
    match dial {
        Some(dial) => dial.await,
        None => std::future::pending().await,
    }
}
