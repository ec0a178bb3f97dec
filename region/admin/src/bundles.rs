//! One bundle of a namespace: unloaded, moved to a chosen node, divided.
//!
//! **Not here**  How its topics close and who may own it meanwhile (`broker`); whole namespaces (`hand_over`).

use crate::answer::{Refusal, no_content};
use crate::call::Call;
use crate::elsewhere::{redirect, unreachable};
use crate::namespace_work::{run, topics};
use crate::record::require_namespace;
use crate::step::{Context, Next, Step};
use crate::topics::command;
use base::{NamespaceName, NodeId};
use broker::Broker;
use broker::admin_command::{AdminCommand, SplitHow, TopicOp};
use cluster::{BundleId, Owner, View};
use meta_api::MetaResponse;
use tenancy::{BundleRange, topic_hash};

/// Ways to divide a bundle, by Pulsar's names.
const ALGORITHMS: [&str; 3] = ["range_equally_divide", "topic_count_equally_divide", "specified_positions_divide"];

/// The bundle that the path names: a range, or in words the one with the most topics or traffic.
fn named(context: &Context<'_>, call: &Call) -> Result<BundleId, Refusal> {
    let namespace = call.namespace()?;
    require_namespace(context, &namespace)?;
    let range = match call.param("bundle") {
        "LARGEST" => largest(context, &namespace),
        "HOT" => Some(
            context
                .broker
                .hottest_bundle(context.now, &namespace)
                .ok_or_else(|| Refusal::new(412, format!("no bundle of namespace {namespace} carries any traffic")))?,
        ),
        text => BundleRange::parse(text),
    };
    let range = range.ok_or_else(|| {
        Refusal::bad_value(
            "a bundle is written 0x00000000_0x40000000, or LARGEST or HOT for the one with the most topics or traffic",
        )
    })?;
    Ok((namespace, range))
}

fn largest(context: &Context<'_>, namespace: &NamespaceName) -> Option<BundleRange> {
    let directory = context.directory();
    let domains = [base::Domain::Persistent, base::Domain::NonPersistent];
    let topics = domains.iter().flat_map(|domain| directory.topics_of(namespace, *domain, None, usize::MAX));
    let hashes: Vec<u32> = topics.map(|topic| topic_hash(&topic)).collect();
    let count = |range: &BundleRange| hashes.iter().filter(|hash| range.contains(**hash)).count();
    directory.namespace(namespace)?.bundles.ranges().max_by_key(count)
}

// ── Unloading

pub(crate) fn unload(context: &Context<'_>, call: Call) -> Next {
    let Some(view) = context.broker.core().cluster.view() else {
        let topics = topics(context, &call)?;
        return run(topics.into_iter().map(|topic| command(topic, TopicOp::Unload)).collect());
    };
    let bundle = named(context, &call)?;
    if let Some(destination) = call.query.get("destinationBroker").filter(|text| !text.is_empty()) {
        let to = node_named(view, destination)?;
        return move_to(view, bundle, to);
    }
    let path = format!("/admin/v2/namespaces/{}/{}/unload", bundle.0, bundle.1);
    match context.broker.core().cluster.owner(&bundle) {
        Owner::By(node) => redirect(context.broker, node, &path).map(Step::Reply).ok_or_else(|| unreachable(node)),
        Owner::Nobody => Ok(Step::Reply(no_content())),
        Owner::Us { .. } => run(vec![AdminCommand::UnloadBundle { namespace: bundle.0, bundle: bundle.1 }]),
    }
}

/// A node by Pulsar's name of a broker, `host:port` of its HTTP or binary side, or by its number.
fn node_named(view: &View, text: &str) -> Result<NodeId, Refusal> {
    let bare = |url: &str| url.split_once("://").map_or(url, |(_, rest)| rest).trim_end_matches('/').to_owned();
    let wanted = bare(text);
    let is_it = |(node, record, _): &(NodeId, &cluster::NodeRecord, u64)| {
        wanted == bare(&record.http_url) || wanted == bare(&record.pulsar_url) || wanted == node.0.to_string()
    };
    let found = view.nodes().find(is_it).map(|(node, ..)| node);
    match found {
        Some(node) if view.open_nodes().any(|open| open == node) => Ok(node),
        Some(node) => Err(Refusal::new(412, format!("node {node} is down or draining: it takes no bundles"))),
        None => {
            let shown: String = wanted.chars().take(64).collect();
            Err(Refusal::new(404, format!("no broker {shown} in this region: `cluster status` lists them")))
        }
    }
}

/// Asks the owner to hand the bundle over, whichever node this is, and answers when it has.
fn move_to(view: &View, bundle: BundleId, to: NodeId) -> Next {
    let there = match view.owner(&bundle) {
        Owner::By(node) => node == to,
        Owner::Us { .. } => view.me() == to,
        Owner::Nobody => false,
    };
    if there {
        return Ok(Step::Reply(no_content()));
    }
    let Some(request) = view.move_bundle(&bundle, to) else { return Err(busy()) };
    Step::meta(request, move |_, response| match response {
        MetaResponse::Committed { revision } => {
            let moved = move |broker: &Broker| {
                let view = broker.core().cluster.view();
                broker.metadata_revision() >= revision && !view.is_some_and(|view| view.is_moving(&bundle))
            };
            Step::reply_when(moved, no_content())
        }
        MetaResponse::Unavailable { reason } => {
            Err(Refusal::new(503, format!("the metadata store gave no answer ({reason}): try again")))
        }
        _ => Err(busy()),
    })
}

fn busy() -> Refusal {
    Refusal::new(409, "the bundle is moving, or no node serves it yet: look up one of its topics, then try again")
}

// ── Splitting

pub(crate) fn split(context: &Context<'_>, call: Call) -> Next {
    let bundle = named(context, &call)?;
    let how = split_how(&call)?;
    let unload = call.flag("unload");
    let (namespace, range) = bundle.clone();
    if let Owner::By(node) = context.broker.core().cluster.owner(&bundle) {
        let algorithm = call.query.get("splitAlgorithmName").map_or("", String::as_str);
        let path = format!(
            "/admin/v2/namespaces/{namespace}/{range}/split?unload={unload}&splitAlgorithmName={}",
            tenancy::keys::encode(algorithm)
        );
        return redirect(context.broker, node, &path).map(Step::Reply).ok_or_else(|| unreachable(node));
    }
    let command = AdminCommand::SplitBundle { namespace: namespace.clone(), bundle: range, how, unload };
    Step::command(command, move |_, _| {
        let shown = move |broker: &Broker| {
            let policies = broker.core().directory.namespace(&namespace);
            !policies.is_some_and(|policies| policies.bundles.ranges().any(|own| own == range))
        };
        Step::reply_when(shown, no_content())
    })
}

fn split_how(call: &Call) -> Result<SplitHow, Refusal> {
    let name = call.query.get("splitAlgorithmName").map_or("", String::as_str);
    match name {
        "" | "range_equally_divide" => Ok(SplitHow::Range),
        "topic_count_equally_divide" => Ok(SplitHow::TopicCount),
        "specified_positions_divide" => {
            let at: Vec<u32> = call.optional("list of boundaries")?.unwrap_or_default();
            if at.is_empty() {
                let reason = "specified_positions_divide needs the boundaries: send a list of hashes as JSON";
                return Err(Refusal::new(412, reason));
            }
            Ok(SplitHow::At(at))
        }
        _ => {
            let known = ALGORITHMS.join(", ");
            Err(Refusal::new(
                412,
                format!("Unsupported namespace bundle split algorithm, supported algorithms are [{known}]"),
            ))
        }
    }
}
