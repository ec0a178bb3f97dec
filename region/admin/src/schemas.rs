//! Schemas of topics: read, registered, deleted. The versions live in the metadata; every broker follows them.

use crate::answer::{Refusal, json};
use crate::call::Call;
use crate::record::{no_namespace, purge, require_namespace};
use crate::step::{Context, Next, Step};
use base::TopicName;
use broker::schema::{self, Registration, StoredSchema};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use meta_api::{Compare, MetaRequest, MetaResponse, Write};
use serde::Deserialize;
use serde_json::{Value, json as object};
use std::collections::BTreeMap;
use tenancy::keys;
use wire::pulsar::schema::Type;
use wire::pulsar::{KeyValue, Schema};

/// Largest schema definition, in bytes, as on the wire.
const SCHEMA_BYTES_MAX: usize = 512 * 1024;
/// How often a registration is tried again because another came in between.
const TRIES_MAX: u32 = 8;

/// Type names of the REST API.
const TYPES: [(&str, Type); 22] = [
    ("NONE", Type::None),
    ("STRING", Type::String),
    ("JSON", Type::Json),
    ("PROTOBUF", Type::Protobuf),
    ("AVRO", Type::Avro),
    ("BOOLEAN", Type::Bool),
    ("INT8", Type::Int8),
    ("INT16", Type::Int16),
    ("INT32", Type::Int32),
    ("INT64", Type::Int64),
    ("FLOAT", Type::Float),
    ("DOUBLE", Type::Double),
    ("DATE", Type::Date),
    ("TIME", Type::Time),
    ("TIMESTAMP", Type::Timestamp),
    ("KEY_VALUE", Type::KeyValue),
    ("INSTANT", Type::Instant),
    ("LOCAL_DATE", Type::LocalDate),
    ("LOCAL_TIME", Type::LocalTime),
    ("LOCAL_DATE_TIME", Type::LocalDateTime),
    ("PROTOBUF_NATIVE", Type::ProtobufNative),
    ("AUTO_CONSUME", Type::AutoConsume),
];

// ── Reading

fn not_found(topic: &TopicName) -> Refusal {
    Refusal::new(404, format!("Schema not found: topic {topic} has none such"))
}

fn shown(stored: &StoredSchema) -> Value {
    let schema = &stored.schema;
    let name = TYPES.iter().find(|(_, kind)| *kind == schema.r#type()).map_or("NONE", |(name, _)| name);
    let properties: BTreeMap<&str, &str> =
        schema.properties.iter().map(|pair| (pair.key.as_str(), pair.value.as_str())).collect();
    object!({
        "version": stored.version,
        "type": name,
        "timestamp": stored.registered_ms,
        "data": text_of(schema),
        "properties": properties,
    })
}

/// A key-value schema is stored as two length-prefixed parts and shown as one JSON object.
fn text_of(schema: &Schema) -> String {
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if schema.r#type() != Type::KeyValue {
        return lossy(&schema.schema_data);
    }
    let mut rest = schema.schema_data.as_ref();
    let (Some(key), Some(value)) = (take_part(&mut rest), take_part(&mut rest)) else {
        return lossy(&schema.schema_data);
    };
    let part = |bytes: &[u8]| serde_json::from_slice(bytes).unwrap_or_else(|_| Value::String(lossy(bytes)));
    object!({ "key": part(key), "value": part(value) }).to_string()
}

fn take_part<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = rest.try_get_i32().ok()?;
    // A negative length stands for an absent part.
    let (part, after) = rest.split_at_checked(usize::try_from(length).unwrap_or(0))?;
    *rest = after;
    Some(part)
}

fn latest<'a>(context: &'a Context<'_>, topic: &TopicName) -> Result<&'a StoredSchema, Refusal> {
    context.broker.schemas().latest(topic).ok_or_else(|| not_found(topic))
}

pub(crate) fn get(context: &Context<'_>, call: Call) -> Next {
    Ok(Step::Reply(json(&shown(latest(context, &call.topic()?)?))))
}

pub(crate) fn get_version(context: &Context<'_>, call: Call) -> Next {
    let topic = call.topic()?;
    let stored = context.broker.schemas().get(&topic, call.number("version")?).ok_or_else(|| not_found(&topic))?;
    Ok(Step::Reply(json(&shown(stored))))
}

pub(crate) fn all(context: &Context<'_>, call: Call) -> Next {
    let topic = call.topic()?;
    latest(context, &topic)?;
    let list: Vec<Value> = context.broker.schemas().all(&topic).map(shown).collect();
    Ok(Step::Reply(json(&object!({ "getSchemaResponses": list }))))
}

// ── Writing

#[derive(Default, Deserialize)]
#[serde(default)]
struct PostSchema {
    #[serde(rename = "type")]
    kind: String,
    schema: Option<String>,
    properties: Option<BTreeMap<String, String>>,
}

fn posted(call: &Call, topic: &TopicName) -> Result<Schema, Refusal> {
    let given: PostSchema = call.required("PostSchemaPayload")?;
    let (_, kind) = TYPES.iter().find(|(name, _)| given.kind.eq_ignore_ascii_case(name)).ok_or_else(|| {
        let shown: String = given.kind.chars().take(64).collect();
        Refusal::new(422, format!("unknown schema type '{shown}': use AVRO, JSON, STRING, KEY_VALUE, …"))
    })?;
    let text = given.schema.unwrap_or_default();
    let schema_data = if *kind == Type::KeyValue { key_value(&text)? } else { Bytes::from(text) };
    if schema_data.len() > SCHEMA_BYTES_MAX {
        return Err(Refusal::new(
            422,
            format!("a schema has at most {SCHEMA_BYTES_MAX} bytes, this one {}", schema_data.len()),
        ));
    }
    let properties = given.properties.unwrap_or_default();
    let properties = properties.into_iter().map(|(key, value)| KeyValue { key, value }).collect();
    let name = topic.partitioned().local().to_owned();
    let schema = Schema { name, schema_data, r#type: *kind as i32, properties };
    if schema::is_registrable(&schema) {
        return Ok(schema);
    }
    Err(Refusal::new(422, format!("schemas of type {} are not registered", given.kind)))
}

fn key_value(text: &str) -> Result<Bytes, Refusal> {
    let wrong = || Refusal::new(422, "a KEY_VALUE schema is a JSON object with key and value");
    let parts: Value = serde_json::from_str(text).map_err(|_| wrong())?;
    let mut data = BytesMut::new();
    for name in ["key", "value"] {
        let part = match parts.get(name).ok_or_else(wrong)? {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        data.put_i32(i32::try_from(part.len()).map_err(|_| wrong())?);
        data.put_slice(part.as_bytes());
    }
    Ok(data.freeze())
}

pub(crate) fn post(context: &Context<'_>, call: Call) -> Next {
    let topic = call.topic()?;
    require_namespace(context, topic.namespace())?;
    let schema = posted(&call, &topic)?;
    register(context, topic, schema, 1)
}

fn register(context: &Context<'_>, topic: TopicName, schema: Schema, tries: u32) -> Next {
    let version = match context.broker.schemas().judge(&topic, &schema) {
        Registration::Known(version) => return Ok(Step::Reply(registered(version))),
        Registration::OtherType { has } => {
            let reason = format!("topic {topic} has schemas of type {has}: delete them or use another topic");
            return Err(Refusal::new(409, reason));
        }
        Registration::New(version) => version,
    };
    let key = keys::schema_version_key(&topic.partitioned(), version);
    let compare =
        vec![Compare::Exists { key: keys::namespace_key(topic.namespace()) }, Compare::Absent { key: key.clone() }];
    let value = schema::encode(&schema, context.now.wall_ms);
    let request = MetaRequest::Txn { compare, writes: vec![Write::Put { key, value }] };
    Step::meta(request, move |context, response| match response {
        MetaResponse::Committed { revision } => {
            Step::reply_when(move |broker| broker.metadata_revision() >= revision, registered(version))
        }
        MetaResponse::Conflict { index: 0, .. } => Err(no_namespace(context, topic.namespace())),
        // Another registration took the number: once it is seen here, ask again.
        MetaResponse::Conflict { actual: Some(other), .. } if tries < TRIES_MAX => Step::wait(
            move |broker| broker.metadata_revision() >= other.version,
            move |context| register(context, topic, schema, tries + 1),
        ),
        MetaResponse::Conflict { .. } => Err(Refusal::new(409, "Concurrent modification: try again")),
        _ => Err(Refusal::new(
            503,
            "the metadata store gave no answer: look whether the schema is there, then try again",
        )),
    })
}

fn registered(version: u64) -> crate::HttpResponse {
    json(&object!({ "version": { "version": version } }))
}

pub(crate) fn delete(context: &Context<'_>, call: Call) -> Next {
    let topic = call.topic()?;
    let version = latest(context, &topic)?.version;
    let prefix = format!("{}/", keys::schema_key(&topic));
    purge(prefix, move |_| Ok(Step::Reply(registered(version))))
}

pub(crate) fn compatibility(context: &Context<'_>, call: Call) -> Next {
    let topic = call.topic()?;
    let schema = posted(&call, &topic)?;
    let policies = context.directory().effective(&topic).ok_or_else(|| no_namespace(context, topic.namespace()))?;
    let fits = !matches!(context.broker.schemas().judge(&topic, &schema), Registration::OtherType { .. });
    let answer = object!({ "compatibility": fits, "schemaCompatibilityStrategy": policies.schema_compatibility });
    Ok(Step::Reply(json(&answer)))
}

pub(crate) fn version_of(context: &Context<'_>, call: Call) -> Next {
    let topic = call.topic()?;
    let schema = posted(&call, &topic)?;
    match context.broker.schemas().judge(&topic, &schema) {
        Registration::Known(version) => Ok(Step::Reply(json(&object!({ "version": version })))),
        Registration::New(_) | Registration::OtherType { .. } => Err(not_found(&topic)),
    }
}
