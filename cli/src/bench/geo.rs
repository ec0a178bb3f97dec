//! How late messages are in another region: published here at a fixed rate, read there.

use super::report::Latencies;
use crate::client::{Batch, ClientError, Consumer, ConsumerOptions, Producer, ServiceUrl};
use crate::clock;
use bytes::Bytes;
use std::time::Duration;
use tokio::time::MissedTickBehavior;
use wire::pulsar::command_subscribe::{InitialPosition, SubType};

/// The last messages must arrive within this.
const DRAIN_MAX: Duration = Duration::from_secs(30);

/// What to measure.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) from: ServiceUrl,
    pub(super) to: ServiceUrl,
    pub(super) token: Option<String>,
    pub(super) topic: String,
    pub(super) message_bytes: usize,
    pub(super) rate: u32,
    pub(super) lasting: Duration,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) published: u64,
    pub(super) delivered: u64,
    pub(super) lag: Latencies,
}

/// Publishes and reads at the same time.
///
/// # Errors
/// When either side fails, or messages do not arrive.
pub(super) async fn run(plan: &Plan) -> Result<Outcome, ClientError> {
    let token = plan.token.as_deref();
    let options = ConsumerOptions {
        topic: plan.topic.clone(),
        subscription: "bench".to_owned(),
        kind: SubType::Exclusive,
        from: InitialPosition::Earliest,
        durable: false,
        permits: 10_000,
    };
    let mut producer = Producer::open(&plan.from, token, &plan.topic, None).await?;
    let consumer = Consumer::open(&plan.to, token, &options).await?;
    let wanted = u64::from(plan.rate) * plan.lasting.as_secs();
    let (published, read) = tokio::join!(publish(&mut producer, plan, wanted), read(consumer, wanted));
    let (delivered, lag) = read?;
    Ok(Outcome { published: published?, delivered, lag })
}

/// The moment of sending stands in the first eight bytes.
async fn publish(producer: &mut Producer, plan: &Plan, wanted: u64) -> Result<u64, ClientError> {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / plan.rate.max(1));
    // Late ticks are made up for: the load is open.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut sent = 0;
    let mut confirmed = 0;
    while confirmed < wanted {
        tokio::select! {
            done = producer.confirmed() => confirmed += done?,
            _ = ticks.tick(), if sent < wanted => {
                let mut payload = vec![0x67; plan.message_bytes.max(8)];
                let at = clock::wall_us().to_be_bytes();
                payload.iter_mut().zip(at).for_each(|(place, byte)| *place = byte);
                let mut batch = Batch::default();
                batch.push(None, Vec::new(), Bytes::from(payload));
                producer.send(&batch).await?;
                sent += 1;
            }
        }
    }
    Ok(confirmed)
}

async fn read(mut consumer: Consumer, wanted: u64) -> Result<(u64, Latencies), ClientError> {
    let mut lag = Latencies::new();
    while lag.count() < wanted {
        let next = tokio::time::timeout(DRAIN_MAX, consumer.next()).await;
        let message = next.map_err(|_| ClientError::Late(DRAIN_MAX.as_secs()))??;
        if let Some(at) = message.payload.first_chunk::<8>() {
            let late_us = clock::wall_us().saturating_sub(u64::from_be_bytes(*at));
            lag.record(Duration::from_micros(late_us));
        }
    }
    Ok((lag.count(), lag))
}
