//! One Pulsar connection: bytes in as frames, bytes out as they come.
//!
//! **What**  A reader that splits the stream into frames and hands them to the node, a writer that empties the outlet. The
//! node decides everything; it may pause reading, raise the frame limit after the handshake, and close.
//!
//! **States**  on the pool (read and written by its threads) ⇄ on the node's thread (read there, answers written there at once).
//! Strangers, whoever brings or takes much, and everybody while the node is busy are served by the pool. Whoever brings little
//! visits the node's thread, so that a message wakes that thread and the log's and no other.

mod inbound;
mod outbound;

use crate::entrance::Guest;
use crate::load::Load;
use crate::outlet::Outlet;
use crate::shard::{NodeHandle, ShardInput};
use crate::task;
use broker::io::{ConnId, ConnInfo};
use inbound::{Inbound, Turn};
use outbound::Outbound;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

/// How long a peer may take for its last bytes once the connection is to end.
const LAST_BYTES_TIME_MAX: Duration = Duration::from_secs(5);

/// What all connections share.
#[derive(Clone, Debug)]
pub(crate) struct ConnContext {
    pub node: NodeHandle,
    /// The runtime of the node's thread.
    pub thread: Handle,
    pub load: Load,
    pub message_bytes_max: u32,
}

/// Serves a connection to its end.
pub(crate) async fn serve(stream: TcpStream, conn: ConnId, guest: Guest, context: ConnContext) {
    let peer = stream.peer_addr().map_or_else(|_| "unknown".to_owned(), |address| address.to_string());
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, "no TCP_NODELAY: {error}");
    }
    let leave = guest.leave();
    let outlet = Outlet::new(guest);
    let info = ConnInfo { peer: peer.clone(), tls_common_name: None, tls: false };
    let opened = tokio::select! {
        opened = context.node.send(ShardInput::ConnOpened { conn, info, outlet: Arc::clone(&outlet) }) => opened,
        () = leave.notified() => return,
    };
    if opened.is_err() {
        return;
    }
    let mut visit = JoinSet::new();
    let outcome = tokio::select! {
        outcome = carry(stream, conn, &outlet, &context, &mut visit) => outcome,
        outcome = give_up(&outlet) => outcome,
        () = leave.notified() => Err(io::Error::other("too many connections before the handshake, and this is the oldest")),
    };
    outlet.take_back();
    visit.shutdown().await; // Nothing of this connection may follow its end.
    if let Err(error) = outcome {
        tracing::debug!(%peer, "connection ended: {error}");
    }
    // The node is gone only when the process ends.
    let _ = context.node.send(ShardInput::ConnClosed { conn }).await;
}

/// The reader, and the socket unless nothing more comes.
type Visit = (Inbound, io::Result<Option<std::net::TcpStream>>);

/// Carries bytes in both directions until either ends.
async fn carry(
    mut stream: TcpStream,
    conn: ConnId,
    outlet: &Arc<Outlet>,
    context: &ConnContext,
    visit: &mut JoinSet<Visit>,
) -> io::Result<()> {
    let mut inbound = Inbound::new(conn, Arc::clone(outlet), context);
    let mut outbound = Outbound::new(conn, Arc::clone(outlet), context.node.clone());
    loop {
        // Whichever is dropped here goes on where it stopped.
        let turn = tokio::select! {
            turn = inbound.read(&stream) => turn?,
            outcome = outbound.write(&stream) => return outcome,
        };
        if turn == Turn::Ended {
            return Ok(());
        }
        task::join_on(visit, &context.thread, "connection", inbound.read_on_node(stream.into_std()?));
        let Some(Ok((back, left))) = visit.join_next().await else {
            return Err(io::Error::other("the node's thread has ended"));
        };
        let Some(socket) = left? else { return Ok(()) };
        inbound = back;
        stream = TcpStream::from_std(socket)?;
    }
}

/// Ends a connection that is to end and cannot: its writer waits for a peer that takes nothing, its reader for one that
/// sends nothing.
async fn give_up(outlet: &Outlet) -> io::Result<()> {
    outlet.wait_ended().await;
    if !outlet.is_cut() {
        tokio::time::sleep(LAST_BYTES_TIME_MAX).await;
    }
    Err(not_taken())
}

fn not_taken() -> io::Error {
    io::Error::other("the peer does not take what it is sent")
}
