//! One request, read: names from the path, the query, the body.

use crate::answer::Refusal;
use base::{Domain, NamespaceName, RegionName, SubscriptionName, TenantName, TopicName};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;
use tenancy::keys;

/// What a route found in the path, decoded once.
pub(crate) type Params = BTreeMap<&'static str, String>;

/// A request that was matched to a route.
#[derive(Debug)]
pub(crate) struct Call {
    /// The row's path, for answers that name it.
    pub pattern: &'static str,
    pub params: Params,
    pub query: BTreeMap<String, String>,
    pub body: Bytes,
}

/// Cuts a path into decoded segments. Doubled and trailing slashes are tolerated, as clients make them.
///
/// # Errors
/// 400 for a broken escape.
pub(crate) fn segments(path: &str) -> Result<Vec<String>, Refusal> {
    let raw = path.split('/').filter(|segment| !segment.is_empty());
    raw.map(|segment| {
        keys::decode(segment)
            .ok_or_else(|| Refusal::new(400, "the path holds a broken percent escape: encode it as UTF-8"))
    })
    .collect()
}

/// Reads a query. A broken escape counts as plain text.
pub(crate) fn query(text: &str) -> BTreeMap<String, String> {
    let decode = |part: &str| {
        let spaced = part.replace('+', " ");
        keys::decode(&spaced).unwrap_or(spaced)
    };
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(key, value)| (decode(key), decode(value)))
        .collect()
}

impl Call {
    /// A named part of the path; empty when the route has none such.
    pub(crate) fn param(&self, name: &'static str) -> &str {
        self.params.get(name).map_or("", String::as_str)
    }

    pub(crate) fn cluster(&self) -> Result<RegionName, Refusal> {
        Ok(RegionName::parse(self.param("cluster"))?)
    }

    pub(crate) fn tenant(&self) -> Result<TenantName, Refusal> {
        Ok(TenantName::parse(self.param("tenant"))?)
    }

    pub(crate) fn namespace(&self) -> Result<NamespaceName, Refusal> {
        Ok(NamespaceName::new(self.param("tenant"), self.param("namespace"))?)
    }

    /// The topic of the path; without a domain there (schemas) it is persistent.
    pub(crate) fn topic(&self) -> Result<TopicName, Refusal> {
        let domain = Domain::parse(self.param("domain")).unwrap_or(Domain::Persistent);
        Ok(TopicName::new(domain, self.namespace()?, self.param("topic"))?)
    }

    pub(crate) fn domain(&self) -> Domain {
        Domain::parse(self.param("domain")).unwrap_or(Domain::Persistent)
    }

    /// Subscription names are decoded a second time: Pulsar's clients encode them twice.
    pub(crate) fn subscription(&self) -> Result<SubscriptionName, Refusal> {
        let once = self.param("subscription");
        let twice = keys::decode(once).unwrap_or_else(|| once.to_owned());
        Ok(SubscriptionName::parse(&twice)?)
    }

    /// A number of the path.
    pub(crate) fn number<N: std::str::FromStr>(&self, name: &'static str) -> Result<N, Refusal> {
        self.param(name).parse().map_err(|_| {
            let shown: String = self.param(name).chars().take(64).collect();
            Refusal::bad_value(format!("'{shown}' is no number that this path takes"))
        })
    }

    /// Whether a yes-or-no query parameter says yes.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.query.get(name).is_some_and(|value| value.is_empty() || value.eq_ignore_ascii_case("true"))
    }

    /// The body as JSON; `null` when there is none. What is no JSON is taken as a text, as Pulsar's tools send names bare.
    pub(crate) fn value(&self) -> Value {
        if self.body.trim_ascii().is_empty() {
            return Value::Null;
        }
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(self.body.trim_ascii()).into_owned()))
    }

    /// The body as `T`; `None` for an absent or `null` body.
    ///
    /// # Errors
    /// 400 with what is wrong.
    pub(crate) fn optional<T: DeserializeOwned>(&self, what: &str) -> Result<Option<T>, Refusal> {
        match self.value() {
            Value::Null => Ok(None),
            value => read(value, what).map(Some),
        }
    }

    /// As [`Call::optional`], where something must be given.
    pub(crate) fn required<T: DeserializeOwned>(&self, what: &str) -> Result<T, Refusal> {
        self.optional(what)?.ok_or_else(|| Refusal::new(400, format!("the body is empty: send {what} as JSON")))
    }
}

/// Reads a JSON value as `T`.
pub(crate) fn read<T: DeserializeOwned>(value: Value, what: &str) -> Result<T, Refusal> {
    serde_json::from_value(value).map_err(|error| Refusal::new(400, format!("the body is no {what}: {error}")))
}

/// A whole number from a JSON number or text.
pub(crate) fn whole(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}
