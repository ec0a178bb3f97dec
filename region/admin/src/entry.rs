//! One stored entry as an HTTP answer: the payload as the body, the metadata as headers (facts/pulsar-admin-rest.md §5.2).

use crate::HttpResponse;
use crate::answer::Refusal;
use crate::call::Call;
use crate::step::{Context, Next, Step};
use crate::topics::{command, single, unexpected};
use base::{LedgerId, Position};
use broker::admin_command::{AdminReply, FoundEntry, TopicOp};
use broker::stats::iso_time;
use std::collections::BTreeMap;
use std::fmt::Write;
use wire::payload::PayloadView;
use wire::pulsar::{CompressionType, MessageMetadata};

pub(crate) fn by_id(context: &Context<'_>, call: Call) -> Next {
    let position = Position::new(LedgerId(call.number("ledger")?), call.number("entry")?);
    ask(context, &call, TopicOp::Entry { position })
}

pub(crate) fn peek(context: &Context<'_>, call: Call) -> Next {
    let nth: u64 = call.number("nth")?;
    if nth == 0 {
        return Err(Refusal::bad_value("message positions count from 1"));
    }
    ask(context, &call, TopicOp::Peek { name: call.subscription()?, nth })
}

fn ask(context: &Context<'_>, call: &Call, op: TopicOp) -> Next {
    Step::command(command(single(context, call)?, op), |_, reply| match reply {
        AdminReply::Entry(found) => Ok(Step::Reply(render(&found)?)),
        _ => Err(unexpected()),
    })
}

fn render(found: &FoundEntry) -> Result<HttpResponse, Refusal> {
    let damaged = |error| Refusal::new(500, format!("entry {} cannot be read: {error}", found.position));
    let view = PayloadView::parse(&found.body).map_err(damaged)?;
    if view.metadata.compression() != CompressionType::None {
        let name = view.metadata.compression().as_str_name();
        let reason = format!(
            "entry {} is compressed with {name}: reading it here is not built yet, use a reader",
            found.position
        );
        return Err(Refusal::new(501, reason));
    }
    let headers = headers(found.position, &view.metadata);
    Ok(HttpResponse { status: 200, headers, content_type: "application/octet-stream", body: view.payload })
}

fn headers(position: Position, metadata: &MessageMetadata) -> Vec<(String, String)> {
    let mut headers = Vec::new();
    let mut add = |name: &str, value: String| headers.push((format!("X-Pulsar-{name}"), value));
    add("Message-ID", position.to_string());
    if let Some(count) = metadata.num_messages_in_batch {
        add("Num-Batch-Message", count.to_string());
        add("batch-size", count.to_string());
    }
    add("Publish-Time", iso_time(metadata.publish_time));
    if let Some(time) = metadata.event_time.filter(|time| *time > 0) {
        add("event-time", iso_time(time));
    }
    add("producer-name", plain(&metadata.producer_name));
    add("sequence-id", metadata.sequence_id.to_string());
    if let Some(region) = &metadata.replicated_from {
        add("replicated-from", plain(region));
    }
    if let Some(key) = &metadata.partition_key {
        add("partition-key", plain(key));
    }
    if let Some(flag) = metadata.partition_key_b64_encoded.filter(|flag| *flag) {
        add("partition-key-b64-encoded", flag.to_string());
    }
    if let Some(time) = metadata.deliver_at_time {
        add("deliver-at-time", time.to_string());
    }
    if let Some(flag) = metadata.null_value.filter(|flag| *flag) {
        add("null-value", flag.to_string());
    }
    if !metadata.properties.is_empty() {
        let properties: BTreeMap<&str, &str> =
            metadata.properties.iter().map(|pair| (pair.key.as_str(), pair.value.as_str())).collect();
        add("Property", ascii_json(&properties));
    }
    headers
}

/// Header values carry visible ASCII only; what a producer wrote must not end a header.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' }).collect()
}

/// JSON with everything outside of ASCII as `\u` escapes.
fn ascii_json(properties: &BTreeMap<&str, &str>) -> String {
    let json = serde_json::to_string(properties).unwrap_or_default();
    let mut ascii = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() && !c.is_ascii_control() {
            ascii.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a String cannot fail.
            let _ = write!(ascii, "\\u{unit:04x}");
        }
    }
    ascii
}
