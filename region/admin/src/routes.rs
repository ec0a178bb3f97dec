//! The one table: method and path, who may, what runs.
//!
//! **What**  A path pattern is literal words, `:name` for one segment and `*` for the rest. `:domain` takes only the two
//! domains. The first row that fits wins, so rows with literal words stand before rows with names.
//!
//! **Invariants**
//! - I1  every row names its rule; there is no way to a handler but through a row.

use crate::answer::Refusal;
use crate::call::{Call, Params};
use crate::step::{Context, Next};
use crate::{Method, table};
use base::Domain;
use tenancy::Operation;

/// Who may use a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everybody, also without credentials: probes.
    Open,
    /// Everybody, or whoever proved any identity: the settings decide.
    Metrics,
    /// Whoever proved any identity.
    AnyRole,
    /// Whoever may do this on the object that the path names.
    On(Operation, Target),
}

/// Which object of the path is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Broker,
    Cluster,
    Tenant,
    Namespace,
    Topic,
    Subscription,
}

pub(crate) type Handler = fn(&Context<'_>, Call) -> Next;

/// One row.
pub(crate) struct Route {
    pub method: Method,
    pub pattern: &'static str,
    pub access: Access,
    pub run: Handler,
}

/// What a path leads to.
pub(crate) enum Found {
    Route(&'static Route, Params),
    /// The path is known, the method is not.
    OtherMethod,
    Nothing,
}

/// Finds the row for a request.
pub(crate) fn find(method: Method, path: &[String]) -> Found {
    let mut known = false;
    for route in all() {
        if let Some(params) = fit(route.pattern, path) {
            if route.method == method {
                return Found::Route(route, params);
            }
            known = true;
        }
    }
    if known { Found::OtherMethod } else { Found::Nothing }
}

/// Every row, in the order in which they are tried.
pub(crate) fn all() -> impl Iterator<Item = &'static Route> {
    table::GROUPS.into_iter().flatten()
}

fn fit(pattern: &'static str, path: &[String]) -> Option<Params> {
    let mut params = Params::new();
    let mut rest = path.iter();
    for word in pattern.split('/') {
        if word == "*" {
            return rest.next().map(|_| params);
        }
        let segment = rest.next()?;
        match word.strip_prefix(':') {
            Some("domain") if Domain::parse(segment).is_none() => return None,
            Some(name) => {
                params.insert(name, segment.clone());
            }
            None if word == segment => (),
            None => return None,
        }
    }
    rest.next().is_none().then_some(params)
}

/// Part of Pulsar's API that is not here: the reason names it.
pub(crate) fn unbuilt(_context: &Context<'_>, call: Call) -> Next {
    Err(Refusal::new(501, format!("{} is not built yet: the documentation lists what is", call.pattern)))
}
