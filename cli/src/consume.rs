//! `meridian consume`: messages of a topic on standard output.

use crate::client::{Consumer, ConsumerOptions, Received, full_topic};
use crate::exit::Failure;
use crate::service::{ServiceArgs, block_on};
use crate::template::rfc3339;
use crate::term;
use serde_json::{Map, Value, json};
use std::time::Duration;
use wire::pulsar::command_subscribe::{InitialPosition, SubType};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  meridian consume orders\n  \
meridian consume acme/orders/new -s billing --kind shared --from earliest --count 10 -o json")]
pub(crate) struct ConsumeArgs {
    /// orders, tenant/namespace/topic or persistent://tenant/namespace/topic
    topic: String,
    #[command(flatten)]
    service: ServiceArgs,
    /// Name of the subscription
    #[arg(short, long, value_name = "NAME", default_value = "meridian-cli")]
    subscription: String,
    /// exclusive, shared, failover or key_shared
    #[arg(long, value_name = "KIND", default_value = "exclusive")]
    kind: String,
    /// Where a new subscription begins: earliest or latest
    #[arg(long, value_name = "END", default_value = "latest")]
    from: String,
    /// Forget the subscription at the end
    #[arg(long)]
    volatile: bool,
    /// End after so many messages; 0 = never
    #[arg(short = 'n', long, value_name = "N", default_value_t = 0)]
    count: u64,
    /// End with code 1 when nothing came for so long, in seconds; 0 = never
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    timeout: u64,
    /// Do not acknowledge
    #[arg(long)]
    no_ack: bool,
    /// text (payload only), long, or json
    #[arg(short, long, value_name = "FORM", default_value = "text")]
    output: String,
}

/// Prints messages until the count is reached.
pub(crate) fn run(args: &ConsumeArgs) -> Result<(), Failure> {
    block_on(consume(args))
}

fn options(args: &ConsumeArgs) -> Result<ConsumerOptions, Failure> {
    let kind = match args.kind.to_lowercase().replace('-', "_").as_str() {
        "exclusive" => SubType::Exclusive,
        "shared" => SubType::Shared,
        "failover" => SubType::Failover,
        "key_shared" => SubType::KeyShared,
        other => return Err(Failure::usage(format!("--kind {other}: use exclusive, shared, failover or key_shared"))),
    };
    let from = match args.from.as_str() {
        "earliest" => InitialPosition::Earliest,
        "latest" => InitialPosition::Latest,
        other => return Err(Failure::usage(format!("--from {other}: use earliest or latest"))),
    };
    let permits = if args.count > 0 { u32::try_from(args.count.min(1000)).unwrap_or(1000) } else { 1000 };
    Ok(ConsumerOptions {
        topic: full_topic(&args.topic),
        subscription: args.subscription.clone(),
        kind,
        from,
        durable: !args.volatile,
        permits,
    })
}

async fn consume(args: &ConsumeArgs) -> Result<(), Failure> {
    let options = options(args)?;
    let (url, token) = (args.service.url()?, args.service.token()?);
    let mut consumer = Consumer::open(&url, token.as_deref(), &options).await?;
    let cumulative = matches!(options.kind, SubType::Exclusive | SubType::Failover);
    let mut taken = 0;
    while args.count == 0 || taken < args.count {
        let message = if args.timeout > 0 {
            let next = tokio::time::timeout(Duration::from_secs(args.timeout), consumer.next()).await;
            next.map_err(|_| Failure::refused(format!("nothing came within {} s ({taken} before)", args.timeout)))??
        } else {
            consumer.next().await?
        };
        if term::line(&show(&message, &args.output)).is_err() {
            return Ok(()); // Nobody reads any more.
        }
        taken += 1;
        if args.no_ack {
            continue;
        }
        if cumulative && message.ends_entry {
            consumer.ack_up_to(&message).await?;
        } else if !cumulative {
            consumer.ack_entry(&message).await?;
        }
    }
    Ok(())
}

fn show(message: &Received, output: &str) -> String {
    let id = format!("{}:{}:{}", message.id.ledger_id, message.id.entry_id, message.batch_index.map_or(-1, i64::from));
    match output {
        "json" => as_json(message, &id).to_string(),
        "long" => {
            let key = message.key.as_deref().unwrap_or("-");
            let text = String::from_utf8_lossy(&message.payload);
            format!("{} {id} key={key} from={} {text}", rfc3339(message.publish_time_ms), message.producer)
        }
        _ => String::from_utf8_lossy(&message.payload).into_owned(),
    }
}

fn as_json(message: &Received, id: &str) -> Value {
    let properties: Map<String, Value> =
        message.properties.iter().map(|property| (property.key.clone(), Value::from(property.value.clone()))).collect();
    // JSON inside JSON is easier to use with jq than a text of it.
    let payload = serde_json::from_slice::<Value>(&message.payload)
        .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&message.payload).into_owned()));
    json!({
        "id": id,
        "key": message.key,
        "producer": message.producer,
        "publishTime": rfc3339(message.publish_time_ms),
        "publishTimeMs": message.publish_time_ms,
        "eventTimeMs": message.event_time_ms,
        "replicatedFrom": message.replicated_from,
        "redeliveryCount": message.redeliveries,
        "properties": properties,
        "payload": payload,
    })
}
