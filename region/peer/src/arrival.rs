//! One connection that another node dialled.
//!
//! **States**  stranger (TLS and opening, bounded in number and time), then by its lane: control, bulk, ask.
//!
//! **What**  Pings are answered, calls are handed to the answerer, frames to the owner with a permit. A newer session of the
//! same node ends the older one before its first frame is handed out.

use crate::bulk::Bulk;
use crate::config::Hello;
use crate::dial::explain;
use crate::event::CallError;
use crate::face::Face;
use crate::frame::Head;
use crate::greeting::{self, Lane, Opening, Welcome, encode, refusal};
use crate::outbox::Outbox;
use crate::reader::{FrameReader, ReadEnd};
use crate::session::End;
use crate::shared::Shared;
use crate::socket::TlsSocket;
use base::NodeId;
use bytes::Bytes;
use rustls::server::UnbufferedServerConnection;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;

/// What a listener asks the system for at once.
const STAGING_BYTES: usize = 256 * 1024;
/// A control connection without pings for this many times `silence_max` is forgotten.
const SILENCES_MAX: u32 = 3;
/// How long one call of a node without a number may take.
const ASK_TIME_MAX: Duration = Duration::from_secs(60);

/// A connection whose opening was accepted.
struct Admitted {
    reader: FrameReader,
    opening: Opening,
    from: SocketAddr,
}

/// Serves a connection to its end. `stranger` is its place among those that are not known yet.
pub(crate) async fn serve(shared: Arc<Shared>, tcp: TcpStream, from: SocketAddr, stranger: OwnedSemaphorePermit) {
    let limit = shared.limits.handshake_timeout;
    let admitted = match tokio::time::timeout(limit, admit(&shared, tcp, from)).await {
        Ok(Ok(admitted)) => admitted,
        Ok(Err((reason, reader))) => {
            shared.complain(from, &reason);
            if let Some(reader) = reader {
                // It stays a stranger, and has as much time again to read why.
                let _ = tokio::time::timeout(limit, greeting::refuse(reader, &reason)).await;
            }
            return;
        }
        Err(_) => return shared.complain(from, "it did not say who it is in time"),
    };
    drop(stranger);
    match (admitted.opening.lane, admitted.opening.hello.node) {
        (Lane::Ask, _) => answer_one(&shared, admitted).await,
        (Lane::Control, Some(node)) => control(&shared, node, admitted).await,
        (Lane::Bulk, Some(node)) => bulk(&shared, node, admitted).await,
        (Lane::Control | Lane::Bulk, None) => {
            let reason = "a node that has not joined may only ask: it needs a number first";
            turn_away(&shared, admitted.reader, from, reason).await;
        }
    }
}

/// TLS and opening. A refusal comes with the way to say it, if there is one.
async fn admit(shared: &Shared, tcp: TcpStream, from: SocketAddr) -> Result<Admitted, (String, Option<FrameReader>)> {
    let session = UnbufferedServerConnection::new(Arc::clone(&shared.server))
        .map_err(|error| (format!("TLS cannot begin: {error}"), None))?;
    let socket = TlsSocket::open(tcp, End::Server(Box::new(session)), STAGING_BYTES).await;
    let socket = socket.map_err(|error| (explain(&error, shared), None))?;
    let mut reader = FrameReader::new(socket, shared.limits.frame_bytes_max);
    let opening = match greeting::hear_opening(&mut reader).await {
        Ok(opening) => opening,
        Err(ReadEnd::Garbage(reason)) => return Err((reason, Some(reader))),
        Err(ReadEnd::Socket(error)) => return Err((explain(&error, shared), None)),
        Err(ReadEnd::Closed) => return Err(("it left before it said who it is".to_owned(), None)),
    };
    let checked = shared.admit(&opening.hello);
    match checked.and_then(|()| greeting::check_target(&shared.hello(), opening.to)) {
        Ok(()) => Ok(Admitted { reader, opening, from }),
        Err(reason) => Err((reason, Some(reader))),
    }
}

/// Refuses a connection with a sentence, in this node's log too.
async fn turn_away(shared: &Shared, reader: FrameReader, from: SocketAddr, reason: &str) {
    shared.complain(from, reason);
    let refusing = greeting::refuse(reader, reason);
    let _ = tokio::time::timeout(shared.limits.handshake_timeout, refusing).await;
}

async fn welcome(shared: &Shared, reader: &FrameReader, clear: bool) -> bool {
    let welcome = Welcome { clear, hello: Hello::clone(&shared.hello()) };
    greeting::say(reader.socket(), Head::Welcome, encode(&welcome)).await.is_ok()
}

/// A control connection of a node with a number.
struct Arrival<'a> {
    shared: &'a Arc<Shared>,
    node: NodeId,
    face: Arc<Face>,
}

async fn control(shared: &Arc<Shared>, node: NodeId, admitted: Admitted) {
    let Admitted { mut reader, opening, from } = admitted;
    let Some(face) = shared.face(node) else {
        return turn_away(shared, reader, from, "this node knows too many others: nodes_max is reached").await;
    };
    let order = (opening.hello.incarnation, opening.session);
    let Some(mut stop) = face.arrive(order, opening.hello.cookie, &opening.hello.address) else {
        let reason = format!("node {} has a newer connection here: this one, or its process, is an old one", node.0);
        return turn_away(shared, reader, from, &reason).await;
    };
    let arrival = Arrival { shared, node, face };
    let reason = tokio::select! {
        reason = arrival.serve_control(&mut reader) => reason,
        _ = stop.changed() => Some(format!("node {} opened a newer connection, or may no longer be here", node.0)),
    };
    arrival.face.leave(order);
    if let Some(reason) = reason {
        turn_away(shared, reader, from, &reason).await;
    }
}

async fn bulk(shared: &Arc<Shared>, node: NodeId, admitted: Admitted) {
    let Admitted { reader, opening, from } = admitted;
    let order = (opening.hello.incarnation, opening.session);
    let found = shared.face(node).and_then(|face| face.join(order).map(|stop| (face, stop)));
    let Some((face, mut stop)) = found else {
        return turn_away(shared, reader, from, "its control connection is gone: open a new session").await;
    };
    let clear = opening.clear && !shared.encrypt_bulk;
    let refused = tokio::select! {
        refused = serve_bulk(shared, node, &face, reader, clear) => refused,
        // The dialler sees the end of control, which says why.
        _ = stop.changed() => None,
    };
    // Both or none: the dialler opens a new session.
    face.leave(order);
    if let Some((reader, reason)) = refused {
        turn_away(shared, reader, from, &reason).await;
    }
}

/// Reads until the connection ends; a sentence when this side ends it, and the way to say it. `clear`: it goes on so.
async fn serve_bulk(
    shared: &Arc<Shared>,
    node: NodeId,
    face: &Arc<Face>,
    mut reader: FrameReader,
    clear: bool,
) -> Option<(FrameReader, String)> {
    let turn = face.bulk.turn().await; // Face I2
    if clear && !reader.read_in_clear() {
        return Some((reader, "it sent more before it was welcomed".to_owned()));
    }
    if !welcome(shared, &reader, clear).await {
        return None;
    }
    Bulk::new(Arc::clone(shared), node, Arc::clone(face), reader, turn).serve().await
}

impl Arrival<'_> {
    /// Reads and answers until the connection ends; a sentence when this side ends it.
    async fn serve_control(&self, reader: &mut FrameReader) -> Option<String> {
        let _turn = self.face.control.turn().await; // I2
        if !welcome(self.shared, reader, false).await {
            return None;
        }
        let outbox = Arc::new(Outbox::new(self.shared.limits.queue_bytes_max, Arc::clone(&self.face.sent_bytes)));
        let socket = Arc::clone(reader.socket());
        tokio::select! {
            reason = self.read_control(reader, &outbox) => reason,
            _ = outbox.write_to(&socket) => None,
        }
    }

    async fn read_control(&self, reader: &mut FrameReader, outbox: &Arc<Outbox>) -> Option<String> {
        let limits = &self.shared.limits;
        let mut answers = JoinSet::new();
        loop {
            let next = tokio::time::timeout(limits.silence_max * SILENCES_MAX, reader.next());
            let (head, body) = match next.await {
                Ok(Ok(frame)) => frame,
                Ok(Err(ReadEnd::Garbage(reason))) => return Some(reason),
                Ok(Err(ReadEnd::Closed | ReadEnd::Socket(_))) => return None,
                Err(_) => return Some(format!("node {} sends no pings", self.node.0)),
            };
            self.face.received_bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
            self.shared.heard(self.node, &self.face);
            match head {
                // When there is no room for it, answers are on their way, and they say as much.
                Head::Ping(number) => drop(outbox.push(Head::Pong(number), Bytes::new().into())),
                Head::Call(id) => {
                    while answers.try_join_next().is_some() {}
                    let room = answers.len() < limits.answers_max;
                    match room.then(|| self.face.control.take(body.len())).flatten() {
                        Some(permit) => {
                            let (shared, outbox) = (Arc::clone(self.shared), Arc::clone(outbox));
                            let from = Some(self.node);
                            answers.spawn(async move {
                                let (head, answer) = answer(&shared, from, id, body).await;
                                drop(permit);
                                outbox.push_when_room(head, answer.into()).await;
                            });
                        }
                        None => {
                            let busy = Bytes::from_static(b"too many calls are being answered: come again");
                            let _ = outbox.push(Head::Failed(id), busy.into());
                        }
                    }
                }
                Head::Refused => return self.dismissed(&body),
                Head::Data(_) | Head::Opening | Head::Welcome | Head::Pong(_) | Head::Answer(_) | Head::Failed(_) => {
                    return Some("this frame does not belong on a connection that its sender dialled".to_owned());
                }
            }
        }
    }

    /// The dialler left with a sentence: this node's log has it too.
    fn dismissed(&self, body: &[u8]) -> Option<String> {
        tracing::warn!(node = self.node.0, reason = refusal(body), "peer: node left");
        None
    }
}

/// Answers the one call of a node that may have no number.
async fn answer_one(shared: &Shared, admitted: Admitted) {
    let Admitted { mut reader, opening, from } = admitted;
    let Ok(_place) = Arc::clone(&shared.askers).try_acquire_owned() else {
        return turn_away(shared, reader, from, "too many nodes are asking: come again").await;
    };
    let asked = async {
        if !welcome(shared, &reader, false).await {
            return;
        }
        if let Ok((Head::Call(id), body)) = reader.next().await {
            let (head, answer) = answer(shared, opening.hello.node, id, body).await;
            if greeting::say(reader.socket(), head, answer).await.is_ok() {
                reader.socket().say_goodbye();
                reader.drain().await;
            }
        }
    };
    // Whoever asked has its own deadline and tells it to its owner.
    let _ = tokio::time::timeout(ASK_TIME_MAX, asked).await;
}

/// What the answerer says, within the bound of frames.
async fn answer(shared: &Shared, from: Option<NodeId>, id: u64, bytes: Bytes) -> (Head, Bytes) {
    let max = shared.limits.frame_bytes_max;
    match shared.answerer.answer(from, bytes).await {
        Ok(answer) if answer.len() <= max as usize => (Head::Answer(id), answer),
        Ok(answer) => (Head::Failed(id), CallError::TooLarge { size: answer.len(), max }.to_string().into()),
        Err(mut reason) => {
            reason.truncate(reason.floor_char_boundary(max as usize));
            (Head::Failed(id), reason.into())
        }
    }
}
