//! The steady load: numbered messages from every region, read in every other one.
//!
//! **Invariants**
//! - I1  a number is used once; what is unconfirmed is sent again under the same sequence id (`client::Producer`).
//! - I2  a run does not count the messages of an earlier run on the same data.

use super::setup::LOAD_TOPIC;
use super::world::World;
use crate::client::{Batch, ClientError, Consumer, ConsumerOptions, Producer, Received, ServiceUrl};
use crate::clock;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use wire::pulsar::command_subscribe::{InitialPosition, SubType};

/// Messages without a receipt before the load waits.
const UNCONFIRMED_MAX: u64 = 2_000;
/// Pause before a lost connection is opened again.
const RETRY_AFTER: Duration = Duration::from_millis(300);
/// Messages under way to a reader.
const PERMITS: u32 = 1_000;
/// A connection over which nothing came for so long is opened again: the server may have been frozen for good.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// What a message of the load says.
#[derive(Debug, Deserialize, Serialize)]
struct Numbered {
    region: String,
    run: u64,
    n: u64,
    sent_ms: u64,
}

/// Starts writers and readers for every region.
pub(super) fn start(world: &Arc<World>, token: &str, per_second: u32, tasks: &mut JoinSet<()>) {
    let run = clock::wall_ms();
    for region in world.regions() {
        let writer = Writer::new(world, &region, token, run);
        tasks.spawn(writer.run(per_second));
        let reader = Reader { world: Arc::clone(world), region, token: token.to_owned(), run };
        tasks.spawn(reader.run());
    }
}

struct Writer {
    world: Arc<World>,
    region: String,
    token: String,
    run: u64,
    last: u64,
    /// When the unconfirmed numbers were sent.
    sent_ms: VecDeque<u64>,
}

impl Writer {
    fn new(world: &Arc<World>, region: &str, token: &str, run: u64) -> Self {
        let (world, region, token) = (Arc::clone(world), region.to_owned(), token.to_owned());
        Self { world, region, token, run, last: 0, sent_ms: VecDeque::new() }
    }

    async fn run(mut self, per_second: u32) {
        let url = ServiceUrl::parse(&self.world.pulsar_urls(&self.region));
        let Ok(url) = url else { return };
        let name = format!("playground-{}-{}", self.region, self.run);
        let mut producer = loop {
            match Producer::open(&url, Some(&self.token), LOAD_TOPIC, Some(&name)).await {
                Ok(producer) => break producer,
                Err(error) => self.retry(&error).await,
            }
        };
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / per_second.max(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            let done = self.step(&mut producer, &mut ticks).await;
            let Err(mut error) = done else { continue };
            loop {
                self.retry(&error).await;
                match producer.reopen(&url, Some(&self.token)).await {
                    Ok(()) => break,
                    Err(again) => error = again,
                }
            }
        }
    }

    async fn retry(&self, error: &ClientError) {
        tracing::debug!("the load of {} waits: {error}", self.region);
        tokio::time::sleep(RETRY_AFTER).await;
    }

    async fn step(&mut self, producer: &mut Producer, ticks: &mut tokio::time::Interval) -> Result<(), ClientError> {
        let silence = tokio::time::sleep(SILENCE_MAX);
        tokio::select! {
            confirmed = producer.confirmed() => {
                let confirmed = confirmed?;
                let mut invariants = self.world.invariants.lock().unwrap_or_else(PoisonError::into_inner);
                for _ in 0..confirmed {
                    let sent_ms = self.sent_ms.pop_front().unwrap_or_default();
                    invariants.confirmed(&self.region, sent_ms);
                }
                Ok(())
            }
            _ = ticks.tick(), if producer.unconfirmed() < UNCONFIRMED_MAX => self.send(producer).await,
            () = silence, if producer.unconfirmed() > 0 => Err(ClientError::Late(SILENCE_MAX.as_secs())),
        }
    }

    async fn send(&mut self, producer: &mut Producer) -> Result<(), ClientError> {
        self.last += 1; // I1
        let sent_ms = clock::wall_ms();
        self.sent_ms.push_back(sent_ms);
        let message = Numbered { region: self.region.clone(), run: self.run, n: self.last, sent_ms };
        let mut batch = Batch::default();
        batch.push(None, Vec::new(), Bytes::from(serde_json::to_vec(&message).unwrap_or_default()));
        producer.send(&batch).await
    }
}

struct Reader {
    world: Arc<World>,
    region: String,
    token: String,
    run: u64,
}

impl Reader {
    async fn run(self) {
        let Ok(url) = ServiceUrl::parse(&self.world.pulsar_urls(&self.region)) else { return };
        let options = ConsumerOptions {
            topic: LOAD_TOPIC.to_owned(),
            subscription: "playground".to_owned(),
            kind: SubType::Exclusive,
            from: InitialPosition::Earliest,
            durable: true,
            permits: PERMITS,
        };
        loop {
            if let Err(error) = self.read(&url, &options).await {
                tracing::debug!("the reader in {} waits: {error}", self.region);
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }

    async fn read(&self, url: &ServiceUrl, options: &ConsumerOptions) -> Result<(), ClientError> {
        let mut consumer = Consumer::open(url, Some(&self.token), options).await?;
        loop {
            let next = tokio::time::timeout(SILENCE_MAX, consumer.next()).await;
            let message = next.map_err(|_| ClientError::Late(SILENCE_MAX.as_secs()))??;
            self.count(&message);
            consumer.ack_up_to(&message).await?;
        }
    }

    fn count(&self, message: &Received) {
        let Ok(numbered) = serde_json::from_slice::<Numbered>(&message.payload) else { return };
        if numbered.run != self.run || numbered.region == self.region {
            return; // I2
        }
        let place = (message.id.ledger_id, message.id.entry_id, message.batch_index.unwrap_or(0));
        let mut invariants = self.world.invariants.lock().unwrap_or_else(PoisonError::into_inner);
        invariants.delivered(&self.region, place, &numbered.region, numbered.n, numbered.sent_ms, clock::wall_ms());
    }
}
