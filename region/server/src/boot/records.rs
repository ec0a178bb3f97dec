//! The metadata records that a start reads and writes: the region's number, its defaults, where it is reached, its ledgers.
//!
//! **Invariants**
//! - I1  what stands there already is only read: a start must not need room in a metadata log that a full disk keeps from growing.

use super::BootError;
use super::urls::Urls;
use crate::cluster::answers::nodes;
use crate::config::{ConfigError, ServerConfig};
use base::{LedgerId, NodeId, RegionId, RegionName};
use bookie::LedgerListing;
use cluster::NodeRecord;
use meta::MetaHandle;
use meta_api::{Compare, MetaRequest, MetaResponse, Versioned, Write};
use quic::Identity;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tenancy::keys::{self, Key};
use tenancy::{ClusterData, Policies, PolicyRecord, TenantInfo};

/// Most attempts to write the cluster record: as many nodes may start at once.
const PUBLISH_TRIES: usize = 20;
/// Most attempts at one request; each waits for a leader by itself.
const ASK_TRIES: usize = 12;
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// Keys read at once.
const PAGE: u32 = 1000;

/// Asks the metadata, and again while its nodes look for a leader: they may all be starting. Every request here may be made
/// twice.
async fn ask(meta: &MetaHandle, request: MetaRequest) -> MetaResponse {
    for _ in 1..ASK_TRIES {
        match meta.request(request.clone()).await {
            MetaResponse::Unavailable { .. } => tokio::time::sleep(ASK_AGAIN).await,
            answer => return answer,
        }
    }
    meta.request(request).await
}

async fn read(meta: &MetaHandle, key: &str) -> Result<Option<Versioned>, BootError> {
    match ask(meta, MetaRequest::Get { key: key.to_owned() }).await {
        MetaResponse::Value(found) => Ok(found),
        other => Err(BootError::Storage(format!("metadata record {key} cannot be read: {other:?}"))),
    }
}

pub(super) async fn get<T: serde::de::DeserializeOwned>(
    meta: &MetaHandle,
    key: &str,
) -> Result<Option<(T, u64)>, BootError> {
    let Some(found) = read(meta, key).await? else { return Ok(None) };
    let value = serde_json::from_slice(&found.value)
        .map_err(|error| BootError::Storage(format!("metadata record {key} is damaged: {error}")))?;
    Ok(Some((value, found.version)))
}

pub(super) async fn put_if_absent<T: serde::Serialize>(
    meta: &MetaHandle,
    key: String,
    value: &T,
) -> Result<(), BootError> {
    // I1
    if read(meta, &key).await?.is_some() {
        return Ok(());
    }
    let value = serde_json::to_vec(value).map_err(|error| BootError::Storage(error.to_string()))?;
    let compare = vec![Compare::Absent { key: key.clone() }];
    let request = MetaRequest::Txn { compare, writes: vec![Write::Put { key: key.clone(), value: value.into() }] };
    match ask(meta, request).await {
        MetaResponse::Committed { .. } | MetaResponse::Conflict { .. } => Ok(()),
        other => Err(BootError::Storage(format!("metadata record {key} cannot be written: {other:?}"))),
    }
}

/// The number of this region: what was agreed at the first start, or chosen now.
pub(super) async fn own_number(
    meta: &MetaHandle,
    config: &ServerConfig,
    identity: &Identity,
) -> Result<RegionId, BootError> {
    let key = keys::cluster_key(&config.region);
    if let Some((known, _)) = get::<ClusterData>(meta, &key).await?
        && let Some(number) = known.number
    {
        if config.region_number.is_some_and(|wanted| wanted != number) {
            let rule =
                format!("region {} has number {number} on this data folder; numbers never change", config.region);
            return Err(ConfigError::new("--region-number", rule).into());
        }
        return Ok(number);
    }
    let number = config.region_number.unwrap_or_else(|| number_of(&config.region));
    let data = ClusterData {
        number: Some(number),
        replicator_trust: Some(identity.ca_pem().to_owned()),
        ..ClusterData::default()
    };
    put_if_absent(meta, key, &data).await?;
    Ok(number)
}

/// 1 to 255 from the name, the same on every machine.
fn number_of(region: &RegionName) -> RegionId {
    let hash = region
        .as_str()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    RegionId(u8::try_from(hash % 255).unwrap_or(0) + 1)
}

pub(super) async fn create_defaults(meta: &MetaHandle, region: &RegionName) -> Result<(), BootError> {
    for tenant in ["public", "pulsar"] {
        let Ok(name) = base::TenantName::parse(tenant) else { continue };
        let info = TenantInfo { allowed_clusters: BTreeSet::from([region.clone()]), ..TenantInfo::default() };
        put_if_absent(meta, keys::tenant_key(&name), &info).await?;
    }
    for (tenant, local) in [("public", "default"), ("pulsar", "system")] {
        let Ok(name) = base::NamespaceName::new(tenant, local) else { continue };
        let policies = Policies::default().at_creation(region);
        let record = PolicyRecord { policies, version: 1, writer: Some(region.clone()), ..PolicyRecord::default() };
        put_if_absent(meta, keys::namespace_key(&name), &record).await?;
    }
    Ok(())
}

/// Writes down where this region is reached now: at this process, or at every node that has ever started.
pub(super) async fn publish_own_cluster(
    meta: &MetaHandle,
    config: &ServerConfig,
    urls: &Urls,
    shared: bool,
) -> Result<(), BootError> {
    let key = keys::cluster_key(&config.region);
    for _ in 0..PUBLISH_TRIES {
        let Some((mut data, version)) = get::<ClusterData>(meta, &key).await? else { return Ok(()) };
        let before = data.clone();
        let nodes = if shared { all_nodes(meta).await? } else { BTreeMap::new() };
        let all = |own: String, of: fn(&NodeRecord) -> &String| {
            if shared { Some(join_urls(nodes.values().map(of))) } else { Some(own) }
        };
        data.service_url = all(urls.http_url(), |node| &node.http_url);
        data.broker_service_url = all(urls.pulsar_url(), |node| &node.pulsar_url);
        data.replicator_url = all(urls.quic_url(), |node| &node.quic_url);
        if data == before {
            return Ok(());
        }
        let value = serde_json::to_vec(&data).map_err(|error| BootError::Storage(error.to_string()))?;
        let compare = vec![Compare::Version { key: key.clone(), version }];
        let request = MetaRequest::Txn { compare, writes: vec![Write::Put { key: key.clone(), value: value.into() }] };
        match ask(meta, request).await {
            MetaResponse::Committed { .. } => return Ok(()),
            // Another node of this region starts at the same time.
            MetaResponse::Conflict { .. } => (),
            other => {
                let text = format!("the region's own cluster record cannot be written: {other:?}");
                return Err(BootError::Storage(text));
            }
        }
    }
    Err(BootError::Storage(format!("the region's own cluster record changed {PUBLISH_TRIES} times under our hands")))
}

async fn all_nodes(meta: &MetaHandle) -> Result<BTreeMap<NodeId, NodeRecord>, BootError> {
    for _ in 1..ASK_TRIES {
        match nodes(meta).await {
            Ok(nodes) => return Ok(nodes),
            Err(_) => tokio::time::sleep(ASK_AGAIN).await,
        }
    }
    nodes(meta).await.map_err(BootError::Storage)
}

/// `scheme://a:1` and `scheme://b:2` as `scheme://a:1,b:2`, which clients and other regions read as several addresses.
fn join_urls<'a>(urls: impl Iterator<Item = &'a String>) -> String {
    let mut joined = String::new();
    for url in urls.filter(|url| !url.is_empty()) {
        if joined.is_empty() {
            joined.clone_from(url);
        } else {
            joined.push(',');
            joined.push_str(url.split_once("://").map_or(url.as_str(), |(_, address)| address));
        }
    }
    joined
}

/// Every ledger that the metadata has, below the id that is reserved next: older ids were all reserved before the list is read.
pub(super) async fn list_ledgers(meta: &MetaHandle, region: RegionId) -> Result<LedgerListing, BootError> {
    // I1: not by a reservation.
    let counter = read(meta, keys::LEDGER_COUNTER).await?.map_or(Some(0), |found| decimal(&found));
    let Some(next) = counter else {
        return Err(BootError::Storage(format!(
            "metadata record {} is damaged: it holds no number",
            keys::LEDGER_COUNTER
        )));
    };
    Ok(LedgerListing { known: known_ledgers(meta).await?, below: LedgerId::compose(region, next) })
}

fn decimal(found: &Versioned) -> Option<u64> {
    std::str::from_utf8(&found.value).ok()?.parse().ok()
}

async fn known_ledgers(meta: &MetaHandle) -> Result<BTreeSet<LedgerId>, BootError> {
    let mut known = BTreeSet::new();
    let mut after = None;
    loop {
        let request = MetaRequest::Range { prefix: keys::LEDGERS.to_owned(), after: after.clone(), limit: PAGE };
        let MetaResponse::Range { items, more } = ask(meta, request).await else {
            return Err(BootError::Storage("the list of ledgers cannot be read from the metadata".to_owned()));
        };
        for (key, _) in &items {
            if let Some(Key::Ledger(ledger)) = Key::parse(key) {
                known.insert(ledger);
            }
        }
        match items.into_iter().next_back() {
            Some((key, _)) if more => after = Some(key),
            _ => return Ok(known),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::join_urls;

    #[test]
    fn several_urls_become_one_with_several_addresses() {
        let urls = ["pulsar://a:1", "", "pulsar://b:2"].map(str::to_owned);
        assert_eq!(join_urls(urls.iter()), "pulsar://a:1,b:2");
        assert_eq!(join_urls([].iter()), "");
    }
}
