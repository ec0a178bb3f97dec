//! Clusters: the regions that this one knows, with what the replicator needs.
//!
//! **Invariants**
//! - I1  a region number belongs to one cluster and never changes.

use crate::answer::{Refusal, json, no_content};
use crate::call::{Call, read};
use crate::record::{Edit, decode, edit_record, put_json};
use crate::step::{Context, Next, Step};
use base::RegionName;
use meta_api::Write;
use serde_json::Value;
use std::collections::BTreeSet;
use tenancy::{ClusterData, keys};

pub(crate) fn list(context: &Context<'_>, _call: Call) -> Next {
    let names: Vec<&RegionName> = context.directory().clusters().map(|(name, _)| name).collect();
    Ok(Step::Reply(json(&names)))
}

pub(crate) fn get(context: &Context<'_>, call: Call) -> Next {
    let name = call.cluster()?;
    let data = context.directory().cluster(&name).ok_or_else(|| missing(&name))?;
    Ok(Step::Reply(json(data)))
}

pub(crate) fn missing(name: &RegionName) -> Refusal {
    Refusal::new(404, format!("Cluster {name} does not exist"))
}

pub(crate) fn create(_context: &Context<'_>, call: Call) -> Next {
    let name = call.cluster()?;
    let data: ClusterData = call.optional("ClusterData")?.unwrap_or_default();
    let key = keys::cluster_key(&name);
    edit_record(key.clone(), move |context, found| {
        if found.is_some() {
            return Err(Refusal::new(409, format!("Cluster {name} already exists: change it with POST")));
        }
        check(context, &name, &data)?;
        Ok(Edit { compare: Vec::new(), writes: vec![put_json(key.clone(), &data)?], answer: no_content() })
    })
}

pub(crate) fn update(_context: &Context<'_>, call: Call) -> Next {
    let name = call.cluster()?;
    let body = call.value();
    let new: ClusterData = read(body.clone(), "ClusterData")?;
    let key = keys::cluster_key(&name);
    edit_record(key.clone(), move |context, found| {
        let old: ClusterData = decode(found.ok_or_else(|| missing(&name))?, &key)?;
        let data = merge(&name, &body, new.clone(), old)?;
        check(context, &name, &data)?;
        Ok(Edit { compare: Vec::new(), writes: vec![put_json(key.clone(), &data)?], answer: no_content() })
    })
}

/// Pulsar's tools send all that they know and nothing of ours: what they leave out stays.
fn merge(name: &RegionName, body: &Value, mut new: ClusterData, old: ClusterData) -> Result<ClusterData, Refusal> {
    let given = |key: &str| body.get(key).is_some();
    if !given("replicatorUrl") {
        new.replicator_url = old.replicator_url;
    }
    if !given("replicatorTrust") {
        new.replicator_trust = old.replicator_trust;
    }
    match (new.number, old.number) {
        (Some(new), Some(old)) if new != old => Err(Refusal::new(
            409,
            format!("cluster {name} has region number {old}: a number never changes; join under a new cluster name"),
        )),
        (number, old) => {
            new.number = number.or(old);
            Ok(new)
        }
    }
}

fn check(context: &Context<'_>, name: &RegionName, data: &ClusterData) -> Result<(), Refusal> {
    if let Some(url) = data.replicator_url.as_deref().filter(|url| !url.starts_with("quic://")) {
        let shown: String = url.chars().take(200).collect();
        let reason = format!("replicatorUrl '{shown}' of cluster {name} must be quic://host:port[,host:port]");
        return Err(Refusal::bad_value(reason));
    }
    let Some(number) = data.number else { return Ok(()) };
    let options = &context.broker.core().options;
    let local = (*name != options.region_name && options.region == number).then_some(&options.region_name);
    let mut others = context.directory().clusters();
    let taken =
        local.or_else(|| others.find(|(own, data)| *own != name && data.number == Some(number)).map(|(own, _)| own));
    match taken {
        Some(owner) => Err(Refusal::new(
            409,
            format!(
                "region number {number} belongs to cluster {owner}: give cluster {name} another regionNumber from 1 to 255"
            ),
        )),
        None => Ok(()), // I1
    }
}

pub(crate) fn peers(context: &Context<'_>, call: Call) -> Next {
    let name = call.cluster()?;
    let data = context.directory().cluster(&name).ok_or_else(|| missing(&name))?;
    Ok(Step::Reply(json(&data.peer_cluster_names)))
}

pub(crate) fn set_peers(_context: &Context<'_>, call: Call) -> Next {
    let name = call.cluster()?;
    let peers: BTreeSet<RegionName> = call.optional("list of clusters")?.unwrap_or_default();
    let key = keys::cluster_key(&name);
    edit_record(key.clone(), move |context, found| {
        let mut data: ClusterData = decode(found.ok_or_else(|| missing(&name))?, &key)?;
        let wrong = peers.iter().find(|peer| **peer == name || context.directory().cluster(peer).is_none());
        if let Some(peer) = wrong {
            let reason = format!("Peer cluster {peer} of {name} must be another cluster that exists");
            return Err(Refusal::bad_value(reason));
        }
        data.peer_cluster_names.clone_from(&peers);
        Ok(Edit { compare: Vec::new(), writes: vec![put_json(key.clone(), &data)?], answer: no_content() })
    })
}

pub(crate) fn delete(_context: &Context<'_>, call: Call) -> Next {
    let name = call.cluster()?;
    let key = keys::cluster_key(&name);
    edit_record(key.clone(), move |context, found| {
        found.ok_or_else(|| missing(&name))?;
        let directory = context.directory();
        if *directory.cluster_name() == name {
            return Err(Refusal::bad_value(format!(
                "cluster {name} is this region itself and cannot be removed from it"
            )));
        }
        if let Some((user, _)) =
            directory.namespaces().find(|(_, record)| record.policies.replication_clusters.contains(&name))
        {
            let reason =
                format!("Cluster {name} is not empty: namespace {user} is replicated there; remove it there first");
            return Err(Refusal::bad_value(reason));
        }
        Ok(Edit { compare: Vec::new(), writes: vec![Write::Delete { key: key.clone() }], answer: no_content() })
    })
}
