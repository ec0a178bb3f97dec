//! The door: who asks, which route, which objects, and whether it is allowed. Nothing is done before.
//!
//! **Invariants**
//! - I1  a route without a rule does not exist: `Route` holds its `Access`, and only probes are open, metrics as the settings say.
//! - I2  names are parsed once; the typed value that was authorised is the one that handlers parse from the same text.
//! - I3  identity is decided before anything else of the request is looked at.

use crate::HttpRequest;
use crate::answer::Refusal;
use crate::call::{Call, query, segments};
use crate::routes::{Access, Found, Target, find};
use crate::step::{Context, Next};
use auth::Principal;
use tenancy::{Denied, Object, Operation, authorize};

/// Authenticates, finds the route, authorises, and runs it.
pub(crate) fn enter(context: &Context<'_>, request: HttpRequest, authenticate_metrics: bool) -> Next {
    let path = segments(&request.path);
    let found = path.as_deref().map(|path| find(request.method, path));
    let open = match &found {
        Ok(Found::Route(route, _)) if route.access == Access::Metrics => !authenticate_metrics,
        Ok(Found::Route(route, _)) => route.access == Access::Open,
        Ok(Found::OtherMethod | Found::Nothing) | Err(_) => false,
    };
    let identity = if open { None } else { Some(identify(context, &request)?) }; // I3
    let (route, params) = match found.map_err(Clone::clone)? {
        Found::Route(route, params) => (route, params),
        Found::OtherMethod => {
            return Err(Refusal::new(405, format!("{} is not answered to this method", shown(&request.path))));
        }
        Found::Nothing => {
            let reason = format!("no such path: {}; the documentation lists those of /admin/v2", shown(&request.path));
            return Err(Refusal::new(404, reason));
        }
    };
    let call = Call { pattern: route.pattern, params, query: query(&request.query), body: request.body };
    if let Some(principal) = &identity {
        check(context, principal, route.access, &call)?;
    }
    (route.run)(context, call)
}

fn identify(context: &Context<'_>, request: &HttpRequest) -> Result<Principal, Refusal> {
    let (authorization, certificate) = (request.authorization.as_deref(), request.tls_common_name.as_deref());
    let identity =
        context.broker.core().authenticator.authenticate_http(authorization, certificate, context.now.wall_ms);
    identity.map_err(|error| Refusal::new(401, error.to_string()))
}

fn shown(path: &str) -> String {
    path.chars().take(200).collect()
}

fn check(context: &Context<'_>, principal: &Principal, access: Access, call: &Call) -> Result<(), Refusal> {
    let (operation, target) = match access {
        Access::Open | Access::Metrics | Access::AnyRole => return Ok(()),
        Access::On(operation, target) => (operation, target),
    };
    let ask = |object: Object<'_>| {
        let core = context.broker.core();
        authorize(&core.directory, Some(principal), &core.authorization, operation, object)
            .map_err(|denied| refuse(operation, &denied))
    };
    match target {
        Target::Broker => ask(Object::Broker),
        Target::Cluster => ask(Object::Cluster(&call.cluster()?)),
        Target::Tenant => ask(Object::Tenant(&call.tenant()?)),
        Target::Namespace => ask(Object::Namespace(&call.namespace()?)),
        Target::Topic => ask(Object::Topic(&call.topic()?)),
        Target::Subscription => ask(Object::Subscription(&call.topic()?, &call.subscription()?)),
    }
}

/// Pulsar answers 401 where a super user is needed and 403 where a grant is missing.
fn refuse(operation: Operation, denied: &Denied) -> Refusal {
    let status = match operation {
        Operation::WriteTenant
        | Operation::ListTenants
        | Operation::ReadCluster
        | Operation::WriteCluster
        | Operation::ReadBroker
        | Operation::WriteBroker => 401,
        _ => 403,
    };
    Refusal::new(status, denied.to_string())
}
