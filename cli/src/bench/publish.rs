//! Publishing as fast as it goes, or at a fixed rate, with batches that were encoded before.
//!
//! **Invariants**
//! - I1  at a fixed rate the delayed latency counts from when a message should have been sent, not from when there was room
//!   for it; the plain latency, from when it was sent, stands beside it.

use super::report::Latencies;
use crate::client::{ClientError, Connection, Incoming, ServiceUrl};
use crate::clock;
use base::Rng;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use wire::frame::encode_send_start;
use wire::payload::{BatchBuilder, build_body};
use wire::pulsar::{CommandSend, MessageMetadata, SingleMessageMetadata};

/// Different batches per connection: payloads that repeat too soon would flatter caches and compressing disks.
const BODIES: usize = 16;
/// A leg whose receipts take longer than this after the last message has failed.
const DRAIN_MAX: Duration = Duration::from_secs(30);

/// What to publish.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) url: ServiceUrl,
    pub(super) token: Option<String>,
    /// Topic of connection `k` is `{topic}-{k}`.
    pub(super) topic: String,
    pub(super) connections: u32,
    pub(super) message_bytes: usize,
    /// 1 publishes single messages without a batch.
    pub(super) batch: u32,
    /// Batches without a receipt, per connection.
    pub(super) window: usize,
    pub(super) lasting: Duration,
    /// Messages per second over all connections; 0 as fast as the window allows.
    pub(super) rate: f64,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) messages: u64,
    pub(super) payload_bytes: u64,
    pub(super) took: Duration,
    pub(super) latencies: Both,
}

/// Latencies of the same messages from two beginnings.
#[derive(Debug)]
pub(super) struct Both {
    /// From the send.
    pub(super) sent: Latencies,
    /// From the intended send.
    pub(super) intended: Latencies,
}

impl Both {
    fn new() -> Self {
        Self { sent: Latencies::new(), intended: Latencies::new() }
    }
}

/// Runs one leg.
///
/// # Errors
/// The first error of any connection.
pub(super) async fn run(plan: &Plan) -> Result<Outcome, ClientError> {
    let mut legs = JoinSet::new();
    let mut ready = Vec::new();
    for k in 0..plan.connections {
        ready.push(Publisher::open(plan, k).await?);
    }
    let start = clock::now();
    for publisher in ready {
        legs.spawn(publisher.run(start));
    }
    let mut outcome = Outcome { messages: 0, payload_bytes: 0, took: Duration::ZERO, latencies: Both::new() };
    while let Some(done) = legs.join_next().await {
        let (batches, ended, latencies) = done.map_err(|error| ClientError::Unsupported(error.to_string()))??;
        let messages = batches * u64::from(plan.batch);
        outcome.messages += messages;
        outcome.payload_bytes += messages * u64::try_from(plan.message_bytes).unwrap_or(u64::MAX);
        outcome.took = outcome.took.max(ended.duration_since(start));
        outcome.latencies.sent.add(&latencies.sent);
        outcome.latencies.intended.add(&latencies.intended);
    }
    Ok(outcome)
}

struct Publisher {
    connection: Connection,
    bodies: Vec<Bytes>,
    batch: u32,
    window: usize,
    lasting: Duration,
    /// Between two batches; `None` as fast as the window allows.
    pace: Option<Duration>,
    /// When the batches without a receipt should have been sent, and were.
    pending: VecDeque<(Instant, Instant)>,
    sent: u64,
    head: BytesMut,
}

impl Publisher {
    async fn open(plan: &Plan, k: u32) -> Result<Self, ClientError> {
        let topic = format!("{}-{k}", plan.topic);
        let mut connection = Connection::open_for_topic(&plan.url, plan.token.as_deref(), &topic).await?;
        connection.create_producer(1, &topic, None).await?;
        let pace = (plan.rate > 0.0)
            .then(|| Duration::from_secs_f64(f64::from(plan.batch) * f64::from(plan.connections) / plan.rate));
        let mut rng = Rng::new(u64::from(k) + 1);
        let bodies = (0..BODIES).map(|_| body(plan, &mut rng)).collect();
        Ok(Self {
            connection,
            bodies,
            batch: plan.batch,
            window: plan.window,
            lasting: plan.lasting,
            pace,
            pending: VecDeque::new(),
            sent: 0,
            head: BytesMut::with_capacity(64),
        })
    }

    async fn run(mut self, start: Instant) -> Result<(u64, Instant, Both), ClientError> {
        let mut latencies = Both::new();
        let end = start + self.lasting;
        let mut ended = start;
        loop {
            let due = self.pace.map(|pace| start + pace.mul_f64(super::report::to_f64(self.sent)));
            let over = due.unwrap_or_else(clock::now) >= end;
            if over && self.pending.is_empty() {
                return Ok((self.sent, ended, latencies));
            }
            let may_send = !over && self.pending.len() < self.window;
            match due {
                _ if !may_send => (),
                None => {
                    self.send(clock::now()).await?;
                    continue;
                }
                Some(due) if due <= clock::now() => {
                    self.send(due).await?; // I1
                    continue;
                }
                Some(due) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(due.into()) => continue,
                        incoming = self.connection.next() => ended = self.take(incoming?, &mut latencies)?.unwrap_or(ended),
                    }
                    continue;
                }
            }
            let incoming = tokio::time::timeout(DRAIN_MAX, self.connection.next()).await;
            let incoming = incoming.map_err(|_| ClientError::Late(DRAIN_MAX.as_secs()))??;
            ended = self.take(incoming, &mut latencies)?.unwrap_or(ended);
        }
    }

    async fn send(&mut self, intended: Instant) -> Result<(), ClientError> {
        let index = usize::try_from(self.sent).unwrap_or(0) % BODIES;
        let body = self.bodies.get(index).cloned().unwrap_or_default();
        let first = self.sent * u64::from(self.batch);
        let command = CommandSend {
            producer_id: 1,
            sequence_id: first,
            num_messages: i32::try_from(self.batch).ok(),
            highest_sequence_id: (self.batch > 1).then(|| first + u64::from(self.batch) - 1),
            ..CommandSend::default()
        };
        self.head.clear();
        encode_send_start(&command, body.len(), &mut self.head);
        self.pending.push_back((intended, clock::now()));
        self.sent += 1;
        self.connection.send_parts(&self.head, &body).await
    }

    fn take(&mut self, incoming: Incoming, latencies: &mut Both) -> Result<Option<Instant>, ClientError> {
        match incoming {
            Incoming::Receipt { .. } => {
                let now = clock::now();
                if let Some((intended, sent)) = self.pending.pop_front() {
                    latencies.intended.record(now.duration_since(intended));
                    latencies.sent.record(now.duration_since(sent));
                }
                Ok(Some(now))
            }
            Incoming::SendError { code, message, .. } => Err(ClientError::Refused { code, message }),
            Incoming::Closed => Err(ClientError::Ended),
            Incoming::Message { .. } | Incoming::Other(_) => Ok(None),
        }
    }
}

/// Checksum, metadata and payload; half of every message is random, as OpenMessaging Benchmark has it.
fn body(plan: &Plan, rng: &mut Rng) -> Bytes {
    let mut payload = || {
        let mut payload = vec![b'm'; plan.message_bytes];
        for chunk in payload.chunks_mut(16) {
            let random = rng.next_u64().to_le_bytes();
            chunk.iter_mut().zip(random).for_each(|(place, byte)| *place = byte);
        }
        payload
    };
    let metadata = MessageMetadata {
        producer_name: "bench".to_owned(),
        publish_time: clock::wall_ms(),
        ..MessageMetadata::default()
    };
    if plan.batch == 1 {
        return build_body(&metadata, &payload());
    }
    let mut batch = BatchBuilder::default();
    for _ in 0..plan.batch {
        batch.push(SingleMessageMetadata::default(), &payload());
    }
    let metadata = MessageMetadata { num_messages_in_batch: i32::try_from(batch.messages()).ok(), ..metadata };
    build_body(&metadata, &batch.finish())
}
