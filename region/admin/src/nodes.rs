//! The nodes of this region: how they stand, and taking one out for good. Meridian's own; Pulsar has no such requests.
//!
//! **What**  A node is removed by deleting its record: it stops counting as alive, its bundles are assigned anew, and the leader
//! of the metadata takes it out of the voters. The key of its cookie stays, so that its disk cannot join under that number or
//! another.
//!
//! **Not here**  The members of the metadata (`server`), bundles of nodes that are gone (`cluster`), copies that go with it
//! (`only_copies`).

use crate::answer::{Refusal, json, no_content};
use crate::call::Call;
use crate::only_copies::require_others;
use crate::record::{Edit, edit_record};
use crate::step::{Context, Next, Step};
use base::NodeId;
use broker::Core;
use cluster::{NodeRecord, View};
use meta_api::{Compare, Write};
use serde_json::{Value, json as object};
use tenancy::keys;

/// Who is in the region and what each node is to it.
pub(crate) fn status(context: &Context<'_>, _call: Call) -> Next {
    let core = context.broker.core();
    let Some(view) = core.cluster.view() else {
        let bundles =
            context.directory().namespaces().map(|(_, record)| record.policies.bundles.ranges().count()).sum();
        let record = NodeRecord {
            pulsar_url: core.options.urls.plain.clone().unwrap_or_default(),
            http_url: core.options.http_url.clone(),
            ..NodeRecord::default()
        };
        let node = describe(core, core.options.node, &record, true, bundles);
        return Ok(Step::Reply(json(&object!({ "region": core.options.region_name, "nodes": [node] }))));
    };
    let bundles = |node: NodeId| view.bundles().filter(|(bundle, _)| serves(view, node, bundle)).count();
    let nodes: Vec<Value> = view
        .nodes()
        .map(|(node, record, _)| describe(core, node, record, view.alive(node).is_some(), bundles(node)))
        .collect();
    Ok(Step::Reply(json(&object!({ "region": core.options.region_name, "nodes": nodes }))))
}

fn serves(view: &View, node: NodeId, bundle: &cluster::BundleId) -> bool {
    match view.owner(bundle) {
        cluster::Owner::Us { .. } => node == view.me(),
        cluster::Owner::By(owner) => owner == node,
        cluster::Owner::Nobody => false,
    }
}

fn describe(core: &Core, node: NodeId, record: &NodeRecord, up: bool, bundles: usize) -> Value {
    let is_leader = core.leader == Some(node);
    let metadata = match (&core.members, is_leader) {
        (_, true) => "leader",
        (members, _) if members.voters.contains(&node) => "voter",
        (members, _) if members.learners.contains(&node) => "learner",
        _ => "none",
    };
    object!({
        "id": node.0,
        "zone": record.zone,
        "up": up,
        "draining": record.draining,
        "incarnation": record.incarnation,
        "metadata": metadata,
        "gateway": is_leader,
        "bundles": bundles,
        "peerAddress": record.peer_address,
        "pulsarUrl": record.pulsar_url,
        "httpUrl": record.http_url,
        "quicUrl": record.quic_url,
    })
}

/// Takes a node out for good.
pub(crate) fn remove(context: &Context<'_>, call: Call) -> Next {
    let node = NodeId(call.number("node")?);
    let force = call.flag("force");
    let core = context.broker.core();
    let view = core.cluster.view().filter(|view| view.node(node).is_some()).ok_or_else(|| unknown(node))?;
    check_removable(core, view, node, force)?;
    if force { take_out(node, force) } else { require_others(node, move |_| take_out(node, force)) }
}

fn unknown(node: NodeId) -> Refusal {
    Refusal::new(404, format!("the region has no node {node}: `cluster status` lists its nodes"))
}

fn take_out(node: NodeId, force: bool) -> Next {
    let key = keys::node_key(node);
    edit_record(key.clone(), move |context, found| {
        found.ok_or_else(|| unknown(node))?;
        let core = context.broker.core();
        let view = core.cluster.view().ok_or_else(|| unknown(node))?;
        check_removable(core, view, node, force)?;
        let alive = keys::alive_key(node);
        let mut writes = vec![Write::Delete { key: key.clone() }, Write::Delete { key: keys::stamp_key(node) }];
        let condition = match view.alive(node) {
            Some((_, version)) => {
                writes.push(Write::Delete { key: alive.clone() });
                Compare::Version { key: alive, version }
            }
            None => Compare::Absent { key: alive },
        };
        let moved = Refusal::new(409, format!("node {node} went up or down just now: look at it again"));
        Ok(Edit { compare: vec![(condition, moved)], writes, answer: no_content() })
    })
}

/// Whether the region can do without the node.
fn check_removable(core: &Core, view: &View, node: NodeId, force: bool) -> Result<(), Refusal> {
    if view.nodes().count() < 2 {
        return Err(Refusal::new(412, format!("node {node} is the only one of its region")));
    }
    let drained = view.node(node).is_some_and(|record| record.draining)
        && !view.bundles().any(|(bundle, _)| serves(view, node, bundle));
    if !force && !drained && view.alive(node).is_some() {
        let reason = format!(
            "node {node} is up: stop it first, so that it hands its topics over, or pass --force, which ends it at once"
        );
        return Err(Refusal::new(412, reason));
    }
    let stay = || core.members.voters.iter().filter(|voter| **voter != node);
    let up = stay().filter(|voter| view.alive(**voter).is_some()).count();
    if core.members.voters.contains(&node) && up * 2 <= stay().count() {
        let down: Vec<String> =
            stay().filter(|voter| view.alive(**voter).is_none()).map(|voter| voter.0.to_string()).collect();
        let reason = format!(
            "without node {node} the metadata would have no majority, because these voters are down: {}. Start or remove \
             them first, or let a new node join",
            down.join(", ")
        );
        return Err(Refusal::new(412, reason));
    }
    Ok(())
}
