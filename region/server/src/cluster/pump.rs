//! What comes from other nodes, decoded and passed to the node thread.

use crate::shard::{NodeHandle, ShardInput};
use base::NodeId;
use bytes::{Buf, Bytes};
use meta::{MetaHandle, Reached};
use peer::{FrameKind, FramePermit, PeerEvent};
use tokio::sync::mpsc;
use wire::PeerFrameError;

/// Bytes of a frame's own length.
const LENGTH_BYTES: usize = 4;

/// Events that wait to be passed on. Frames hold permits of at least 1 KiB each, and the other events are paced by the
/// endpoint: more than these come only from a node thread that hangs.
const EVENTS_MAX: usize = 1 << 18;

/// An event on its way.
pub(crate) enum News {
    Up { node: NodeId, incarnation: u64 },
    Down { node: NodeId, reason: String, refused: bool },
    Input(ShardInput),
}

/// Events on their way.
pub(crate) fn channel() -> (mpsc::Sender<News>, mpsc::Receiver<News>) {
    mpsc::channel(EVENTS_MAX)
}

/// Takes an event of the endpoint, which never waits, and decodes it on the thread that read it.
pub(crate) fn take(events: &mpsc::Sender<News>, event: PeerEvent) {
    let news = match event {
        PeerEvent::Up { node, hello } => News::Up { node, incarnation: hello.incarnation },
        PeerEvent::Down { node, reason, refused } => News::Down { node, reason, refused },
        PeerEvent::Heard { node } => News::Input(ShardInput::PeerHeard { node }),
        PeerEvent::Frame { from, kind, bytes, permit } => match read(from, kind, bytes, permit) {
            Ok(input) => News::Input(input),
            Err(error) => return tracing::warn!("a frame of node {} is dropped: {error}", from.0),
        },
    };
    // A closed channel means that the process is ending.
    if matches!(events.try_send(news), Err(mpsc::error::TrySendError::Full(_))) {
        tracing::warn!("an event of another node is lost: the node thread does not keep up");
    }
}

/// Works as long as the endpoint does; on the node's thread, so that what is read there wakes no other.
pub(crate) async fn pump(mut events: mpsc::Receiver<News>, node: NodeHandle, meta: MetaHandle) {
    let mut reached = Reached::default();
    while let Some(event) = events.recv().await {
        let input = match event {
            News::Up { node, incarnation } => {
                tracing::info!("node {} is connected", node.0);
                reached.here.insert(node);
                reached.gone.remove(&node);
                meta.set_reached(reached.clone());
                ShardInput::PeerUp { node, incarnation }
            }
            News::Down { node, reason, refused } => {
                tracing::info!("node {} is disconnected: {reason}", node.0);
                reached.here.remove(&node);
                if refused {
                    reached.gone.insert(node);
                }
                meta.set_reached(reached.clone());
                ShardInput::PeerDown { node, refused }
            }
            News::Input(input) => input,
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
