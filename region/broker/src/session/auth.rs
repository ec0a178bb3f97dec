//! Asking permission for what a command names.

use crate::broker::Broker;
use crate::io::ConnId;
use crate::session::Phase;
use base::{SubscriptionName, TopicName};
use tenancy::{Object, Operation};
use wire::pulsar::ServerError;

/// A refusal in the protocol's words.
pub(crate) type Refusal = (ServerError, String);

impl Broker {
    /// # Errors
    /// AuthorizationError with who, what and which grant is missing.
    pub(crate) fn permit(&self, conn: ConnId, what: Operation, on: Object<'_>) -> Result<(), Refusal> {
        let session = self.sessions.get(&conn);
        let principal = session.and_then(|session| match &session.phase {
            Phase::Active(auth) => Some(auth.principal()),
            Phase::Handshaking { .. } | Phase::Closing => None,
        });
        tenancy::authorize(&self.core.directory, principal, &self.core.authorization, what, on)
            .map_err(|denied| (ServerError::AuthorizationError, denied.to_string()))
    }

    /// Parses a topic name and asks permission.
    ///
    /// # Errors
    /// InvalidTopicName, NotAllowedError for topics that are not stored, AuthorizationError.
    pub(crate) fn permitted_topic(&self, conn: ConnId, text: &str, what: Operation) -> Result<TopicName, Refusal> {
        let name = parse_topic(text)?;
        self.permit(conn, what, Object::Topic(&name))?;
        require_persistent(&name)?;
        Ok(name)
    }

    /// As [`Broker::permitted_topic`], for a subscription. A bad subscription name has code 16, as in Pulsar.
    ///
    /// # Errors
    /// The same, and ProducerBusy (sic) for a bad subscription name.
    pub(crate) fn permitted_subscription(
        &self,
        conn: ConnId,
        topic: &str,
        subscription: &str,
        what: Operation,
    ) -> Result<(TopicName, SubscriptionName), Refusal> {
        let name = parse_topic(topic)?;
        let subscription =
            SubscriptionName::parse(subscription).map_err(|error| (ServerError::ProducerBusy, error.to_string()))?;
        self.permit(conn, what, Object::Subscription(&name, &subscription))?;
        require_persistent(&name)?;
        Ok((name, subscription))
    }
}

pub(crate) fn parse_topic(text: &str) -> Result<TopicName, Refusal> {
    TopicName::parse(text).map_err(|error| (ServerError::InvalidTopicName, error.to_string()))
}

fn require_persistent(name: &TopicName) -> Result<(), Refusal> {
    if name.is_persistent() {
        return Ok(());
    }
    let text = format!("topic {name}: non-persistent topics are not built in Meridian yet; use persistent://");
    Err((ServerError::NotAllowedError, text))
}
