//! The writer of one connection, on the pool.
//!
//! **Invariants**
//! - I1  it may stop at any time and go on later: what it took from the outlet and has not written or told is kept.

use crate::outlet::Outlet;
use crate::shard::{NodeHandle, ShardInput};
use broker::io::{ConnId, Outgoing};
use bytes::{Buf, Bytes, BytesMut};
use rustix::net::Shutdown;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use tokio::net::TcpStream;

/// Answers up to this size are gathered into one piece before they are written.
const GATHER_BYTES_MAX: usize = 1024;
const SLICES_MAX: usize = 64;

/// The outbound half of a connection.
pub(super) struct Outbound {
    conn: ConnId,
    outlet: Arc<Outlet>,
    node: NodeHandle,
    /// I1: taken and not written.
    pieces: VecDeque<Bytes>,
    /// I1: taken, and the node was not told yet that they left.
    untold_bytes: u64,
}

impl Outbound {
    pub(super) fn new(conn: ConnId, outlet: Arc<Outlet>, node: NodeHandle) -> Self {
        Self { conn, outlet, node, pieces: VecDeque::new(), untold_bytes: 0 }
    }

    /// Writes what the outlet holds, until the connection is closed or cut from this side.
    ///
    /// # Errors
    /// Of the socket.
    pub(super) async fn write(&mut self, stream: &TcpStream) -> io::Result<()> {
        loop {
            self.write_pieces(stream).await?;
            if self.untold_bytes > 0 {
                let written = ShardInput::Written { conn: self.conn, bytes: self.untold_bytes };
                if self.node.send(written).await.is_err() {
                    return Ok(());
                }
                self.untold_bytes = 0;
            }
            let closing = self.outlet.is_closing();
            let items = self.outlet.take();
            if !items.is_empty() {
                self.untold_bytes = items.iter().map(|item| item.len() as u64).sum();
                self.pieces = pieces(items);
            } else if closing || self.outlet.is_cut() {
                return Ok(rustix::net::shutdown(stream, Shutdown::Write)?);
            } else {
                self.outlet.wait_filled().await;
            }
        }
    }

    async fn write_pieces(&mut self, stream: &TcpStream) -> io::Result<()> {
        while !self.pieces.is_empty() {
            let slices: Vec<io::IoSlice<'_>> =
                self.pieces.iter().take(SLICES_MAX).map(|piece| io::IoSlice::new(piece)).collect();
            match stream.try_write_vectored(&slices) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => stream.writable().await?,
                Err(error) => return Err(error),
            }
            // A peer that takes everything at once must not keep others from their turns.
            tokio::task::consume_budget().await;
        }
        Ok(())
    }

    fn advance(&mut self, mut written: usize) {
        while written > 0 {
            let Some(front) = self.pieces.front_mut() else { break };
            let step = written.min(front.len());
            front.advance(step);
            written -= step;
            if front.is_empty() {
                self.pieces.pop_front();
            }
        }
    }
}

/// Neighbouring small pieces are gathered, large ones go out as they are.
fn pieces(items: VecDeque<Outgoing>) -> VecDeque<Bytes> {
    let mut pieces: VecDeque<Bytes> = VecDeque::new();
    let mut gathered = BytesMut::new();
    let mut add = |piece: Bytes| {
        if piece.len() <= GATHER_BYTES_MAX {
            gathered.extend_from_slice(&piece);
        } else {
            if !gathered.is_empty() {
                pieces.push_back(gathered.split().freeze());
            }
            pieces.push_back(piece);
        }
    };
    for item in items {
        match item {
            Outgoing::One(piece) => add(piece),
            Outgoing::Two(head, body) => {
                add(head);
                add(body);
            }
        }
    }
    if !gathered.is_empty() {
        pieces.push_back(gathered.freeze());
    }
    pieces
}
