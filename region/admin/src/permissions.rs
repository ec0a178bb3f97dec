//! Grants of namespaces, topics and subscriptions.

use crate::answer::{Refusal, json, no_content};
use crate::call::Call;
use crate::record::{edit_namespace, no_namespace};
use crate::step::{Context, Next, Step};
use auth::{Action, Grants};
use base::NamespaceName;
use std::collections::BTreeSet;
use tenancy::Authorization;

fn grants<'a>(context: &'a Context<'_>, namespace: &NamespaceName) -> Result<&'a Grants, Refusal> {
    let policies = context.directory().namespace(namespace);
    policies.map(|policies| &policies.grants).ok_or_else(|| no_namespace(context, namespace))
}

fn role(call: &Call) -> Result<String, Refusal> {
    let role = call.param("role");
    if role.is_empty() || role.len() > 1024 || role.chars().any(char::is_control) {
        return Err(Refusal::bad_value("a role has 1 to 1024 bytes and no control characters"));
    }
    Ok(role.to_owned())
}

/// A grant that nothing enforces would deceive: Pulsar refuses it too.
fn require_enforced(context: &Context<'_>) -> Result<(), Refusal> {
    match context.broker.core().authorization {
        Authorization::Enforced { .. } => Ok(()),
        Authorization::Off => {
            Err(Refusal::new(501, "Authorization is not enabled: set authorizationEnabled before granting permissions"))
        }
    }
}

pub(crate) fn of_namespace(context: &Context<'_>, call: Call) -> Next {
    Ok(Step::Reply(json(grants(context, &call.namespace()?)?.namespace_grants())))
}

pub(crate) fn of_subscriptions(context: &Context<'_>, call: Call) -> Next {
    Ok(Step::Reply(json(grants(context, &call.namespace()?)?.subscription_roles())))
}

pub(crate) fn of_topic(context: &Context<'_>, call: Call) -> Next {
    let topic = call.topic()?;
    Ok(Step::Reply(json(&grants(context, topic.namespace())?.topic_grants(&topic))))
}

pub(crate) fn grant_namespace(context: &Context<'_>, call: Call) -> Next {
    require_enforced(context)?;
    let role = role(&call)?;
    let actions: BTreeSet<Action> = call.required("list of actions")?;
    edit_namespace(call.namespace()?, no_content(), move |_, record| {
        record.policies.grants.grant_namespace(&role, actions.clone());
        Ok(())
    })
}

pub(crate) fn revoke_namespace(_context: &Context<'_>, call: Call) -> Next {
    let role = role(&call)?;
    edit_namespace(call.namespace()?, no_content(), move |_, record| {
        record.policies.grants.revoke_namespace(&role);
        Ok(())
    })
}

pub(crate) fn grant_topic(context: &Context<'_>, call: Call) -> Next {
    require_enforced(context)?;
    let (role, topic) = (role(&call)?, call.topic()?);
    let actions: BTreeSet<Action> = call.required("list of actions")?;
    edit_namespace(call.namespace()?, no_content(), move |_, record| {
        record.policies.grants.grant_topic(&topic, &role, actions.clone());
        Ok(())
    })
}

pub(crate) fn revoke_topic(_context: &Context<'_>, call: Call) -> Next {
    let (role, topic) = (role(&call)?, call.topic()?);
    edit_namespace(call.namespace()?, no_content(), move |_, record| {
        if record.policies.grants.revoke_topic(&topic, &role) {
            return Ok(());
        }
        let reason = format!("Permissions are not set at the topic level: role '{role}' has none on {topic} itself");
        Err(Refusal::bad_value(reason))
    })
}

pub(crate) fn grant_subscription(context: &Context<'_>, call: Call) -> Next {
    require_enforced(context)?;
    let subscription = call.subscription()?;
    let roles: BTreeSet<String> = call.required("list of roles")?;
    edit_namespace(call.namespace()?, no_content(), move |_, record| {
        record.policies.grants.restrict_subscription(&subscription, roles.clone());
        Ok(())
    })
}

pub(crate) fn revoke_subscription(_context: &Context<'_>, call: Call) -> Next {
    let (role, subscription) = (role(&call)?, call.subscription()?);
    edit_namespace(call.namespace()?, no_content(), move |_, record| {
        record.policies.grants.revoke_subscription(&subscription, &role);
        Ok(())
    })
}
