//! The view of the metadata: one snapshot for the node, then every change, and the peers that follow from the clusters.

use crate::clock::Clock;
use crate::geo::GeoHandle;
use crate::shard::{NodeHandle, ShardInput};
use crate::stop;
use base::RegionName;
use meta::Watch;
use meta_api::MetaEvent;
use node::{Input, Node};
use std::collections::BTreeMap;
use tenancy::ClusterData;
use tenancy::keys::Key;

fn note_cluster(clusters: &mut BTreeMap<RegionName, ClusterData>, key: &str, value: Option<&[u8]>) -> bool {
    let Some(Key::Cluster(name)) = Key::parse(key) else { return false };
    match value.and_then(|value| serde_json::from_slice(value).ok()) {
        Some(data) => clusters.insert(name, data),
        None => clusters.remove(&name),
    };
    true
}

pub(crate) fn feed_snapshot(
    node: &mut Node,
    clock: Clock,
    watch: &Watch,
    out: &mut Vec<node::Output>,
) -> BTreeMap<RegionName, ClusterData> {
    let mut clusters = BTreeMap::new();
    let mut events = Vec::with_capacity(watch.items.len());
    for (key, versioned) in &watch.items {
        note_cluster(&mut clusters, key, Some(&versioned.value));
        let value = Some(versioned.value.clone());
        events.push(MetaEvent { revision: versioned.version, key: key.clone(), value });
    }
    node.handle(clock.now(), Input::MetaEvents(events), out);
    clusters
}

pub(crate) async fn watch(
    mut watch: Watch,
    node: NodeHandle,
    geo: GeoHandle,
    own: RegionName,
    mut clusters: BTreeMap<RegionName, ClusterData>,
) {
    loop {
        match watch.events.next().await {
            Ok(events) => {
                let changed = events.iter().fold(false, |changed, event| {
                    note_cluster(&mut clusters, &event.key, event.value.as_deref()) | changed
                });
                if changed {
                    geo.set_peers(&own, &clusters);
                }
                if node.send(ShardInput::MetaEvents(events)).await.is_err() {
                    return;
                }
            }
            // The node thread ends before the metadata store on an orderly stop.
            Err(_) if node.is_gone() => return,
            Err(reason) => stop::storage_failed("the view of the metadata ended", &reason),
        }
    }
}
