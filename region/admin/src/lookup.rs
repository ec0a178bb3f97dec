//! Where a topic is served.

use crate::answer::{Refusal, json, text};
use crate::call::Call;
use crate::record::{no_namespace, require_namespace};
use crate::step::{Context, Next, Step};
use broker::admin_command::AdminCommand;
use cluster::Owner;
use serde_json::json as object;

pub(crate) fn broker(context: &Context<'_>, call: Call) -> Next {
    let topic = call.topic()?;
    require_namespace(context, topic.namespace())?;
    let listener = call.query.get("listenerName").map_or("", String::as_str);
    if !listener.is_empty() && listener != "internal" {
        let listener: String = listener.chars().take(64).collect();
        return Err(Refusal::new(400, format!("the broker has no listener '{listener}': leave listenerName out")));
    }
    let core = context.broker.core();
    let options = &core.options;
    match core.owner_of(&topic) {
        Owner::Us { .. } => (),
        Owner::By(node) => {
            let urls = core.urls_of(node);
            let http = core.cluster.view().and_then(|view| view.node(node)).map(|record| record.http_url.clone());
            return Ok(Step::Reply(json(&object!({
                "brokerUrl": urls.plain,
                "brokerUrlTls": urls.tls,
                "httpUrl": http,
                "httpUrlTls": null,
                "nativeUrl": urls.plain,
            }))));
        }
        Owner::Nobody => {
            return Step::command(AdminCommand::FindOwner { topic }, move |context, _| broker(context, call));
        }
    }
    // Clients fail when one of the two broker keys is missing.
    Ok(Step::Reply(json(&object!({
        "brokerUrl": options.urls.plain,
        "brokerUrlTls": options.urls.tls,
        "httpUrl": options.http_url,
        "httpUrlTls": null,
        "nativeUrl": options.urls.plain,
    }))))
}

pub(crate) fn bundle(context: &Context<'_>, call: Call) -> Next {
    let topic = call.topic()?;
    let policies =
        context.directory().namespace(topic.namespace()).ok_or_else(|| no_namespace(context, topic.namespace()))?;
    Ok(Step::Reply(text(policies.bundles.range_of(&topic).to_string())))
}
