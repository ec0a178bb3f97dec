//! Brokers of the region: who they are, what they run with, which settings were changed at run time.

use crate::answer::{Refusal, json, no_content, text};
use crate::call::Call;
use crate::record::{Edit, edit_record};
use crate::step::{Context, Next, Step};
use base::RegionName;
use meta_api::Write;
use serde_json::{Value, json as object};
use std::collections::BTreeMap;
use tenancy::keys;

/// Settings that may be changed at run time; they are stored, and read by whoever heeds them.
const DYNAMIC: [&str; 3] = ["allowAutoSubscriptionCreation", "allowAutoTopicCreation", cluster::SHEDDING_EXCLUDED];

/// `host:port` of this broker's HTTP side, Pulsar's name of a broker.
fn name(context: &Context<'_>) -> String {
    name_of(&context.broker.core().options.http_url)
}

fn name_of(url: &str) -> String {
    url.split_once("://").map_or(url, |(_, rest)| rest).trim_end_matches('/').to_owned()
}

pub(crate) fn version(context: &Context<'_>, _call: Call) -> Next {
    Ok(Step::Reply(text(context.broker.core().options.server_version.clone())))
}

pub(crate) fn list(context: &Context<'_>, call: Call) -> Next {
    if !call.param("cluster").is_empty() {
        require_own(context, &call)?;
    }
    let Some(view) = context.broker.core().cluster.view() else {
        return Ok(Step::Reply(json(&[name(context)])));
    };
    let names: Vec<String> =
        view.live_nodes().filter_map(|node| view.node(node)).map(|record| name_of(&record.http_url)).collect();
    Ok(Step::Reply(json(&names)))
}

fn require_own(context: &Context<'_>, call: &Call) -> Result<(), Refusal> {
    let cluster: RegionName = call.cluster()?;
    let own = context.directory().cluster_name();
    if cluster == *own {
        return Ok(());
    }
    Err(Refusal::new(404, format!("cluster {cluster} is not served here: ask one of its brokers, this is {own}")))
}

pub(crate) fn leader(context: &Context<'_>, _call: Call) -> Next {
    let core = context.broker.core();
    let url = match (core.cluster.view(), core.leader) {
        (None, _) => &core.options.http_url,
        (Some(view), Some(leader)) if view.node(leader).is_some() => {
            view.node(leader).map_or(&core.options.http_url, |record| &record.http_url)
        }
        (Some(_), _) => return Err(Refusal::new(503, "the region elects its leader: try again")),
    };
    Ok(Step::Reply(json(&object!({ "serviceUrl": url, "brokerId": name_of(url) }))))
}

pub(crate) fn owned_namespaces(context: &Context<'_>, call: Call) -> Next {
    require_own(context, &call)?;
    if call.param("broker") != name(context) {
        return Err(Refusal::new(404, format!("no such broker; this one is {}", name(context))));
    }
    let state = object!({ "broker_assignment": "shared", "is_controlled": false, "is_active": true });
    let mut owned: BTreeMap<String, &Value> = BTreeMap::new();
    for (namespace, record) in context.directory().namespaces() {
        owned.extend(record.policies.bundles.ranges().map(|range| (format!("{namespace}/{range}"), &state)));
    }
    Ok(Step::Reply(json(&owned)))
}

pub(crate) fn internal_configuration(_context: &Context<'_>, _call: Call) -> Next {
    // There is no ZooKeeper: metadata and ledgers live in the brokers themselves.
    Ok(Step::Reply(json(&object!({
        "metadataStoreUrl": "meridian:embedded",
        "zookeeperServers": "",
        "configurationMetadataStoreUrl": "meridian:embedded",
        "configurationStoreServers": "",
        "ledgersRootPath": "/ledgers",
        "bookkeeperMetadataServiceUri": "meridian:embedded",
        "stateStorageServiceUrl": null,
    }))))
}

pub(crate) fn dynamic_names(_context: &Context<'_>, _call: Call) -> Next {
    Ok(Step::Reply(json(&DYNAMIC)))
}

pub(crate) fn dynamic_values(context: &Context<'_>, _call: Call) -> Next {
    let values: BTreeMap<&str, &str> = context.directory().dynamic_configs().collect();
    Ok(Step::Reply(json(&values)))
}

pub(crate) fn runtime_values(context: &Context<'_>, _call: Call) -> Next {
    let options = &context.broker.core().options;
    let mut values: BTreeMap<&str, String> =
        context.directory().dynamic_configs().map(|(name, value)| (name, value.to_owned())).collect();
    values.insert("clusterName", options.region_name.to_string());
    values.insert("maxMessageSize", options.message_bytes_max.to_string());
    values.insert("keepAliveIntervalSeconds", options.keep_alive.as_secs().to_string());
    Ok(Step::Reply(json(&values)))
}

fn dynamic_name(call: &Call) -> Result<&'static str, Refusal> {
    let given = call.param("name");
    DYNAMIC.into_iter().find(|name| *name == given).ok_or_else(|| {
        let shown: String = given.chars().take(64).collect();
        Refusal::bad_value(format!("'{shown}' cannot be changed at run time: set it in the configuration and restart"))
    })
}

pub(crate) fn set_dynamic(_context: &Context<'_>, call: Call) -> Next {
    let name = dynamic_name(&call)?;
    if name == cluster::SHEDDING_EXCLUDED {
        cluster::namespaces(call.param("value")).collect::<Result<Vec<_>, _>>()?;
    }
    let key = keys::dynamic_config_key(name);
    let value = bytes::Bytes::from(call.param("value").to_owned());
    edit_record(key.clone(), move |_, _| {
        let writes = vec![Write::Put { key: key.clone(), value: value.clone() }];
        Ok(Edit { compare: Vec::new(), writes, answer: text("") })
    })
}

pub(crate) fn remove_dynamic(_context: &Context<'_>, call: Call) -> Next {
    let key = keys::dynamic_config_key(dynamic_name(&call)?);
    edit_record(key.clone(), move |_, found| {
        let writes = found.map(|_| Write::Delete { key: key.clone() }).into_iter().collect();
        Ok(Edit { compare: Vec::new(), writes, answer: no_content() })
    })
}
