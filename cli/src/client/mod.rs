//! A small Pulsar client for the playground's load, `produce`, `consume` and `bench`.
//!
//! **What**  [`Connection`] is one socket with a finished handshake; [`Producer`] and [`Consumer`] use one each. One task
//! drives one of them: there is no background work, no shared state, and nothing is sent again without being asked.
//!
//! **Not here**  Compression, encryption, chunks, partitioned topics, schemas: this is no client library.

mod connection;
mod consumer;
mod producer;

pub(crate) use connection::{Connection, Incoming, ServiceUrl, producer_command, refusal};
pub(crate) use consumer::{Consumer, ConsumerOptions, Received};
pub(crate) use producer::{Batch, Producer};

use wire::frame::FrameError;
use wire::payload::PayloadError;

/// Why something did not work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("cannot reach {url}: {source}")]
    Unreachable {
        url: String,
        #[source]
        source: std::io::Error,
    },
    #[error("the connection ended: {0}")]
    Io(#[from] std::io::Error),
    #[error("the server closed the connection")]
    Ended,
    #[error("the server said no: {message} ({code})")]
    Refused { code: String, message: String },
    #[error("the server sent bytes that are not its protocol: {0}")]
    Frame(#[from] FrameError),
    #[error("a message cannot be read: {0}")]
    Payload(#[from] PayloadError),
    #[error("{0}")]
    Unsupported(String),
    #[error("no answer within {0} s")]
    Late(u64),
}

impl From<ClientError> for crate::exit::Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Refused { .. } => Self::refused(error),
            ClientError::Unsupported(what) => Self::unbuilt(&what),
            ClientError::Unreachable { .. } | ClientError::Io(_) | ClientError::Ended | ClientError::Late(_) => {
                Self::unreachable(error)
            }
            ClientError::Frame(_) | ClientError::Payload(_) => Self::refused(error),
        }
    }
}

/// A full topic name of what people write: `orders` is `persistent://public/default/orders`.
pub(crate) fn full_topic(text: &str) -> String {
    if text.contains("://") {
        text.to_owned()
    } else if text.matches('/').count() == 2 {
        format!("persistent://{text}")
    } else {
        format!("persistent://public/default/{text}")
    }
}

#[cfg(test)]
mod tests {
    use super::full_topic;

    #[test]
    fn short_topic_names_are_completed() {
        assert_eq!(full_topic("orders"), "persistent://public/default/orders");
        assert_eq!(full_topic("a/b/c"), "persistent://a/b/c");
        assert_eq!(full_topic("non-persistent://a/b/c"), "non-persistent://a/b/c");
    }
}
