//! A connection in use: its streams, each with a task of its own.
//!
//! **What**  Lane 0 goes over the control stream, every other lane over a stream that is opened with its first frame.
//! Bodies are handed to quinn as slices. Streams that the peer opens are read one frame after the other, each frame holding
//! a share of the peer's inbound bound until its owner lets it go.
//!
//! **Invariants**
//! - I1  when [`Live::stop`] has returned no frame of this connection is emitted any more.

use crate::arbiter::ConnectionFacts;
use crate::close::{CloseCode, close, explain};
use crate::event::{FramePermit, QuicEvent};
use crate::greeting::{self, Candidate, Greeting};
use crate::outbound::{Outbound, Queued, frame_cost};
use crate::shared::{Current, PeerSlot, Shared};
use bytes::BytesMut;
use quinn::{Connection, RecvStream, SendStream, WriteError};
use std::sync::Arc;
use tokio::io::AsyncReadExt;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use wire::region::RegionFrameSplitter;

/// Frames taken from a lane at once.
const BATCH_FRAMES_MAX: usize = 64;
/// Frames of the control stream that the owner may hold, in bytes: they wait for no bulk data.
const CONTROL_INBOUND_BYTES_MAX: u32 = 8 << 20;
/// What a frame that the owner holds costs at least, in bytes: bounds how many small ones there can be.
const INBOUND_FRAME_BYTES_MIN: u64 = 1024;
/// Room for the first read of a stream, in bytes.
const READ_BYTES: usize = 64 << 10;

/// A connection in use.
pub(crate) struct Live {
    pub(crate) facts: ConnectionFacts,
    connection: Connection,
    /// Each ends only with the connection; the first one to end says why, if the connection itself does not.
    tasks: JoinSet<String>,
    inbound: Arc<Semaphore>,
    slot: Arc<PeerSlot>,
    shared: Arc<Shared>,
}

impl Live {
    /// Announces the connection, greets if that is still to be done, and starts reading and writing.
    pub(crate) fn start(shared: &Arc<Shared>, slot: &Arc<PeerSlot>, candidate: Candidate) -> Self {
        let limits = &shared.config.limits;
        let Candidate { connection, facts, control_send, control_recv, leftover } = candidate;
        let (outbound, queues) = Outbound::new(limits.streams, limits.queue_bytes_max);
        let outbound = Arc::new(outbound);
        // Who hears of the connection can send at once, and hears of it before its first frame.
        slot.set_current(Some(Current { connection: connection.clone(), outbound: Arc::clone(&outbound) }));
        let peer = slot.peer();
        shared.emit(QuicEvent::Up { region: peer.region.clone(), number: peer.number });
        let mut live = Self {
            facts,
            connection: connection.clone(),
            tasks: JoinSet::new(),
            inbound: Arc::new(Semaphore::new(limits.inbound_bytes_max as usize)),
            slot: Arc::clone(slot),
            shared: Arc::clone(shared),
        };
        let writer = Writer { connection, outbound, slot: Arc::clone(slot), shared: Arc::clone(shared) };
        let mut queues = queues.into_iter();
        if let Some(control) = queues.next() {
            live.tasks.spawn(writer.clone().run_control(control_send, control));
        }
        for queue in queues {
            live.tasks.spawn(writer.clone().run_lane(queue));
        }
        let control_inbound = Arc::new(Semaphore::new(CONTROL_INBOUND_BYTES_MAX as usize));
        live.read(control_recv, leftover, control_inbound, CONTROL_INBOUND_BYTES_MAX);
        live
    }

    /// Accepts the peer's streams until the connection ends; says why it did. May be cancelled and called again.
    pub(crate) async fn ended(&mut self) -> String {
        loop {
            tokio::select! {
                stream = self.connection.accept_uni() => match stream {
                    Ok(stream) => {
                        let inbound = Arc::clone(&self.inbound);
                        let bound = self.shared.config.limits.inbound_bytes_max;
                        self.read(stream, BytesMut::with_capacity(READ_BYTES), inbound, bound);
                    }
                    Err(error) => return self.explain(&error),
                },
                Some(ended) = self.tasks.join_next() => {
                    if let Some(error) = self.connection.close_reason() {
                        return self.explain(&error);
                    }
                    return ended.unwrap_or_else(|error| format!("a task of the connection failed: {error}"));
                }
            }
        }
    }

    /// Closes the connection, tells the peer why, and waits for the tasks: I1.
    pub(crate) async fn stop(mut self, code: CloseCode, reason: &str) {
        self.slot.set_current(None);
        close(&self.connection, code, reason);
        self.tasks.shutdown().await;
    }

    fn explain(&self, error: &quinn::ConnectionError) -> String {
        explain(error, &self.slot.peer().region, &self.shared.config.identity.fingerprint())
    }

    fn read(&mut self, stream: RecvStream, buffer: BytesMut, inbound: Arc<Semaphore>, inbound_max: u32) {
        let reader = Reader {
            stream,
            buffer,
            splitter: RegionFrameSplitter::new(self.shared.config.limits.frame_bytes_max),
            inbound,
            inbound_max,
            slot: Arc::clone(&self.slot),
            shared: Arc::clone(&self.shared),
        };
        self.tasks.spawn(reader.run());
    }
}

#[derive(Clone)]
struct Writer {
    connection: Connection,
    outbound: Arc<Outbound>,
    slot: Arc<PeerSlot>,
    shared: Arc<Shared>,
}

impl Writer {
    async fn run_control(self, stream: Option<SendStream>, queue: mpsc::Receiver<Queued>) -> String {
        let config = &self.shared.config;
        let stream = match stream {
            Some(stream) => Ok(stream),
            None => {
                let (region, number) = (config.region.clone(), config.number);
                greeting::send(&self.connection, Greeting { instance: config.instance, region, number }).await
            }
        };
        match stream {
            Ok(stream) => self.write(stream, queue, Vec::new()).await,
            Err(error) => format!("the control stream: {error}"),
        }
    }

    async fn run_lane(self, mut queue: mpsc::Receiver<Queued>) -> String {
        let mut batch = Vec::with_capacity(BATCH_FRAMES_MAX);
        queue.recv_many(&mut batch, BATCH_FRAMES_MAX).await;
        match self.connection.open_uni().await {
            Ok(stream) => self.write(stream, queue, batch).await,
            Err(error) => error.to_string(),
        }
    }

    /// Writes until the connection ends.
    async fn write(self, mut stream: SendStream, mut queue: mpsc::Receiver<Queued>, first: Vec<Queued>) -> String {
        let (mut batch, mut chunks) = (first, Vec::new());
        loop {
            let mut cost = 0;
            for queued in batch.drain(..) {
                cost += queued.cost;
                wire::region::encode(&queued.frame, &mut chunks);
            }
            let bytes: usize = chunks.iter().map(bytes::Bytes::len).sum();
            if let Err(error) = stream.write_all_chunks(&mut chunks).await {
                return write_error(&error);
            }
            chunks.clear();
            self.slot.count_sent(bytes as u64);
            if self.outbound.release(cost) {
                self.shared.emit(QuicEvent::Writable { region: self.slot.peer().region.clone() });
            }
            if queue.recv_many(&mut batch, BATCH_FRAMES_MAX).await == 0 {
                // Nobody can send any more; the connection is about to be stopped.
                return self.connection.closed().await.to_string();
            }
        }
    }
}

fn write_error(error: &WriteError) -> String {
    format!("a stream to the peer: {error}")
}

struct Reader {
    stream: RecvStream,
    buffer: BytesMut,
    splitter: RegionFrameSplitter,
    inbound: Arc<Semaphore>,
    inbound_max: u32,
    slot: Arc<PeerSlot>,
    shared: Arc<Shared>,
}

impl Reader {
    /// Reads until the stream ends, which only the connection's end should bring about.
    async fn run(mut self) -> String {
        loop {
            match self.splitter.next(&mut self.buffer) {
                Ok(Some(frame)) => {
                    let cost = frame_cost(&frame).max(INBOUND_FRAME_BYTES_MIN);
                    let cost = u32::try_from(cost).unwrap_or(u32::MAX).min(self.inbound_max);
                    let Ok(permit) = Arc::clone(&self.inbound).acquire_many_owned(cost).await else {
                        return "the endpoint is closing".to_owned();
                    };
                    let region = self.slot.peer().region.clone();
                    self.shared.emit(QuicEvent::Frame { region, frame, permit: FramePermit(permit) });
                }
                Ok(None) => match self.stream.read_buf(&mut self.buffer).await {
                    Ok(0) => return "the peer ended a stream".to_owned(),
                    Ok(bytes) => self.slot.count_received(bytes as u64),
                    Err(error) => return format!("a stream of the peer: {error}"),
                },
                Err(error) => return format!("the peer sent what is no frame: {error}"),
            }
        }
    }
}
