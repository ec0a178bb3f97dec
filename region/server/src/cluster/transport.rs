//! Metadata messages over the connections between nodes.

use super::calls::encode_meta;
use base::NodeId;
use meta::{PeerError, PeerFuture, PeerRequest, PeerResponse, PeerTransport};
use peer::{CallError, PeerEndpoint};
use std::sync::Arc;
use std::time::Duration;

/// Longest wait for the answer to one message; a chunk of a snapshot included.
const ANSWER_MAX: Duration = Duration::from_secs(6);

/// Carries messages of the metadata store.
pub(crate) struct MetaTransport(pub(crate) Arc<PeerEndpoint>);

impl PeerTransport for MetaTransport {
    fn exchange(&self, to: NodeId, request: PeerRequest) -> PeerFuture<'_> {
        Box::pin(async move {
            let call = request.encode().map_err(|error| PeerError::not_sent(to, error.to_string()))?;
            let answer = self.0.call(to, encode_meta(&call), ANSWER_MAX).await.map_err(|error| match error {
                CallError::Down | CallError::Full | CallError::TooLarge { .. } => {
                    PeerError::not_sent(to, error.to_string())
                }
                _ => PeerError::unanswered(to, error.to_string()),
            })?;
            PeerResponse::decode(&answer).map_err(|error| PeerError::unanswered(to, error.to_string()))
        })
    }
}
