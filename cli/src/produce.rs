//! `meridian produce`: messages from the command line, a template or standard input.

use crate::client::{Batch, ClientError, Producer, full_topic};
use crate::exit::Failure;
use crate::service::{ServiceArgs, block_on};
use crate::template::Template;
use crate::{clock, term};
use base::Rng;
use bytes::Bytes;
use serde_json::json;
use std::time::Duration;
use tokio::sync::mpsc;
use wire::pulsar::KeyValue;

#[derive(Debug, clap::Args)]
#[command(after_help = "Templates: {{ n }} {{time}} {{ms}} {{random 100}} {{text 20}}\n\nExamples:\n  \
meridian produce orders -m 'hello {{ n }}' --count 10\n  \
meridian produce acme/orders/new -m '{\"id\":{{ n }}}' --rate 100 --count 1000 --key 'customer-{{random 10}}'\n  \
cat lines.txt | meridian produce orders --lines")]
pub(crate) struct ProduceArgs {
    /// orders, tenant/namespace/topic or persistent://tenant/namespace/topic
    topic: String,
    #[command(flatten)]
    service: ServiceArgs,
    /// Text of the messages, a template
    #[arg(short, long, value_name = "TEXT", default_value = "message {{n}} at {{time}}")]
    message: String,
    /// One message for every line of standard input instead
    #[arg(long)]
    lines: bool,
    /// Messages to send
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1)]
    count: u64,
    /// Messages per second; 0 = as fast as they are confirmed
    #[arg(short, long, value_name = "N", default_value_t = 0.0)]
    rate: f64,
    /// Messages in one batch
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    batch: u16,
    /// Key of the messages, a template
    #[arg(short, long, value_name = "TEXT")]
    key: Option<String>,
    /// Property of the messages
    #[arg(short, long, value_name = "NAME=VALUE")]
    property: Vec<String>,
    /// Name of the producer; with deduplication it decides what is a repetition
    #[arg(long, value_name = "NAME")]
    producer_name: Option<String>,
    /// text or json
    #[arg(short, long, value_name = "FORM", default_value = "text")]
    output: String,
}

/// Messages without a receipt at most.
const UNCONFIRMED_MAX: u64 = 5_000;

struct Source {
    message: Template,
    key: Option<Template>,
    properties: Vec<KeyValue>,
    rng: Rng,
    last: u64,
}

impl Source {
    fn of(args: &ProduceArgs) -> Result<Self, Failure> {
        let template = |text: &str| Template::parse(text).map_err(Failure::usage);
        let mut properties = Vec::new();
        for property in &args.property {
            let Some((key, value)) = property.split_once('=') else {
                return Err(Failure::usage(format!("--property {property}: write NAME=VALUE")));
            };
            properties.push(KeyValue { key: key.to_owned(), value: value.to_owned() });
        }
        Ok(Self {
            message: template(&args.message)?,
            key: args.key.as_deref().map(template).transpose()?,
            properties,
            rng: Rng::new(clock::wall_us()),
            last: 0,
        })
    }

    fn add(&mut self, batch: &mut Batch, line: Option<String>) {
        self.last += 1;
        let wall_ms = clock::wall_ms();
        let text = line.unwrap_or_else(|| self.message.fill(self.last, wall_ms, &mut self.rng));
        let key = self.key.as_ref().map(|key| key.fill(self.last, wall_ms, &mut self.rng));
        batch.push(key, self.properties.clone(), Bytes::from(text.into_bytes()));
    }
}

/// Sends messages and waits for all receipts.
pub(crate) fn run(args: &ProduceArgs) -> Result<(), Failure> {
    block_on(produce(args))
}

async fn produce(args: &ProduceArgs) -> Result<(), Failure> {
    let mut source = Source::of(args)?;
    let topic = full_topic(&args.topic);
    let (url, token) = (args.service.url()?, args.service.token()?);
    let mut producer = Producer::open(&url, token.as_deref(), &topic, args.producer_name.as_deref()).await?;
    let start = clock::now();
    let mut lines = args.lines.then(standard_input);
    let mut confirmed = 0;
    let wanted = if args.lines { u64::MAX } else { args.count };
    while source.last < wanted {
        if args.rate > 0.0 {
            let due = f64::from(u32::try_from(source.last).unwrap_or(u32::MAX)) / args.rate;
            confirmed += collect(&mut producer, start + Duration::from_secs_f64(due)).await?;
        }
        let mut batch = Batch::default();
        while batch.len() < u64::from(args.batch) && source.last < wanted {
            match &mut lines {
                Some(lines) => match lines.recv().await {
                    Some(Ok(line)) => source.add(&mut batch, Some(line)),
                    Some(Err(error)) => return Err(Failure::io("cannot read standard input", error)),
                    None => break,
                },
                None => source.add(&mut batch, None),
            }
        }
        if batch.is_empty() {
            break;
        }
        producer.send(&batch).await?;
        while producer.unconfirmed() >= UNCONFIRMED_MAX {
            confirmed += producer.confirmed().await?;
        }
    }
    while producer.unconfirmed() > 0 {
        confirmed += producer.confirmed().await?;
    }
    report(args, &topic, producer.name(), confirmed, start.elapsed());
    Ok(())
}

/// The lines of standard input; reading them blocks, so a thread of its own does.
fn standard_input() -> mpsc::Receiver<std::io::Result<String>> {
    let (read, lines) = mpsc::channel(1024);
    std::thread::spawn(move || std::io::stdin().lines().try_for_each(|line| read.blocking_send(line)));
    lines
}

/// Takes receipts until it is time for the next message.
async fn collect(producer: &mut Producer, until: std::time::Instant) -> Result<u64, ClientError> {
    let mut confirmed = 0;
    let pause = tokio::time::sleep_until(until.into());
    tokio::pin!(pause);
    loop {
        tokio::select! {
            () = &mut pause => return Ok(confirmed),
            done = producer.confirmed() => confirmed += done?,
        }
    }
}

fn report(args: &ProduceArgs, topic: &str, producer: &str, confirmed: u64, took: Duration) {
    if args.output == "json" {
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        term::say(&json!({ "topic": topic, "producer": producer, "confirmed": confirmed, "ms": ms }).to_string());
    } else {
        term::say(&format!("{confirmed} messages are durable on {topic} ({:.1} ms)", took.as_secs_f64() * 1e3));
    }
}
