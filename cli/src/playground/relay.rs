//! The WAN between regions: UDP relays in the parent process that delay, drop, slow down and cut.
//!
//! **What**  For every ordered pair (dialer, target) one socket that the dialer is told as the target's address. A packet from
//! the target goes back to whoever dialed. Settings belong to a direction of traffic, not to a socket: both relays of a pair
//! share the two directions.
//!
//! **Invariants**
//! - I1  a direction never reorders: what is delayed leaves in the order in which it came.
//! - I2  a direction holds at most [`QUEUE_PACKETS`] packets; more are dropped, as in a router.

use crate::clock;
use base::Rng;
use bytes::Bytes;
use serde::Serialize;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Packets that a direction holds.
const QUEUE_PACKETS: usize = 65_536;
/// A slow link queues so much before it drops.
const RATE_QUEUE_MAX: Duration = Duration::from_millis(200);
/// Socket buffers, in bytes: small ones drop bursts and look like a bad link.
const SOCKET_BYTES: usize = 16 << 20;
/// Largest UDP packet, in bytes.
const PACKET_BYTES_MAX: usize = 65_536;

/// How one direction behaves.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct LinkSettings {
    pub(super) cut: bool,
    pub(super) delay_ms: u64,
    /// 0.0 to 1.0.
    pub(super) loss: f64,
    pub(super) rate_mbit: Option<f64>,
}

impl LinkSettings {
    const CLEAR: Self = Self { cut: false, delay_ms: 0, loss: 0.0, rate_mbit: None };
}

/// Traffic from one region to another.
#[derive(Debug)]
pub(super) struct Direction {
    pub(super) from: String,
    pub(super) to: String,
    state: Mutex<State>,
    queued: Arc<AtomicUsize>,
    queue: mpsc::Sender<Delayed>,
}

#[derive(Debug)]
struct State {
    settings: LinkSettings,
    rng: Rng,
    /// When a slow link has sent all that it took.
    free_at: Instant,
    last_due: Instant,
}

#[derive(Debug)]
struct Delayed {
    due: Instant,
    socket: Arc<UdpSocket>,
    to: SocketAddr,
    packet: Bytes,
}

enum Verdict {
    Drop,
    Now,
    At(Instant),
}

impl Direction {
    /// A clear direction; its queue is worked off by a task of `tasks`.
    pub(super) fn new(from: &str, to: &str, seed: u64, tasks: &mut JoinSet<()>) -> Arc<Self> {
        let (queue, delayed) = mpsc::channel(QUEUE_PACKETS);
        let queued = Arc::new(AtomicUsize::new(0));
        tasks.spawn(send_delayed(delayed, Arc::clone(&queued)));
        let now = clock::now();
        let state = State { settings: LinkSettings::CLEAR, rng: Rng::new(seed), free_at: now, last_due: now };
        Arc::new(Self { from: from.to_owned(), to: to.to_owned(), state: Mutex::new(state), queued, queue })
    }

    pub(super) fn settings(&self) -> LinkSettings {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).settings
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut LinkSettings)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner).settings);
    }

    fn pass(&self, socket: &Arc<UdpSocket>, to: SocketAddr, packet: &[u8]) {
        let now = clock::now();
        let waiting = self.queued.load(Ordering::Acquire) > 0;
        let verdict = self.state.lock().unwrap_or_else(PoisonError::into_inner).judge(now, packet.len(), waiting);
        match verdict {
            Verdict::Drop => (),
            // A full socket buffer drops, as a router does.
            Verdict::Now => drop(socket.try_send_to(packet, to)),
            Verdict::At(due) => {
                let packet = Bytes::copy_from_slice(packet);
                let delayed = Delayed { due, socket: Arc::clone(socket), to, packet };
                self.queued.fetch_add(1, Ordering::AcqRel);
                if self.queue.try_send(delayed).is_err() {
                    self.queued.fetch_sub(1, Ordering::AcqRel); // I2
                }
            }
        }
    }
}

impl State {
    fn judge(&mut self, now: Instant, bytes: usize, waiting: bool) -> Verdict {
        let LinkSettings { cut, delay_ms, loss, rate_mbit } = self.settings;
        if cut || (loss > 0.0 && self.rng.below(1_000_000) < per_million(loss)) {
            return Verdict::Drop;
        }
        let mut sent = now;
        if let Some(mbit) = rate_mbit.filter(|mbit| *mbit > 0.0) {
            let start = self.free_at.max(now);
            if start.duration_since(now) > RATE_QUEUE_MAX {
                return Verdict::Drop;
            }
            let bits = f64::from(u32::try_from(bytes).unwrap_or(u32::MAX)) * 8.0;
            sent = start + Duration::from_secs_f64(bits / (mbit * 1e6));
            self.free_at = sent;
        } else if delay_ms == 0 && !waiting {
            return Verdict::Now;
        }
        let due = (sent + Duration::from_millis(delay_ms)).max(self.last_due); // I1
        self.last_due = due;
        Verdict::At(due)
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a fraction times a million fits")]
fn per_million(fraction: f64) -> u64 {
    (fraction.clamp(0.0, 1.0) * 1e6) as u64
}

async fn send_delayed(mut delayed: mpsc::Receiver<Delayed>, queued: Arc<AtomicUsize>) {
    while let Some(next) = delayed.recv().await {
        if next.due > clock::now() {
            tokio::time::sleep_until(next.due.into()).await;
        }
        // A full socket buffer drops, as a router does.
        let _ = next.socket.try_send_to(&next.packet, next.to);
        queued.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Opens the relay through which `there.from` reaches `target`, and gives its address.
///
/// # Errors
/// When no socket can be had.
pub(super) async fn open(
    target: SocketAddr,
    there: Arc<Direction>,
    back: Arc<Direction>,
    tasks: &mut JoinSet<()>,
) -> io::Result<SocketAddr> {
    let socket = UdpSocket::bind((target.ip(), 0)).await?;
    widen(&socket);
    let address = socket.local_addr()?;
    tasks.spawn(run(Arc::new(socket), target, there, back));
    Ok(address)
}

/// Buffers as large as the system allows.
fn widen(socket: &UdpSocket) {
    use rustix::net::sockopt;
    if sockopt::set_socket_recv_buffer_size_force(socket, SOCKET_BYTES).is_err() {
        // Without the privilege the system's own limit stands.
        let _ = sockopt::set_socket_recv_buffer_size(socket, SOCKET_BYTES);
    }
    if sockopt::set_socket_send_buffer_size_force(socket, SOCKET_BYTES).is_err() {
        // As above.
        let _ = sockopt::set_socket_send_buffer_size(socket, SOCKET_BYTES);
    }
}

async fn run(socket: Arc<UdpSocket>, target: SocketAddr, there: Arc<Direction>, back: Arc<Direction>) {
    let mut buffer = vec![0; PACKET_BYTES_MAX];
    let mut dialer = None;
    loop {
        // An error here is a packet that came back from a closed port: the target is down for now.
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
        let Some(packet) = buffer.get(..length) else { continue };
        if from == target {
            if let Some(dialer) = dialer {
                back.pass(&socket, dialer, packet);
            }
        } else {
            dialer = Some(from);
            there.pass(&socket, target, packet);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(settings: LinkSettings) -> (State, Instant) {
        let now = clock::now();
        (State { settings, rng: Rng::new(7), free_at: now, last_due: now }, now)
    }

    fn due(verdict: &Verdict, from: Instant) -> Option<Duration> {
        match verdict {
            Verdict::At(due) => Some(due.duration_since(from)),
            Verdict::Now | Verdict::Drop => None,
        }
    }

    #[test]
    fn a_clear_link_passes_at_once_unless_others_wait() {
        let (mut state, now) = state(LinkSettings::CLEAR);
        assert!(matches!(state.judge(now, 100, false), Verdict::Now));
        assert!(matches!(state.judge(now, 100, true), Verdict::At(_)));
    }

    #[test]
    fn a_cut_link_drops_everything_and_a_lossy_one_its_share() {
        let (mut cut, now) = state(LinkSettings { cut: true, ..LinkSettings::CLEAR });
        assert!(matches!(cut.judge(now, 100, false), Verdict::Drop));
        let (mut lossy, now) = state(LinkSettings { loss: 0.25, ..LinkSettings::CLEAR });
        let dropped = (0..10_000).filter(|_| matches!(lossy.judge(now, 100, false), Verdict::Drop)).count();
        assert!((2_200..2_800).contains(&dropped), "{dropped}");
    }

    #[test]
    fn a_shorter_delay_does_not_overtake() {
        let (mut state, now) = state(LinkSettings { delay_ms: 100, ..LinkSettings::CLEAR });
        assert_eq!(due(&state.judge(now, 100, false), now), Some(Duration::from_millis(100)));
        state.settings.delay_ms = 0;
        assert_eq!(due(&state.judge(now, 100, true), now), Some(Duration::from_millis(100)));
    }

    #[test]
    fn a_slow_link_spaces_packets_and_drops_when_its_queue_is_long() {
        let (mut state, now) = state(LinkSettings { rate_mbit: Some(8.0), ..LinkSettings::CLEAR });
        assert_eq!(due(&state.judge(now, 1000, false), now), Some(Duration::from_millis(1)));
        assert_eq!(due(&state.judge(now, 1000, false), now), Some(Duration::from_millis(2)));
        let kept = (0..1000).filter(|_| !matches!(state.judge(now, 1000, false), Verdict::Drop)).count();
        assert!((190..=210).contains(&kept), "{kept}");
    }
}
