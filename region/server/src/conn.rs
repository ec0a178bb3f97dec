//! One Pulsar connection: bytes in as frames, bytes out as they come.
//!
//! **What**  A reader that splits the stream into frames and hands them to the node, a writer that empties the outlet. The
//! node decides everything; it may pause reading, raise the frame limit after the handshake, and close.

use crate::entrance::Guest;
use crate::outlet::Outlet;
use crate::shard::{NodeHandle, ShardInput};
use broker::io::{ConnId, ConnInfo, Outgoing};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use wire::frame::{FrameLimits, FrameSplitter, RawFrame};

/// Bytes asked of the socket at once, when no frame has begun.
const READ_BYTES: usize = 256 * 1024;
const READ_BYTES_MIN: usize = 16 * 1024;
/// The same behind a frame of at least [`LARGE_BYTES`]: another one probably follows, and only its beginning is copied to
/// where it will lie alone.
const READ_BYTES_LARGE: usize = 4 * 1024;
const LARGE_BYTES: usize = 32 * 1024;
/// Frames handed to the node together.
const FRAMES_MAX: usize = 256;
/// A command's payload up to this size is copied out of the read buffer, so that small messages that stay in memory do not
/// keep whole buffers alive.
const COPY_BYTES_MAX: usize = 8 * 1024;
/// Answers up to this size are gathered into one piece before they are written.
const GATHER_BYTES_MAX: usize = 1024;
const SLICES_MAX: usize = 64;
/// How long a peer may take for its last bytes once the connection is to end.
const LAST_BYTES_TIME_MAX: Duration = Duration::from_secs(5);

/// Serves a connection to its end.
pub(crate) async fn serve(stream: TcpStream, conn: ConnId, node: NodeHandle, guest: Guest, message_bytes_max: u32) {
    let peer = stream.peer_addr().map_or_else(|_| "unknown".to_owned(), |address| address.to_string());
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, "no TCP_NODELAY: {error}");
    }
    let leave = guest.leave();
    let outlet = Outlet::new(guest);
    let info = ConnInfo { peer: peer.clone(), tls_common_name: None, tls: false };
    let opened = tokio::select! {
        opened = node.send(ShardInput::ConnOpened { conn, info, outlet: Arc::clone(&outlet) }) => opened,
        () = leave.notified() => return,
    };
    if opened.is_err() {
        return;
    }
    let (reader, writer) = stream.into_split();
    let outcome = tokio::select! {
        outcome = read_frames(reader, conn, &node, &outlet, message_bytes_max) => outcome,
        outcome = write_outlet(writer, conn, &node, &outlet) => outcome,
        outcome = give_up(&outlet) => outcome,
        () = leave.notified() => Err(io::Error::other("too many connections before the handshake, and this is the oldest")),
    };
    if let Err(error) = outcome {
        tracing::debug!(%peer, "connection ended: {error}");
    }
    // The node is gone only when the process ends.
    let _ = node.send(ShardInput::ConnClosed { conn }).await;
}

async fn read_frames(
    reader: OwnedReadHalf,
    conn: ConnId,
    node: &NodeHandle,
    outlet: &Outlet,
    message_bytes_max: u32,
) -> io::Result<()> {
    let mut splitter = FrameSplitter::new(FrameLimits::HANDSHAKE);
    let mut raised = false;
    let mut buffer = BytesMut::new();
    let mut want = READ_BYTES_MIN;
    loop {
        while outlet.is_paused() && !outlet.is_closing() && !outlet.is_cut() {
            outlet.wait_resumed().await;
        }
        if outlet.is_cut() || outlet.is_closing() {
            return linger(outlet).await;
        }
        let room = buffer.capacity() - buffer.len();
        // The splitter has made room for a frame that has begun.
        if room == 0 || (buffer.is_empty() && room < want / 2) {
            buffer.reserve(want);
        }
        let read = match reader.try_read_buf(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if buffer.is_empty() {
                    buffer = BytesMut::new(); // Whoever is silent holds no memory.
                }
                reader.readable().await?;
                continue;
            }
            Err(error) => return Err(error),
        };
        want = if read >= want / 2 { (want * 2).clamp(READ_BYTES_MIN, READ_BYTES) } else { want };
        if !raised && outlet.is_authenticated() {
            splitter.set_limits(FrameLimits::connected(message_bytes_max));
            raised = true;
        }
        loop {
            let mut frames = Vec::new();
            let bad = split(&mut splitter, &mut buffer, &mut frames);
            let more = frames.len() == FRAMES_MAX;
            if frames.last().and_then(|frame| frame.payload.as_ref()).is_some_and(|body| body.len() >= LARGE_BYTES) {
                want = READ_BYTES_LARGE;
            }
            if !frames.is_empty() && node.send(ShardInput::Frames { conn, frames }).await.is_err() {
                return Ok(());
            }
            if let Some(reason) = bad {
                let _ = node.send(ShardInput::Garbage { conn, reason }).await;
                return linger(outlet).await;
            }
            if !more {
                break;
            }
        }
    }
}

fn split(splitter: &mut FrameSplitter, buffer: &mut BytesMut, frames: &mut Vec<RawFrame>) -> Option<String> {
    while frames.len() < FRAMES_MAX {
        match splitter.next(buffer) {
            Ok(Some(frame)) => frames.push(detach(frame)),
            Ok(None) => return None,
            Err(error) => return Some(error.to_string()),
        }
    }
    None
}

fn detach(frame: RawFrame) -> RawFrame {
    match &frame.payload {
        Some(payload) if payload.len() <= COPY_BYTES_MAX => {
            let payload = Some(Bytes::copy_from_slice(payload));
            RawFrame { payload, ..frame }
        }
        _ => frame,
    }
}

/// Reads no more; the writer ends the connection when it has written what waits.
async fn linger(outlet: &Outlet) -> io::Result<()> {
    if outlet.is_cut() {
        return Err(not_taken());
    }
    std::future::pending().await
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

async fn write_outlet(mut writer: OwnedWriteHalf, conn: ConnId, node: &NodeHandle, outlet: &Outlet) -> io::Result<()> {
    loop {
        let closing = outlet.is_closing();
        let items = outlet.take();
        if items.is_empty() {
            if closing || outlet.is_cut() {
                return writer.shutdown().await;
            }
            outlet.wait_filled().await;
            continue;
        }
        let bytes: u64 = items.iter().map(|item| item.len() as u64).sum();
        write_all(&mut writer, items).await?;
        if node.send(ShardInput::Written { conn, bytes }).await.is_err() {
            return Ok(());
        }
    }
}

/// Writes everything: neighbouring small pieces are gathered, large ones go out as they are.
async fn write_all(writer: &mut OwnedWriteHalf, items: VecDeque<Outgoing>) -> io::Result<()> {
    let mut pieces: VecDeque<Bytes> = VecDeque::new();
    let mut gathered = BytesMut::new();
    let mut add = |piece: Bytes, pieces: &mut VecDeque<Bytes>| {
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
            Outgoing::One(piece) => add(piece, &mut pieces),
            Outgoing::Two(head, body) => {
                add(head, &mut pieces);
                add(body, &mut pieces);
            }
        }
    }
    if !gathered.is_empty() {
        pieces.push_back(gathered.freeze());
    }
    while !pieces.is_empty() {
        let slices: Vec<io::IoSlice<'_>> =
            pieces.iter().take(SLICES_MAX).map(|piece| io::IoSlice::new(piece)).collect();
        let mut written = writer.write_vectored(&slices).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        while written > 0 {
            let Some(front) = pieces.front_mut() else { break };
            let step = written.min(front.len());
            bytes::Buf::advance(front, step);
            written -= step;
            if front.is_empty() {
                pieces.pop_front();
            }
        }
    }
    Ok(())
}
