//! Answers for load balancers, orchestrators and Prometheus; open to everybody, metrics unless the settings say otherwise,
//! so they say nothing about names beyond what metrics are for.

use crate::answer::text;
use crate::call::Call;
use crate::metrics;
use crate::step::{Context, Next, Step};
use broker::admin_command::{AdminCommand, AdminReply};

pub(crate) fn ok(_context: &Context<'_>, _call: Call) -> Next {
    Ok(Step::Reply(text("ok")))
}

pub(crate) fn status(_context: &Context<'_>, _call: Call) -> Next {
    Ok(Step::Reply(text("OK")))
}

pub(crate) fn metrics(_context: &Context<'_>, _call: Call) -> Next {
    let commands = vec![AdminCommand::LoadedTopics, AdminCommand::BrokerStats];
    Step::commands(commands, |context, replies| {
        let mut topics = Vec::new();
        let mut numbers = None;
        for reply in replies {
            match reply {
                AdminReply::Topics(list) => topics = list,
                AdminReply::Broker(stats) => numbers = Some(stats),
                AdminReply::Failed(failure) => return Err(failure.into()),
                _ => (),
            }
        }
        let cluster = context.directory().cluster_name().as_str();
        let version = &context.broker.core().options.server_version;
        let mut response = text(metrics::render(cluster, version, &topics, &numbers.unwrap_or_default()));
        response.content_type = metrics::CONTENT_TYPE;
        Ok(Step::Reply(response))
    })
}
