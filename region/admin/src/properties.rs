//! Free properties of namespaces and topics.

use crate::answer::{Refusal, json, no_content};
use crate::call::Call;
use crate::record::{Edit, decode, edit_namespace, edit_record, no_namespace, put_json, require_namespace};
use crate::step::{Context, Next, Step};
use crate::topics::{command, exists, require_persistent};
use base::TopicName;
use broker::admin_command::TopicOp;
use meta_api::{MetaRequest, MetaResponse};
use serde_json::{Map, Value, json as object};
use std::collections::BTreeMap;
use tenancy::keys;

type Properties = BTreeMap<String, String>;

/// Most properties of one object, and most bytes of one key or value.
const COUNT_MAX: usize = 1024;
const BYTES_MAX: usize = 64 * 1024;

fn check(properties: &Properties) -> Result<(), Refusal> {
    let bytes: usize = properties.iter().map(|(key, value)| key.len() + value.len()).sum();
    if properties.len() > COUNT_MAX || bytes > BYTES_MAX {
        return Err(Refusal::bad_value(format!(
            "properties are limited to {COUNT_MAX} and {BYTES_MAX} bytes together"
        )));
    }
    Ok(())
}

// ── Namespaces

fn of<'a>(context: &'a Context<'_>, call: &Call) -> Result<&'a Properties, Refusal> {
    let namespace = call.namespace()?;
    let policies = context.directory().namespace(&namespace).ok_or_else(|| no_namespace(context, &namespace))?;
    Ok(&policies.properties)
}

pub(crate) fn of_namespace(context: &Context<'_>, call: Call) -> Next {
    Ok(Step::Reply(json(of(context, &call)?)))
}

pub(crate) fn one_of_namespace(context: &Context<'_>, call: Call) -> Next {
    let value = of(context, &call)?.get(call.param("key"));
    Ok(Step::Reply(value.map_or_else(no_content, json)))
}

fn change_namespace(call: &Call, change: impl Fn(&mut Properties) + Send + Sync + 'static) -> Next {
    edit_namespace(call.namespace()?, no_content(), move |_, record| {
        change(&mut record.policies.properties);
        check(&record.policies.properties)
    })
}

pub(crate) fn add_to_namespace(_context: &Context<'_>, call: Call) -> Next {
    let more: Properties = call.optional("map of properties")?.unwrap_or_default();
    change_namespace(&call, move |own| own.extend(more.clone()))
}

pub(crate) fn clear_namespace(_context: &Context<'_>, call: Call) -> Next {
    change_namespace(&call, Properties::clear)
}

pub(crate) fn set_one_of_namespace(_context: &Context<'_>, call: Call) -> Next {
    let (key, value) = (call.param("key").to_owned(), call.param("value").to_owned());
    change_namespace(&call, move |own| {
        own.insert(key.clone(), value.clone());
    })
}

pub(crate) fn remove_one_of_namespace(_context: &Context<'_>, call: Call) -> Next {
    let key = call.param("key").to_owned();
    change_namespace(&call, move |own| {
        own.remove(&key);
    })
}

// ── Topics

/// The record that holds the topic's properties.
fn home(context: &Context<'_>, call: &Call) -> Result<(TopicName, String), Refusal> {
    let topic = call.topic()?;
    require_persistent(&topic)?;
    require_namespace(context, topic.namespace())?;
    if !exists(context, &topic) {
        return Err(not_found(&topic));
    }
    let key = match context.directory().partitions(&topic) {
        Some(_) => keys::partitioned_key(&topic),
        None => keys::topic_key(&topic),
    };
    Ok((topic, key))
}

fn not_found(topic: &TopicName) -> Refusal {
    Refusal::new(404, format!("Topic {topic} not found"))
}

pub(crate) fn of_topic(context: &Context<'_>, call: Call) -> Next {
    let (topic, key) = home(context, &call)?;
    Step::meta(MetaRequest::Get { key: key.clone() }, move |_, response| match response {
        MetaResponse::Value(Some(found)) => {
            let record: Value = decode(&found.value, &key)?;
            let none = object!({});
            Ok(Step::Reply(json(record.get("properties").unwrap_or(&none))))
        }
        MetaResponse::Value(None) => Err(not_found(&topic)),
        _ => Err(Refusal::new(503, "the metadata store gave no answer: try again")),
    })
}

/// Changes the properties in the stored record, whatever else it holds. A loaded topic keeps a copy of its record and is
/// therefore unloaded first; should a client load it in between, the topic notices the newer record by its version.
fn change_topic(context: &Context<'_>, call: &Call, change: impl Fn(&mut Properties) + Send + Sync + 'static) -> Next {
    let (topic, key) = home(context, call)?;
    let partitioned = context.directory().partitions(&topic).is_some();
    let edit = move || {
        edit_record(key.clone(), move |_, found| {
            let mut record: Map<String, Value> = decode(found.ok_or_else(|| not_found(&topic))?, &key)?;
            let own = record.remove("properties").unwrap_or_else(|| object!({}));
            let mut properties: Properties = crate::call::read(own, "map of properties")?;
            change(&mut properties);
            check(&properties)?;
            record.insert("properties".to_owned(), object!(properties));
            Ok(Edit { compare: Vec::new(), writes: vec![put_json(key.clone(), &record)?], answer: no_content() })
        })
    };
    if partitioned {
        return edit();
    }
    Step::command(command(call.topic()?, TopicOp::Unload), move |_, _| edit())
}

pub(crate) fn add_to_topic(context: &Context<'_>, call: Call) -> Next {
    let more: Properties = call.optional("map of properties")?.unwrap_or_default();
    change_topic(context, &call, move |own| own.extend(more.clone()))
}

pub(crate) fn remove_from_topic(context: &Context<'_>, call: Call) -> Next {
    let key = call.query.get("key").cloned().unwrap_or_default();
    if key.is_empty() {
        return Err(Refusal::bad_value("name the property: ?key=NAME"));
    }
    change_topic(context, &call, move |own| {
        own.remove(&key);
    })
}
