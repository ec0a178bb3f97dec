//! Requests about topics that other nodes of the region serve.
//!
//! **What**  Before commands are carried out, the owners of their topics are looked for: a bundle without one gets one, and one
//! whose owner was lost is waited for. A request whose topics are all one other node's is answered 307 with the same path and
//! query there. Of any other, each command goes to the node that serves its topic, and the answers are put together in the
//! order of the commands, so that handlers do not know of nodes.
//!
//! **Invariants**
//! - I1  an answer stands at the place of its command, whoever gave it and in whichever round.
//! - I2  what was not carried out because its topic had moved is tried again, at most [`ROUNDS_MAX`] times in all.
//! - I3  nothing is redirected after a part of it was asked of others.
//!
//! **Not here**  How nodes ask each other (`asks`).

use crate::HttpResponse;
use crate::answer::{Refusal, no_content};
use crate::step::{Context, Next, Search, Step, Then};
use base::{NodeId, TopicName};
use broker::Broker;
use broker::admin_command::{AdminCommand, AdminFailure, AdminReply, FailureKind, TopicOp};
use cluster::{BundleId, Owner};
use std::collections::BTreeMap;

/// How often the owners of topics are looked for because they have moved.
pub(crate) const ROUNDS_MAX: u32 = 4;

/// Who carries a command out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    Here,
    Node(NodeId),
    /// No node serves the topic, and none could be found.
    Nowhere,
}

/// What is done with a request whose owners are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// The client is to ask that node.
    Redirect(NodeId),
    /// Each command goes its own way.
    Spread,
}

/// The topic whose owner matters. Of a partition that is created only the record matters, which every node can write.
fn subject(command: &AdminCommand) -> Option<&TopicName> {
    match command {
        AdminCommand::Topic { topic, op: TopicOp::Create { .. } } if topic.partition().is_some() => None,
        AdminCommand::Topic { topic, .. } => Some(topic),
        _ => None,
    }
}

/// The way of a command, as this node knows the owners now.
pub(crate) fn way(broker: &Broker, command: &AdminCommand) -> Way {
    let core = broker.core();
    let Some(topic) = subject(command).filter(|_| core.cluster.view().is_some()) else { return Way::Here };
    match core.owner_of(topic) {
        Owner::Us { .. } => Way::Here,
        Owner::By(node) => Way::Node(node),
        // Of a namespace that does not exist every node knows as much.
        Owner::Nobody if core.directory.namespace(topic.namespace()).is_none() => Way::Here,
        Owner::Nobody => Way::Nowhere,
    }
}

/// What is done with commands that go these ways.
pub(crate) fn plan(ways: impl IntoIterator<Item = Way>) -> Plan {
    let mut ways = ways.into_iter();
    let first = ways.next();
    match first {
        Some(Way::Node(node)) if ways.all(|way| first == Some(way)) => Plan::Redirect(node),
        _ => Plan::Spread,
    }
}

/// Whether commands may concern other nodes, so that their owners are to be looked for.
pub(crate) fn concerns_others(broker: &Broker, commands: &[AdminCommand]) -> bool {
    broker.core().cluster.view().is_some() && commands.iter().any(|command| subject(command).is_some())
}

/// One topic of each bundle that is not firmly this node's.
fn doubtful(broker: &Broker, commands: &[AdminCommand]) -> Vec<TopicName> {
    let core = broker.core();
    let mut topics: BTreeMap<BundleId, TopicName> = BTreeMap::new();
    for topic in commands.iter().filter_map(subject) {
        let Some(policies) = core.directory.namespace(topic.namespace()) else { continue };
        let bundle = (topic.namespace().clone(), policies.bundles.range_of(topic));
        if !matches!(core.owner_of(topic), Owner::Us { moving_to: None, .. }) {
            topics.entry(bundle).or_insert_with(|| topic.clone());
        }
    }
    topics.into_values().collect()
}

/// Looks for the owners of the topics, then goes on with the commands.
pub(crate) fn look(broker: &Broker, commands: Vec<AdminCommand>, then: Then<Vec<AdminReply>>, rounds: u32) -> Next {
    let search = Search { found: true, rounds };
    let finds: Vec<AdminCommand> =
        doubtful(broker, &commands).into_iter().map(|topic| AdminCommand::FindOwner { topic }).collect();
    if finds.is_empty() {
        return Ok(Step::Broker { commands, then, search });
    }
    Step::commands(finds, move |_, replies| {
        // Of several topics the others are not held up by one without an owner: it fails at its place.
        if let ([_], Some(AdminReply::Failed(failure))) = (commands.as_slice(), replies.first()) {
            return Err(failure.clone().into());
        }
        Ok(Step::Broker { commands, then, search })
    })
}

/// What is done with the answers: what has moved is done again where it is served now (I2), the rest goes to `then`.
pub(crate) fn again(commands: Vec<AdminCommand>, then: Then<Vec<AdminReply>>, rounds: u32) -> Then<Vec<AdminReply>> {
    Box::new(move |context: &Context<'_>, mut replies| {
        let (places, revision) = moved(&replies);
        if places.is_empty() || rounds >= ROUNDS_MAX {
            name(&commands, &mut replies);
            return then(context, replies);
        }
        let repeated: Vec<AdminCommand> = places.iter().filter_map(|place| commands.get(*place).cloned()).collect();
        Step::wait(
            move |broker| broker.known_revision() >= revision,
            move |_| {
                let then: Then<Vec<AdminReply>> = Box::new(move |context, later| {
                    merge(&mut replies, &places, later);
                    name(&commands, &mut replies);
                    then(context, replies)
                });
                Ok(Step::Broker { commands: repeated, then, search: Search { found: false, rounds: rounds + 1 } })
            },
        )
    })
}

/// The places of what has moved, and from which revision on the metadata says where to.
fn moved(replies: &[AdminReply]) -> (Vec<usize>, u64) {
    let mut newest = 0;
    let mut places = Vec::new();
    for (place, reply) in replies.iter().enumerate() {
        if let AdminReply::Failed(AdminFailure { kind: FailureKind::Moved { revision }, .. }) = reply {
            newest = newest.max(*revision);
            places.push(place);
        }
    }
    (places, newest)
}

/// Puts answers of a later round at their places (I1).
fn merge(replies: &mut [AdminReply], places: &[usize], later: Vec<AdminReply>) {
    assert_eq!(places.len(), later.len(), "elsewhere I1: one answer for each command");
    for (place, reply) in places.iter().zip(later) {
        if let Some(slot) = replies.get_mut(*place) {
            *slot = reply;
        }
    }
}

/// Of several topics, each failure names its own.
fn name(commands: &[AdminCommand], replies: &mut [AdminReply]) {
    if commands.len() < 2 {
        return;
    }
    for (command, reply) in commands.iter().zip(replies) {
        if let (Some(topic), AdminReply::Failed(failure)) = (subject(command), reply) {
            let topic = topic.to_string();
            if !failure.reason.contains(&topic) {
                failure.reason = format!("{topic}: {}", failure.reason);
            }
        }
    }
}

/// The answer in place of a command that goes nowhere.
pub(crate) fn nowhere() -> AdminReply {
    let reason = "no node of this region serves it now: `meridian admin cluster status` shows which are up; try again";
    AdminReply::Failed(AdminFailure::new(FailureKind::Unavailable, reason))
}

/// 307 to the same path on another node; `None` when that node does not say where it is reached.
pub(crate) fn redirect(broker: &Broker, node: NodeId, target: &str) -> Option<HttpResponse> {
    let url = broker.core().cluster.view().and_then(|view| view.node(node)).map(|record| &record.http_url);
    let url = url.filter(|url| !url.is_empty())?;
    let location = format!("{}{target}", url.trim_end_matches('/'));
    let mut response = no_content();
    (response.status, response.headers) = (307, vec![("Location".to_owned(), location)]);
    Some(response)
}

/// The refusal where a redirection is the only way and is not possible.
pub(crate) fn unreachable(node: NodeId) -> Refusal {
    Refusal::new(503, format!("node {node} serves this and does not say where it is reached: try again"))
}

#[cfg(test)]
#[path = "tests/elsewhere.rs"]
mod tests;
