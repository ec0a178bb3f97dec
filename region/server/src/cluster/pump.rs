//! What comes from other nodes, decoded and passed to the node thread.

use crate::shard::{NodeHandle, ShardInput};
use base::NodeId;
use bytes::{Buf, Bytes};
use meta::MetaHandle;
use peer::{FrameKind, FramePermit, PeerEvent};
use std::collections::BTreeSet;
use tokio::sync::mpsc;
use wire::PeerFrameError;

/// Bytes of a frame's own length.
const LENGTH_BYTES: usize = 4;

/// Events that wait to be passed on. Frames hold permits of at least 1 KiB each, and the other events are paced by the
/// endpoint: more than these come only from a node thread that hangs.
const EVENTS_MAX: usize = 1 << 18;

/// Events on their way.
pub(crate) fn channel() -> (mpsc::Sender<PeerEvent>, mpsc::Receiver<PeerEvent>) {
    mpsc::channel(EVENTS_MAX)
}

/// Takes an event of the endpoint, which never waits.
pub(crate) fn take(events: &mpsc::Sender<PeerEvent>, event: PeerEvent) {
    if events.try_send(event).is_err() {
        tracing::warn!("an event of another node is lost: the node thread does not keep up");
    }
}

/// Works as long as the endpoint does.
pub(crate) async fn pump(mut events: mpsc::Receiver<PeerEvent>, node: NodeHandle, meta: MetaHandle) {
    let mut reached = BTreeSet::new();
    while let Some(event) = events.recv().await {
        let input = match event {
            PeerEvent::Up { node, hello } => {
                tracing::info!("node {} is connected", node.0);
                reached.insert(node);
                meta.set_reached(reached.clone());
                ShardInput::PeerUp { node, incarnation: hello.incarnation }
            }
            PeerEvent::Down { node, reason, refused } => {
                tracing::info!("node {} is disconnected: {reason}", node.0);
                reached.remove(&node);
                meta.set_reached(reached.clone());
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
    let inner = |bytes: &mut Bytes| bytes.advance(bytes.len().min(LENGTH_BYTES));
    Ok(match kind {
        FrameKind::BookieRequest => {
            inner(&mut bytes);
            ShardInput::PeerRequest { from, request: wire::bookie::decode_request(&bytes)?, permit }
        }
        FrameKind::BookieResponse => {
            inner(&mut bytes);
            ShardInput::PeerResponse { from, response: wire::bookie::decode_response(&bytes)?, permit }
        }
        FrameKind::Cluster => ShardInput::ClusterFrame { from, frame: wire::cluster::decode(&bytes)?, permit },
    })
}

/// Tells the node thread who leads the metadata, as long as the store runs.
pub(crate) async fn leadership(meta: MetaHandle, node: NodeHandle) {
    let mut leadership = meta.leadership();
    loop {
        let known = *leadership.borrow_and_update();
        if known.apart {
            tracing::warn!("no majority of the region's voters is within reach: topics are left to the other nodes");
        }
        if node.send(ShardInput::Leadership(known)).await.is_err() || leadership.changed().await.is_err() {
            return;
        }
    }
}
