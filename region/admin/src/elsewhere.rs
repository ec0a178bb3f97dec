//! Requests about topics that another node of the region serves: the client is sent there.
//!
//! **What**  Before commands go to this node's broker, the owners of their topics are looked at: a topic without one gets one,
//! and a request whose topics are all another node's is answered 307 with the same path and query there.
//!
//! **Not here**  Gathering from several nodes: a request about partitions of several nodes is refused, partition by partition it
//! works.

use crate::HttpResponse;
use crate::answer::{Refusal, no_content};
use crate::step::{Context, Next, Step, Then};
use base::{NodeId, TopicName};
use broker::admin_command::{AdminCommand, AdminReply, TopicOp};
use cluster::Owner;
use std::collections::BTreeSet;

/// The topics whose owner matters. Of a partition that is created only the record matters, which every node can write.
fn topics(commands: &[AdminCommand]) -> impl Iterator<Item = &TopicName> {
    commands.iter().filter_map(|command| match command {
        AdminCommand::Topic { topic, op: TopicOp::Create { .. } } if topic.partition().is_some() => None,
        AdminCommand::Topic { topic, .. } => Some(topic),
        _ => None,
    })
}

/// Whether some of the topics are not this node's.
pub(crate) fn is_elsewhere(context: &Context<'_>, commands: &[AdminCommand]) -> bool {
    let core = context.broker.core();
    core.cluster.view().is_some() && topics(commands).any(|topic| !matches!(core.owner_of(topic), Owner::Us { .. }))
}

/// What is done instead of the commands.
pub(crate) fn find(
    context: &Context<'_>,
    commands: Vec<AdminCommand>,
    then: Then<Vec<AdminReply>>,
    target: &str,
) -> Next {
    let core = context.broker.core();
    let owners = || topics(&commands).map(|topic| (topic, core.owner_of(topic)));
    let unowned = owners().find(|(_, owner)| *owner == Owner::Nobody).map(|(topic, _)| topic.clone());
    if let Some(topic) = unowned {
        let find = AdminCommand::FindOwner { topic };
        return Step::commands(vec![find], move |_, mut replies| match replies.pop() {
            Some(AdminReply::Failed(failure)) => Err(failure.into()),
            _ => Ok(Step::Broker { commands, then }),
        });
    }
    let nodes: BTreeSet<Option<NodeId>> =
        owners().map(|(_, owner)| if let Owner::By(node) = owner { Some(node) } else { None }).collect();
    match (nodes.len(), nodes.first()) {
        (1, Some(Some(node))) => redirect(context, *node, target).map(Step::Reply),
        _ => {
            let reason = "the partitions of this topic are served by several nodes: ask for each partition by itself";
            Err(Refusal::new(503, reason))
        }
    }
}

/// 307 to the same path on another node.
pub(crate) fn redirect(context: &Context<'_>, node: NodeId, target: &str) -> Result<HttpResponse, Refusal> {
    let url = context.broker.core().cluster.view().and_then(|view| view.node(node)).map(|record| &record.http_url);
    let Some(url) = url.filter(|url| !url.is_empty()) else {
        return Err(Refusal::new(
            503,
            format!("node {node} serves this and does not say where it is reached: try again"),
        ));
    };
    let location = format!("{}{target}", url.trim_end_matches('/'));
    let mut response = no_content();
    (response.status, response.headers) = (307, vec![("Location".to_owned(), location)]);
    Ok(response)
}
