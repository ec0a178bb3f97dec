//! Where a topic is served.

use crate::answer::{Refusal, json, text};
use crate::call::Call;
use crate::record::{no_namespace, require_namespace};
use crate::step::{Context, Next, Step};
use serde_json::json as object;

pub(crate) fn broker(context: &Context<'_>, call: Call) -> Next {
    let topic = call.topic()?;
    require_namespace(context, topic.namespace())?;
    let listener = call.query.get("listenerName").map_or("", String::as_str);
    if !listener.is_empty() && listener != "internal" {
        let listener: String = listener.chars().take(64).collect();
        return Err(Refusal::new(400, format!("the broker has no listener '{listener}': leave listenerName out")));
    }
    let options = &context.broker.core().options;
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
