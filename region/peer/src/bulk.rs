//! The frames of one connection that another node dialled, handed to the owner.
//!
//! **States**  read by a task of the endpoint ⇄ read on the owner's thread, while it brings little and the owner is not busy.
//!
//! **Invariants**
//! - I1  whoever reads holds the lane's turn, wherever it reads: frames of an older connection never come after those of a
//!   newer one (Face I2).

use crate::event::PeerEvent;
use crate::face::Face;
use crate::frame::Head;
use crate::greeting::refusal;
use crate::reader::{FrameReader, ReadEnd};
use crate::shared::Shared;
use base::{Flow, NodeId};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::OwnedMutexGuard;
use tokio::task::JoinSet;

/// See the module.
pub(crate) struct Bulk {
    shared: Arc<Shared>,
    node: NodeId,
    face: Arc<Face>,
    reader: FrameReader,
    flow: Flow,
    #[expect(dead_code, reason = "I1: holding it is its use")]
    turn: OwnedMutexGuard<()>,
}

/// Why reading stopped.
enum Stop {
    /// It is to go on at the other place.
    Elsewhere,
    /// The connection is over.
    Ended,
    /// This side ends it, with a sentence.
    Refused(String),
}

impl Bulk {
    pub(crate) fn new(
        shared: Arc<Shared>,
        node: NodeId,
        face: Arc<Face>,
        reader: FrameReader,
        turn: OwnedMutexGuard<()>,
    ) -> Self {
        Self { shared, node, face, reader, flow: Flow::default(), turn }
    }

    /// Reads until the connection ends; a sentence when this side ends it, and the way to say it.
    pub(crate) async fn serve(mut self) -> Option<(FrameReader, String)> {
        let mut visit = JoinSet::new();
        loop {
            match self.read(false).await {
                Stop::Elsewhere => (),
                Stop::Ended => return None,
                Stop::Refused(reason) => return Some((self.reader, reason)),
            }
            let shared = Arc::clone(&self.shared);
            let near = shared.near.get()?;
            visit.spawn_on(self.visit(), &near.thread);
            // If the owner's thread ends the reader goes with it, and the dialler comes again.
            let (back, stop) = visit.join_next().await?.ok()?.ok()?;
            self = back.move_here().ok()?;
            match stop {
                Stop::Elsewhere => (),
                Stop::Ended => return None,
                Stop::Refused(reason) => return Some((self.reader, reason)),
            }
        }
    }

    /// Reads on the owner's thread.
    async fn visit(self) -> io::Result<(Self, Stop)> {
        let mut here = self.move_here()?;
        let stop = here.read(true).await;
        Ok((here, stop))
    }

    fn move_here(self) -> io::Result<Self> {
        Ok(Self { reader: self.reader.move_here()?, ..self })
    }

    async fn read(&mut self, is_near: bool) -> Stop {
        loop {
            match self.reader.next().await {
                Ok((Head::Data(kind), bytes)) => {
                    self.face.received_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    self.shared.heard(self.node, &self.face);
                    self.flow.note(bytes.len());
                    // The owner has to let go of enough others first. The budget is never closed.
                    let Some(permit) = self.face.bulk.wait(bytes.len()).await else { return Stop::Ended };
                    self.shared.emit(PeerEvent::Frame { from: self.node, kind, bytes, permit });
                }
                Ok((Head::Refused, body)) => {
                    // The dialler left with a sentence: this node's log has it too.
                    tracing::warn!(node = self.node.0, reason = refusal(&body), "peer: node left");
                    return Stop::Ended;
                }
                Ok(_) => return Stop::Refused("only frames belong on bulk".to_owned()),
                Err(ReadEnd::Garbage(reason)) => return Stop::Refused(reason),
                Err(ReadEnd::Closed | ReadEnd::Socket(_)) => return Stop::Ended,
            }
            if self.is_to_move(is_near) {
                return Stop::Elsewhere;
            }
        }
    }

    fn is_to_move(&self, is_near: bool) -> bool {
        let Some(near) = self.shared.near.get() else { return false };
        if is_near { self.flow.is_much() || !near.has_time() } else { self.flow.is_little() && near.has_time() }
    }
}
