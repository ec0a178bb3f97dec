//! What comes from other nodes, decoded and passed to the node thread.

use crate::shard::{NodeHandle, ShardInput};
use base::NodeId;
use bytes::{Buf, Bytes};
use peer::{FrameKind, FramePermit, PeerEvent};
use tokio::sync::mpsc;
use wire::PeerFrameError;

/// Bytes of a frame's own length.
const LENGTH_BYTES: usize = 4;

/// Events on their way. Frames hold permits of at least 1 KiB each, and the other events are paced by the endpoint, so
/// the queue needs no bound of its own.
pub(crate) fn channel() -> (mpsc::UnboundedSender<PeerEvent>, mpsc::UnboundedReceiver<PeerEvent>) {
    mpsc::unbounded_channel()
}

/// Works as long as the endpoint does.
pub(crate) async fn pump(mut events: mpsc::UnboundedReceiver<PeerEvent>, node: NodeHandle) {
    while let Some(event) = events.recv().await {
        let input = match event {
            PeerEvent::Up { node, hello } => {
                tracing::info!("node {} is connected", node.0);
                ShardInput::PeerUp { node, incarnation: hello.incarnation }
            }
            PeerEvent::Down { node, reason, refused } => {
                tracing::info!("node {} is disconnected: {reason}", node.0);
                ShardInput::PeerDown { node, refused }
            }
            PeerEvent::Heard { node } => ShardInput::PeerHeard { node },
            PeerEvent::Frame { from, kind, bytes, permit } => match read(from, kind, bytes, permit) {
                Ok(input) => input,
                Err(error) => {
                    tracing::warn!("a frame of node {} is dropped: {error}", from.0);
                    continue;
                }
            },
        };
        if node.send(input).await.is_err() {
            return;
        }
    }
}

fn read(from: NodeId, kind: FrameKind, mut bytes: Bytes, permit: FramePermit) -> Result<ShardInput, PeerFrameError> {
    let mut inner = |bytes: &mut Bytes| bytes.advance(bytes.len().min(LENGTH_BYTES));
    Ok(match kind {
        FrameKind::BookieRequest => {
            inner(&mut bytes);
            ShardInput::PeerRequest { from, request: wire::bookie::decode_request(&bytes)?, permit }
        }
        FrameKind::BookieResponse => {
            inner(&mut bytes);
            ShardInput::PeerResponse { from, response: wire::bookie::decode_response(&bytes)?, permit }
        }
        FrameKind::Region => ShardInput::ClusterFrame { from, frame: wire::cluster::decode(&bytes)?, permit },
    })
}
