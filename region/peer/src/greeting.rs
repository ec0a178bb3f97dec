//! The first words on a connection, and the rules that they must obey.
//!
//! **What**  The dialler sends an opening: version, lane, session, whom it wants, who it is. The listener answers with its own
//! hello or with a sentence. Both are JSON, so that a later version can add fields. TLS has proved the region before;
//! the number of a node is proved by the cookie of its disk.

use crate::config::Hello;
use crate::frame::Head;
use crate::reader::{FrameReader, ReadEnd};
use crate::socket::TlsSocket;
use base::NodeId;
use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::io;

/// Of the opening and of the frames behind it.
const VERSION: u32 = 1;
/// Largest opening, welcome or refusal, in bytes.
const GREETING_BYTES_MAX: usize = 64 * 1024;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Lane {
    /// Pings and calls.
    Control,
    /// Bookie frames, one way.
    Bulk,
    /// One call of a node that may not have joined.
    Ask,
}

/// The first frame of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Opening {
    pub(crate) version: u32,
    pub(crate) lane: Lane,
    /// Control and bulk of one session belong together.
    pub(crate) session: u64,
    /// Who is believed to listen.
    pub(crate) to: Option<NodeId>,
    /// Whether the dialler would go on in clear once it is welcomed.
    #[serde(default)]
    pub(crate) clear: bool,
    pub(crate) hello: Hello,
}

impl Opening {
    pub(crate) fn new(lane: Lane, session: u64, to: Option<NodeId>, hello: Hello) -> Self {
        Self { version: VERSION, lane, session, to, clear: false, hello }
    }
}

/// What a listener answers to an opening that it accepts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Welcome {
    /// Whether everything else that the dialler says is to come in clear: only if it offered that.
    #[serde(default)]
    pub(crate) clear: bool,
    #[serde(flatten)]
    pub(crate) hello: Hello,
}

/// Writes one frame of a greeting.
///
/// # Errors
/// Those of the socket.
pub(crate) async fn say(socket: &TlsSocket, head: Head, body: Bytes) -> io::Result<()> {
    let mut first = BytesMut::new();
    head.encode(body.len(), &mut first);
    let mut pieces = VecDeque::from([first.freeze(), body]);
    pieces.retain(|piece| !piece.is_empty());
    socket.write(&mut pieces).await
}

/// JSON of an opening or a hello, which always has one.
pub(crate) fn encode(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).unwrap_or_default().into()
}

/// Says a refusal and waits until the other side has gone.
pub(crate) async fn refuse(reader: FrameReader, reason: &str) {
    let reason = Bytes::copy_from_slice(reason.as_bytes());
    if say(reader.socket(), Head::Refused, reason).await.is_ok() {
        reader.socket().say_goodbye();
        reader.drain().await;
    }
}

/// The opening of whoever dialled.
///
/// # Errors
/// [`ReadEnd`].
pub(crate) async fn hear_opening(reader: &mut FrameReader) -> Result<Opening, ReadEnd> {
    match reader.next().await? {
        (Head::Opening, body) if body.len() <= GREETING_BYTES_MAX => parse_opening(&body).map_err(ReadEnd::Garbage),
        _ => Err(ReadEnd::Garbage("a connection begins with an opening".to_owned())),
    }
}

fn parse_opening(body: &Bytes) -> Result<Opening, String> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let damaged = |error: serde_json::Error| format!("the opening cannot be read: {error}");
    let Version { version } = serde_json::from_slice(body).map_err(damaged)?;
    if version != VERSION {
        let text = format!("the other node speaks version {version} between nodes and this one speaks {VERSION}");
        return Err(text + ": run builds that are at most one release apart");
    }
    serde_json::from_slice(body).map_err(damaged)
}

/// What the listener answers: its welcome, or why it refuses.
///
/// # Errors
/// [`ReadEnd`]; a refusal is `Garbage` with the listener's sentence.
pub(crate) async fn hear_welcome(reader: &mut FrameReader) -> Result<Welcome, ReadEnd> {
    match reader.next().await? {
        (Head::Welcome, body) if body.len() <= GREETING_BYTES_MAX => serde_json::from_slice(&body)
            .map_err(|error| ReadEnd::Garbage(format!("the hello of the other node cannot be read: {error}"))),
        (Head::Refused, body) => Err(ReadEnd::Garbage(refusal(&body))),
        _ => Err(ReadEnd::Garbage("the other node does not answer the opening".to_owned())),
    }
}

/// A sentence from the other side.
pub(crate) fn refusal(body: &[u8]) -> String {
    format!("the other node refused: {}", String::from_utf8_lossy(&body[..body.len().min(GREETING_BYTES_MAX)]))
}

/// Whether `other` may be what it says, as seen by `own`; `expected` is the cookie that its number is known by.
pub(crate) fn admit(own: &Hello, other: &Hello, expected: Option<u64>) -> Result<(), String> {
    if own.region != other.region {
        return Err(format!(
            "{} is of region {} and {} of region {}: only nodes of one region connect here; correct [node] founders, or \
             link regions by replicatorUrl",
            name(own),
            own.region,
            name(other),
            other.region
        ));
    }
    let Some(node) = other.node else { return Ok(()) };
    if let Some(expected) = expected
        && expected != other.cookie
    {
        return Err(format!(
            "node {} joined with cookie {expected:016x} and {} shows {:016x}: a number belongs to one disk; start it with \
             the disk of node {}, or with an empty one to join as a new node",
            node.0, other.address, other.cookie, node.0
        ));
    }
    if own.node == Some(node) && own.cookie != other.cookie {
        return Err(format!(
            "{} and {} both call themselves node {}: a number belongs to one disk; empty the disk of the one that did not \
             join with it",
            own.address, other.address, node.0
        ));
    }
    Ok(())
}

/// Whether whoever dialled reached the node that it wanted.
pub(crate) fn check_target(own: &Hello, wanted: Option<NodeId>) -> Result<(), String> {
    match wanted {
        Some(node) if own.node != Some(node) => Err(format!(
            "node {} was dialled and {} answered: correct the address in the record of node {}",
            node.0,
            name(own),
            node.0
        )),
        Some(_) | None => Ok(()),
    }
}

/// A node in words.
fn name(hello: &Hello) -> String {
    match hello.node {
        Some(node) => format!("node {} at {}", node.0, hello.address),
        None => format!("a node at {} that has not joined", hello.address),
    }
}

#[cfg(test)]
mod tests {
    use super::{Lane, Opening, Welcome, admit, check_target, encode, parse_opening};
    use crate::config::Hello;
    use base::{NodeId, RegionName};

    fn hello(region: &str, node: Option<u64>, cookie: u64) -> Hello {
        let region = RegionName::parse(region).unwrap();
        Hello { region, node: node.map(NodeId), incarnation: 1, cookie, address: "10.0.0.1:6650".to_owned() }
    }

    #[test]
    fn an_opening_is_read_as_it_was_written_and_another_version_is_named() {
        let opening = Opening::new(Lane::Bulk, 7, Some(NodeId(2)), hello("eu", Some(1), 5));
        assert_eq!(parse_opening(&encode(&opening)), Ok(opening.clone()));
        let newer = Opening { version: 2, ..opening };
        assert!(parse_opening(&encode(&newer)).unwrap_err().contains("speaks version 2"));
    }

    #[test]
    fn whoever_says_nothing_of_clear_bytes_wants_none() {
        let hello = hello("eu", Some(1), 5);
        let told: Welcome = serde_json::from_slice(&encode(&hello)).unwrap();
        assert_eq!(told, Welcome { clear: false, hello: hello.clone() });
        let opening = Opening { clear: true, ..Opening::new(Lane::Bulk, 7, None, hello.clone()) };
        let mut older = serde_json::to_value(&opening).unwrap();
        older.as_object_mut().unwrap().remove("clear");
        assert_eq!(parse_opening(&older.to_string().into()), Ok(Opening { clear: false, ..opening }));
        // Nor does a word more in a welcome harm who does not know it.
        let known: Hello = serde_json::from_slice(&encode(&Welcome { clear: true, hello: hello.clone() })).unwrap();
        assert_eq!(known, hello);
    }

    #[test]
    fn a_number_is_admitted_only_with_its_cookie_and_in_its_region() {
        let own = hello("eu", Some(1), 10);
        let said = |other: &Hello, expected| admit(&own, other, expected).unwrap_err();
        assert_eq!(admit(&own, &hello("eu", Some(2), 20), Some(20)), Ok(()));
        assert_eq!(admit(&own, &hello("eu", Some(2), 20), None), Ok(()));
        assert_eq!(admit(&own, &hello("eu", None, 0), None), Ok(()));
        assert!(said(&hello("eu", Some(2), 21), Some(20)).contains("node 2 joined with cookie"));
        assert!(said(&hello("us", Some(2), 20), Some(20)).contains("only nodes of one region connect here"));
        assert!(said(&hello("eu", Some(1), 11), None).contains("both call themselves node 1"));
    }

    #[test]
    fn a_node_that_is_not_the_one_dialled_says_so() {
        assert_eq!(check_target(&hello("eu", Some(1), 1), Some(NodeId(1))), Ok(()));
        assert_eq!(check_target(&hello("eu", None, 1), None), Ok(()));
        let reason = check_target(&hello("eu", None, 1), Some(NodeId(3))).unwrap_err();
        assert!(
            reason.contains("node 3 was dialled and a node at 10.0.0.1:6650 that has not joined answered"),
            "{reason}"
        );
    }
}
