//! The one place that decides who may do what.
//!
//! **What**  Every wire command and every admin endpoint maps to an [`Operation`] on an [`Object`]; [`authorize`] says yes,
//! or [`Denied`] with who, what, which grant is missing and how to give it. The rules are Pulsar's: super users may do all;
//! a tenant's admin roles may do all inside the tenant; produce and consume come from grants on the namespace or the
//! topic; a subscription's own list narrows consume.
//!
//! **Invariants**
//! - I1  default deny: what no rule allows is refused, also an operation asked of the wrong kind of object.
//! - I2  a refusal is built from the question alone, never from what exists: an unknown tenant and a forbidden one answer
//!   alike, so that names of other tenants cannot be probed.
//! - I3  system topics and the namespace `pulsar/system` are open to super users only.
//!
//! **Not here**  Proving who asks (`auth`), answering that an object is missing: that is asked only after a yes.
//!
//! **Tests**  `tests/authorize.rs`: the whole matrix of operations × principals.

use crate::directory::Directory;
use crate::operation::{Needs, Object, Operation};
use crate::values::SubscriptionAuthMode;
use auth::{Access, Action, Principal};
use base::{ErrorClass, NamespaceName, TopicName};
use std::collections::BTreeSet;

/// Whether anything is refused at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authorization {
    /// Everybody may do everything.
    Off,
    Enforced {
        super_users: BTreeSet<String>,
    },
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{who} may not {verb} {object}: {missing}; {remedy}")]
pub struct Denied {
    who: String,
    verb: &'static str,
    object: String,
    missing: String,
    remedy: String,
}

impl Denied {
    pub fn class(&self) -> ErrorClass {
        ErrorClass::Reject
    }
}

/// Decides whether `principal` may do `what` on `on`.
///
/// # Errors
/// [`Denied`] unless a rule allows it (I1).
pub fn authorize(
    directory: &Directory,
    principal: Option<&Principal>,
    rules: &Authorization,
    what: Operation,
    on: Object<'_>,
) -> Result<(), Denied> {
    let Authorization::Enforced { super_users } = rules else { return Ok(()) };
    let allowed = principal.is_some_and(|principal| {
        what.fits(on) && (super_users.contains(&principal.role) || allows(directory, &principal.role, what, on))
    });
    if allowed { Ok(()) } else { Err(deny(principal, what, on)) }
}

fn allows(directory: &Directory, role: &str, what: Operation, on: Object<'_>) -> bool {
    if is_system(on) {
        return false; // I3
    }
    match what.needs() {
        Needs::SuperUser => false,
        Needs::AnyRole => true,
        Needs::TenantAdmin => administers(directory, role, on),
        Needs::Any(actions) => administers(directory, role, on) || is_granted(directory, role, actions, on),
    }
}

fn is_system(on: Object<'_>) -> bool {
    let system = |namespace: &NamespaceName| namespace.tenant().as_str() == "pulsar" && namespace.local() == "system";
    on.topic().is_some_and(TopicName::is_system) || on.namespace().is_some_and(system)
}

fn administers(directory: &Directory, role: &str, on: Object<'_>) -> bool {
    on.tenant().and_then(|tenant| directory.tenant(tenant)).is_some_and(|info| info.admin_roles.contains(role))
}

fn is_granted(directory: &Directory, role: &str, actions: &[Action], on: Object<'_>) -> bool {
    let Some(policies) = on.namespace().and_then(|namespace| directory.namespace(namespace)) else { return false };
    let grants = &policies.grants;
    let granted = actions.iter().any(|action| match on.topic() {
        Some(topic) => grants.allows_topic(role, *action, topic),
        None => grants.allows_namespace(role, *action),
    });
    granted
        && on.subscription().is_none_or(|subscription| {
            let listed = grants.subscription_access(role, subscription) == Access::Open;
            let prefixed = match policies.subscription_auth_mode {
                SubscriptionAuthMode::None => true,
                SubscriptionAuthMode::Prefix => subscription.as_str().starts_with(role),
            };
            listed && prefixed
        })
}

/// Words a refusal from the question alone (I2).
fn deny(principal: Option<&Principal>, what: Operation, on: Object<'_>) -> Denied {
    let who = principal.map_or_else(|| "an unknown caller".to_owned(), |own| format!("role '{}'", own.role));
    let role = principal.map_or("ROLE", |own| own.role.as_str());
    let (missing, remedy) = match (what.needs(), on.tenant(), on.namespace()) {
        _ if principal.is_none() => ("it has no proven identity".to_owned(), "authenticate first".to_owned()),
        _ if !what.fits(on) => ("the operation does not apply to it".to_owned(), "name the right object".to_owned()),
        (Needs::TenantAdmin, Some(tenant), _) if !is_system(on) => (
            format!("it needs to be an admin role of tenant {tenant}"),
            format!("a super user adds it with `meridian admin tenants update {tenant} --admin-roles {role}`"),
        ),
        (Needs::Any(actions), _, Some(namespace)) if !is_system(on) => words_of_grant(actions, namespace, role, on),
        _ => ("it needs to be a super user".to_owned(), "add the role to superUserRoles of the server".to_owned()),
    };
    Denied { who, verb: what.verb(), object: on.to_string(), missing, remedy }
}

fn words_of_grant(actions: &[Action], namespace: &NamespaceName, role: &str, on: Object<'_>) -> (String, String) {
    let names: Vec<&str> = actions.iter().map(|action| action.as_str()).collect();
    let needed = names.join(" or ");
    let first = names.first().copied().unwrap_or("consume");
    let remedy = format!(
        "an admin of the tenant grants it with `meridian admin namespaces grant-permission {namespace} --role {role} \
         --actions {first}`"
    );
    match on.subscription() {
        Some(subscription) => (
            format!(
                "it needs {needed} on the topic or the namespace, and a place on the list of {subscription} if it has one"
            ),
            remedy,
        ),
        None => (format!("it needs {needed} on the topic or the namespace"), remedy),
    }
}

/// Reads what a refusal is about; for audit records.
impl Denied {
    pub fn who(&self) -> &str {
        &self.who
    }

    pub fn verb(&self) -> &'static str {
        self.verb
    }

    pub fn object(&self) -> &str {
        &self.object
    }
}
