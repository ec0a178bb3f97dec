//! Answers: a success is what Pulsar's clients expect, a refusal is a status with one reason.

use crate::HttpResponse;
use base::NameError;
use broker::admin_command::{AdminFailure, FailureKind};
use bytes::Bytes;
use serde::Serialize;
use serde_json::json;
use tenancy::PolicyError;

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// 204 without a body: a write is done, or a policy is not set.
pub(crate) fn no_content() -> HttpResponse {
    HttpResponse { status: 204, headers: Vec::new(), content_type: JSON, body: Bytes::new() }
}

/// 200 with JSON.
pub(crate) fn json(value: &impl Serialize) -> HttpResponse {
    match serde_json::to_vec(value) {
        Ok(body) => HttpResponse { status: 200, headers: Vec::new(), content_type: JSON, body: body.into() },
        Err(error) => Refusal::new(500, format!("the answer cannot be written as JSON: {error}")).into(),
    }
}

/// 200 with plain text.
pub(crate) fn text(body: impl Into<Bytes>) -> HttpResponse {
    HttpResponse { status: 200, headers: Vec::new(), content_type: TEXT, body: body.into() }
}

/// A status and the reason that the client shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub status: u16,
    pub reason: String,
}

impl Refusal {
    pub(crate) fn new(status: u16, reason: impl Into<String>) -> Self {
        Self { status, reason: reason.into() }
    }

    /// The value is not acceptable: Pulsar's 412.
    pub(crate) fn bad_value(reason: impl Into<String>) -> Self {
        Self::new(412, reason)
    }
}

impl From<Refusal> for HttpResponse {
    fn from(refusal: Refusal) -> Self {
        let body = json!({ "reason": refusal.reason }).to_string();
        let headers =
            if refusal.status == 401 { vec![("WWW-Authenticate".to_owned(), "Bearer".to_owned())] } else { Vec::new() };
        Self { status: refusal.status, headers, content_type: JSON, body: body.into() }
    }
}

impl From<NameError> for Refusal {
    fn from(error: NameError) -> Self {
        Self::bad_value(error.to_string())
    }
}

impl From<PolicyError> for Refusal {
    fn from(error: PolicyError) -> Self {
        Self::bad_value(error.to_string())
    }
}

impl From<AdminFailure> for Refusal {
    fn from(failure: AdminFailure) -> Self {
        let status = match failure.kind {
            FailureKind::NotFound => 404,
            FailureKind::AlreadyExists => 409,
            FailureKind::Precondition => 412,
            FailureKind::NotAllowed => 405,
            FailureKind::TooMany => 412,
            FailureKind::Unavailable | FailureKind::Moved { .. } => 503,
            FailureKind::Internal => 500,
        };
        Self::new(status, failure.reason)
    }
}
