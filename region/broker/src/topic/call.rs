//! What may be asked of a topic that is perhaps still opening.

use crate::admin_command::{AdminFailure, AdminReply, FailureKind, TopicOp};
use crate::io::{AdminId, BrokerEffect};
use crate::outbox::{Note, Outbox};
use crate::subscription::ConsumerKey;
use crate::topic::producers::{ProducerKey, ProducerSpec};
use crate::topic::subscribe::SubscribeSpec;
use base::RegionName;
use wire::commands;
use wire::pulsar::ServerError;
use wire::region::RegionFrame;

/// A producer or consumer of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handle {
    Producer(ProducerKey),
    Consumer(ConsumerKey),
}

/// A request that waits while the topic opens.
#[derive(Debug)]
pub(crate) enum TopicCall {
    Produce(Box<ProducerSpec>),
    Subscribe(Box<SubscribeSpec>),
    Admin {
        id: AdminId,
        op: TopicOp,
    },
    /// A remote region wants to forward this topic to us.
    LinkOpen {
        from: RegionName,
        link: u64,
    },
}

impl TopicCall {
    /// The client's handle that the call is about.
    pub(crate) fn handle(&self) -> Option<Handle> {
        match self {
            Self::Produce(spec) => Some(Handle::Producer(spec.key)),
            Self::Subscribe(spec) => Some(Handle::Consumer(spec.consumer.key)),
            Self::Admin { .. } | Self::LinkOpen { .. } => None,
        }
    }

    /// Tells who asked that it cannot be, in their protocol.
    pub(crate) fn refuse(self, code: ServerError, reason: &str, out: &mut Outbox) {
        match self {
            Self::Produce(spec) => {
                let conn = spec.key.conn;
                out.command(conn, &commands::error(spec.request_id, code, reason));
                out.note(Note::ProducerGone { conn, producer_id: spec.key.producer_id });
            }
            Self::Subscribe(spec) => {
                let key = spec.consumer.key;
                out.refuse_subscribe(key, spec.consumer.request_id, code, reason);
                out.note(Note::ConsumerGone { conn: key.conn, consumer_id: key.consumer_id });
            }
            Self::Admin { id, .. } => {
                let reply = AdminReply::Failed(AdminFailure::new(failure_kind(code), reason));
                out.effect(BrokerEffect::Admin { id, reply });
            }
            Self::LinkOpen { from, link } => {
                let retry = code == ServerError::ServiceNotReady;
                let frame = RegionFrame::Refused { link, retry, reason: reason.to_owned() };
                out.effect(BrokerEffect::Region { to: from, group: link, frame });
            }
        }
    }
}

/// The operator's word for a client's error code.
pub(crate) fn failure_kind(code: ServerError) -> FailureKind {
    match code {
        ServerError::TopicNotFound | ServerError::SubscriptionNotFound | ServerError::ConsumerNotFound => {
            FailureKind::NotFound
        }
        ServerError::ServiceNotReady | ServerError::PersistenceError => FailureKind::Unavailable,
        ServerError::NotAllowedError => FailureKind::NotAllowed,
        ServerError::ConsumerBusy | ServerError::ProducerBusy | ServerError::TopicTerminatedError => {
            FailureKind::Precondition
        }
        ServerError::TooManyRequests => FailureKind::TooMany,
        _ => FailureKind::Internal,
    }
}
