//! The view of the metadata: one snapshot for the node, then every change, and the peers that follow from the clusters.

use crate::clock::Clock;
use crate::cluster::entry::{Contacts, Me};
use crate::geo::GeoHandle;
use crate::shard::{NodeHandle, ShardInput};
use crate::stop;
use base::RegionName;
use cluster::NodeRecord;
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

/// A node came, moved or went; this process ends when its own number was given to another start, or taken away.
fn note_node(contacts: &Contacts, me: Me, key: &str, value: Option<&[u8]>) {
    let Some(Key::Node(node)) = Key::parse(key) else { return };
    let record = value.and_then(NodeRecord::decode);
    if node == me.node {
        match record {
            Some(record) if record.incarnation > me.incarnation => stop::not_this_node(&format!(
                "another process has started as node {} of this region: two processes share one identity",
                me.node.0
            )),
            Some(_) => (),
            None => stop::not_this_node(&format!("node {} was removed from this region", me.node.0)),
        }
        return;
    }
    if let Some(record) = &record {
        contacts.expect(node, record.cookie);
    }
    contacts.set(node, record.map(|record| record.peer_address));
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
    contacts: Option<(Contacts, Me)>,
) {
    if let Some((contacts, me)) = &contacts {
        // Nodes that joined while this one was starting are in no event any more.
        let known = watch.items.iter();
        known.for_each(|(key, found)| note_node(contacts, *me, key, Some(&found.value)));
    }
    loop {
        match watch.events.next().await {
            Ok(events) => {
                let changed = events.iter().fold(false, |changed, event| {
                    note_cluster(&mut clusters, &event.key, event.value.as_deref()) | changed
                });
                if let Some((contacts, me)) = &contacts {
                    events.iter().for_each(|event| note_node(contacts, *me, &event.key, event.value.as_deref()));
                }
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
