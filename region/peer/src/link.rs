//! The way to one other node: dialled, kept, dialled again.
//!
//! **States**  waiting (this node has no number yet, or the pause between attempts), dialling, up.
//!
//! **What**  Two connections to the node, both or none. Control carries pings and calls and brings pongs and
//! answers; bulk carries frames. A node whose control connection brings nothing for `silence_max` is down; a connection
//! that its system ends is down at once.
//!
//! **Invariants**
//! - I3  `Up` and `Down` of a node alternate, but for a `Down` that adds a refusal to a silence.

use crate::calls::Calls;
use crate::config::Hello;
use crate::dial::{DialError, Dialled, dial, opening};
use crate::event::{CallError, Chunks, FrameKind, PeerEvent, PeerStatus, Sent};
use crate::face::Face;
use crate::frame::Head;
use crate::greeting::{Lane, refusal};
use crate::outbox::Outbox;
use crate::reader::{FrameReader, Pulse, ReadEnd};
use crate::shared::Shared;
use base::NodeId;
use bytes::Bytes;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

/// The connections in use.
pub(crate) struct Current {
    hello: Hello,
    control: Outbox,
    bulk: Outbox,
    calls: Arc<Calls>,
    pulse: Arc<Pulse>,
    rtt_us: AtomicU64,
    frame_bytes_max: u32,
}

impl Current {
    /// Queues a frame, which leaves with the next [`Self::flush`] at the latest.
    pub(crate) fn queue(&self, kind: FrameKind, body: Chunks) -> Sent {
        if body.len() > self.frame_bytes_max as usize {
            return Sent::TooLarge;
        }
        self.bulk.queue(Head::Data(kind), body)
    }

    /// See [`Outbox::flush`].
    pub(crate) fn flush(&self, here: bool) {
        self.bulk.flush(here);
    }

    pub(crate) async fn call(&self, bytes: Bytes, timeout: Duration) -> Result<Bytes, CallError> {
        let (size, max) = (bytes.len(), self.frame_bytes_max);
        if size > max as usize {
            return Err(CallError::TooLarge { size, max });
        }
        let mut call = self.calls.begin()?;
        match self.control.push(Head::Call(call.id), bytes.into()) {
            Sent::Queued => (),
            Sent::Full | Sent::TooLarge => return Err(CallError::Full),
            Sent::Down => return Err(CallError::Down),
        }
        tokio::time::timeout(timeout, call.answered()).await.unwrap_or(Err(CallError::Timeout(timeout)))
    }

    fn close(&self) {
        self.control.close();
        self.bulk.close();
        self.calls.close();
    }
}

/// What others see of one node. The locks guard single assignments and are never held across an await.
pub(crate) struct Slot {
    pub(crate) node: NodeId,
    face: Arc<Face>,
    /// Where to dial; the link ends when the slot is given up.
    pub(crate) address: watch::Sender<String>,
    current: Mutex<Option<Arc<Current>>>,
    /// Why there is none.
    reason: Mutex<Option<String>>,
}

impl Slot {
    pub(crate) fn new(node: NodeId, face: Arc<Face>, address: watch::Sender<String>) -> Self {
        Self { node, face, address, current: Mutex::default(), reason: Mutex::default() }
    }

    pub(crate) fn current(&self) -> Option<Arc<Current>> {
        lock(&self.current).clone()
    }

    pub(crate) fn status(&self) -> PeerStatus {
        let current = self.current();
        PeerStatus {
            node: self.node,
            address: self.address.borrow().clone(),
            hello: current.as_ref().map(|current| current.hello.clone()),
            reason: lock(&self.reason).clone(),
            rtt_us: current.as_ref().map_or(0, |current| current.rtt_us.load(Ordering::Relaxed)),
            queued_bytes: current.map_or(0, |current| current.control.queued_bytes() + current.bulk.queued_bytes()),
            sent_bytes: self.face.sent_bytes.load(Ordering::Relaxed),
            received_bytes: self.face.received_bytes.load(Ordering::Relaxed),
        }
    }
}

/// Why the connections ended.
struct Ending {
    reason: String,
    refused: bool,
}

impl Ending {
    fn said(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), refused: false }
    }

    fn socket(error: &io::Error) -> Self {
        let gone = [
            io::ErrorKind::UnexpectedEof,
            io::ErrorKind::ConnectionReset,
            io::ErrorKind::ConnectionAborted,
            io::ErrorKind::BrokenPipe,
        ];
        Self { reason: format!("the connection was lost ({error})"), refused: gone.contains(&error.kind()) }
    }
}

impl From<ReadEnd> for Ending {
    fn from(end: ReadEnd) -> Self {
        match end {
            ReadEnd::Closed => Self::said("the other node closed the connection"),
            ReadEnd::Socket(error) => Self::socket(&error),
            ReadEnd::Garbage(reason) => Self::said(reason),
        }
    }
}

/// The task of one node.
pub(crate) struct Link {
    shared: Arc<Shared>,
    slot: Arc<Slot>,
    address: watch::Receiver<String>,
    hello: watch::Receiver<Arc<Hello>>,
    /// Attempts that failed since the last connection.
    failures: u32,
    /// I3: what `Down` was told since the last `Up`: nothing, silence, refusal.
    told: Option<bool>,
}

impl Link {
    pub(crate) fn new(shared: Arc<Shared>, slot: Arc<Slot>, address: watch::Receiver<String>) -> Self {
        let hello = shared.hello.subscribe();
        Self { shared, slot, address, hello, failures: 0, told: None }
    }

    /// Runs until the node is given up: until `given_up` has changed.
    pub(crate) async fn run(mut self, mut given_up: watch::Receiver<bool>) {
        tokio::select! {
            () = self.keep() => (),
            _ = given_up.wait_for(|given_up| *given_up) => (),
        }
        let current = lock(&self.slot.current).take();
        if let Some(current) = current {
            current.close();
            self.tell_down(Ending::said("the node is no longer of this region"));
        }
    }

    async fn keep(&mut self) {
        loop {
            let address = self.address.borrow_and_update().clone();
            let hello = Arc::clone(&self.hello.borrow_and_update());
            if hello.node.is_none() {
                lock(&self.slot.reason).replace("this node has not joined yet".to_owned());
                let _ = self.hello.changed().await;
                continue;
            }
            match self.connect(&address).await {
                Ok((control, bulk)) => {
                    self.failures = 0;
                    let ending = self.serve(control, bulk).await;
                    self.tell_down(ending);
                }
                Err(DialError { reason, refused, .. }) => {
                    self.tell_down(Ending { reason, refused });
                    self.pause().await;
                }
            }
        }
    }

    /// Both connections of a new session.
    async fn connect(&self, address: &str) -> Result<(Dialled, Dialled), DialError> {
        let session = self.shared.next_session();
        let opening = |lane| opening(&self.shared, lane, session, Some(self.slot.node));
        let control = dial(&self.shared, address, &opening(Lane::Control)).await?;
        let bulk = dial(&self.shared, address, &opening(Lane::Bulk)).await?;
        Ok((control, bulk))
    }

    /// Waits before the next attempt, unless there is news.
    async fn pause(&mut self) {
        let limits = &self.shared.limits;
        let pause = limits.backoff_min.saturating_mul(1 << self.failures.min(16)).min(limits.backoff_max);
        self.failures = self.failures.saturating_add(1);
        tokio::select! {
            () = tokio::time::sleep(pause) => (),
            _ = self.address.changed() => self.failures = 0,
            _ = self.hello.changed() => self.failures = 0,
        }
    }

    /// Uses two connections until one of them ends.
    async fn serve(&mut self, control: Dialled, bulk: Dialled) -> Ending {
        let limits = &self.shared.limits;
        let Dialled { reader, hello } = control;
        let outbox = || Outbox::new(limits.queue_bytes_max, Arc::clone(&self.slot.face.sent_bytes));
        let current = Arc::new(Current {
            hello: hello.clone(),
            control: outbox(),
            bulk: outbox(),
            calls: Calls::new(limits.calls_max),
            pulse: Arc::clone(reader.pulse()),
            rtt_us: AtomicU64::new(0),
            frame_bytes_max: limits.frame_bytes_max,
        });
        current.pulse.beat();
        let sockets = [Arc::clone(reader.socket()), Arc::clone(bulk.reader.socket())];
        let mut tasks = JoinSet::new();
        for (lane, socket) in [Lane::Control, Lane::Bulk].into_iter().zip(&sockets) {
            let (current, socket) = (Arc::clone(&current), Arc::clone(socket));
            tasks.spawn(async move {
                let outbox = if lane == Lane::Control { &current.control } else { &current.bulk };
                Ending::socket(&outbox.write_to(&socket).await)
            });
        }
        tasks.spawn(read_control(Arc::clone(&self.shared), Arc::clone(&self.slot), Arc::clone(&current), reader));
        tasks.spawn(read_bulk(bulk.reader));
        // Whoever hears of the node can send to it at once.
        lock(&self.slot.current).replace(Arc::clone(&current));
        lock(&self.slot.reason).take();
        self.told = None;
        let node = self.slot.node;
        tracing::info!(node = node.0, address = %hello.address, incarnation = hello.incarnation, "node connected");
        self.shared.emit(PeerEvent::Up { node, hello });
        let ending = tokio::select! {
            Some(ended) = tasks.join_next() => {
                ended.unwrap_or_else(|error| Ending::said(format!("a task of the connection failed: {error}")))
            }
            ending = watch_over(&self.shared, node, &current) => ending,
            _ = self.address.changed() => Ending::said("its address changed"),
            _ = self.hello.changed() => Ending::said("this node says other things of itself now"),
        };
        lock(&self.slot.current).take();
        current.close();
        tasks.shutdown().await;
        sockets.iter().for_each(|socket| socket.say_goodbye());
        ending
    }

    fn tell_down(&mut self, ending: Ending) {
        let Ending { reason, refused } = ending;
        let news = lock(&self.slot.reason).replace(reason.clone()).is_none_or(|before| before != reason);
        let node = self.slot.node;
        if news {
            tracing::warn!(node = node.0, refused, reason, "node disconnected");
        }
        // I3
        if self.told.is_none_or(|told| refused && !told) {
            self.told = Some(refused);
            self.shared.emit(PeerEvent::Down { node, reason, refused });
        }
    }
}

/// Pings, and ends when nothing comes back or the node turns out to be another one.
async fn watch_over(shared: &Shared, node: NodeId, current: &Current) -> Ending {
    let limits = &shared.limits;
    let mut ticks = tokio::time::interval(limits.ping_interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ticked = Instant::now();
    loop {
        ticks.tick().await;
        // A process that was stopped itself has not heard anybody: it must not blame the others.
        if ticked.elapsed() > limits.silence_max / 2 + limits.ping_interval {
            current.pulse.beat();
        }
        ticked = Instant::now();
        if current.pulse.silence() > limits.silence_max {
            return Ending::said(format!("node {} was silent for {:?}", node.0, limits.silence_max));
        }
        if let Err(reason) = shared.admit(&current.hello) {
            return Ending::said(reason);
        }
        // A full queue is pinged by what it holds.
        let _ = current.control.push(Head::Ping(current.pulse.now_us()), Bytes::new().into());
    }
}

async fn read_control(shared: Arc<Shared>, slot: Arc<Slot>, current: Arc<Current>, mut reader: FrameReader) -> Ending {
    loop {
        let (head, body) = match reader.next().await {
            Ok(frame) => frame,
            Err(end) => return end.into(),
        };
        slot.face.received_bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
        match head {
            Head::Pong(sent_us) => {
                let rtt_us = current.pulse.now_us().saturating_sub(sent_us);
                current.rtt_us.store(rtt_us, Ordering::Relaxed);
            }
            Head::Answer(id) => current.calls.end(id, Ok(body)),
            Head::Failed(id) => {
                current.calls.end(id, Err(CallError::Failed(String::from_utf8_lossy(&body).into_owned())));
            }
            Head::Refused => return Ending::said(refusal(&body)),
            Head::Opening | Head::Welcome | Head::Ping(_) | Head::Call(_) | Head::Data(_) => {
                return Ending::said("the other node sent what belongs on a connection that it dials");
            }
        }
        shared.heard(slot.node, &slot.face);
    }
}

/// Nothing comes on bulk but its end.
async fn read_bulk(mut reader: FrameReader) -> Ending {
    match reader.next().await {
        Ok((Head::Refused, body)) => Ending::said(refusal(&body)),
        Ok(_) => Ending::said("the other node sent something on a connection that it only reads"),
        Err(end) => end.into(),
    }
}

/// A value behind a lock stays whole even if a holder panicked: assignments do not.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
