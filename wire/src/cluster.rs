//! Frames between the brokers of one region: one node speaks with other regions for all, each says what it serves, and each
//! does for the others what an operator wants of its topics.
//!
//! **What**  The *gateway* is the node that holds the connections to other regions. It tells every node which regions are
//! connected, passes on what comes from them, and sends what the nodes want sent (ADR 0010). A frame is the envelope of
//! `peer`, followed by the region's frame where it carries one, in that frame's own envelope, so that bodies of entries are
//! never copied. The content of an operator's question is an envelope of its own too, because it may be large.
//!
//! **Not here**  Who the gateway is (`node`), what the frames of regions mean (`link`, `broker`), what is asked (`admin`).

use crate::peer::{self, Opened, PeerFrameError, PieceWriter};
use crate::region::{self, RegionFrame};
use base::{EntryData, NamespaceName, RegionName};
use bytes::{Buf, Bytes, BytesMut};

/// Kinds of frames on the wire; numbers are never given twice.
mod kind {
    pub(super) const REGION_UP: u8 = 1;
    pub(super) const REGION_DOWN: u8 = 2;
    pub(super) const OUTBOUND: u8 = 3;
    pub(super) const INBOUND: u8 = 4;
    pub(super) const LOAD: u8 = 5;
    pub(super) const ASK: u8 = 6;
    pub(super) const ANSWER: u8 = 7;
    /// What an operator's question or its answer says.
    pub(super) const CONTENT: u8 = 8;
}

/// Largest head, in bytes: a region's name and a reason, or a list of bundles.
const HEAD_BYTES_MAX: u32 = 64 * 1024;
const FIELDS_GUESS: usize = 64;

/// One frame between a node and its region's gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterFrame {
    /// From the gateway: the region is connected.
    RegionUp { region: RegionName },
    /// From the gateway: the region is not connected any more.
    RegionDown { region: RegionName, reason: String },
    /// To the gateway: send this to another region; frames of one `group` keep their order.
    Outbound { to: RegionName, group: u64, frame: RegionFrame },
    /// From the gateway: this came from another region.
    Inbound { from: RegionName, frame: RegionFrame },
    /// What the node serves, in units of traffic; `read_only`: its bookie has no room.
    Load { units: u64, read_only: bool, bundles: Vec<BundleUnits> },
    /// To the node that serves a topic: an operator wants something of it. `incarnation` is that of the asking process.
    Ask { incarnation: u64, id: u64, content: Bytes },
    /// What became of it, with the numbers of the question.
    Answer { incarnation: u64, id: u64, content: Bytes },
}

/// How much traffic one bundle carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleUnits {
    pub namespace: NamespaceName,
    pub lower: u32,
    pub upper: u32,
    pub units: u64,
}

/// Bundles in one frame, so that its head is no longer than allowed.
const BUNDLES_MAX: usize = 100;

/// Appends a whole frame; the body of an entry is a piece of its own, uncopied.
pub fn encode(frame: &ClusterFrame, out: &mut Vec<Bytes>) {
    let name = |writer: &mut PieceWriter<'_>, region: &RegionName| writer.put_blob(region.as_str().as_bytes());
    match frame {
        ClusterFrame::RegionUp { region } => {
            let mut writer = PieceWriter::new(kind::REGION_UP, FIELDS_GUESS, out);
            name(&mut writer, region);
            writer.finish();
        }
        ClusterFrame::RegionDown { region, reason } => {
            let mut writer = PieceWriter::new(kind::REGION_DOWN, FIELDS_GUESS, out);
            name(&mut writer, region);
            writer.put_blob(reason.as_bytes());
            writer.finish();
        }
        ClusterFrame::Outbound { to, group, frame } => {
            let mut writer = PieceWriter::new(kind::OUTBOUND, FIELDS_GUESS, out);
            name(&mut writer, to);
            writer.put_u64(*group);
            writer.finish();
            region::encode(frame, out);
        }
        ClusterFrame::Inbound { from, frame } => {
            let mut writer = PieceWriter::new(kind::INBOUND, FIELDS_GUESS, out);
            name(&mut writer, from);
            writer.finish();
            region::encode(frame, out);
        }
        ClusterFrame::Load { units, read_only, bundles } => {
            let mut writer = PieceWriter::new(kind::LOAD, FIELDS_GUESS * bundles.len().max(1), out);
            writer.put_u64(*units);
            writer.put_flag(*read_only);
            writer.put_u32(u32::try_from(bundles.len().min(BUNDLES_MAX)).unwrap_or(0));
            for bundle in bundles.iter().take(BUNDLES_MAX) {
                writer.put_blob(bundle.namespace.to_string().as_bytes());
                writer.put_u32(bundle.lower);
                writer.put_u32(bundle.upper);
                writer.put_u64(bundle.units);
            }
            writer.finish();
        }
        ClusterFrame::Ask { incarnation, id, content } => encode_asked(kind::ASK, *incarnation, *id, content, out),
        ClusterFrame::Answer { incarnation, id, content } => {
            encode_asked(kind::ANSWER, *incarnation, *id, content, out)
        }
    }
}

fn encode_asked(kind: u8, incarnation: u64, id: u64, content: &Bytes, out: &mut Vec<Bytes>) {
    let mut writer = PieceWriter::new(kind, FIELDS_GUESS, out);
    writer.put_u64(incarnation);
    writer.put_u64(id);
    writer.finish();
    let mut writer = PieceWriter::new(kind::CONTENT, FIELDS_GUESS, out);
    writer.put_entry(&EntryData::new(Bytes::new(), content.clone()));
    writer.finish();
}

/// Reads one whole frame.
///
/// # Errors
/// [`PeerFrameError`] for damage and for what this build does not know.
pub fn decode(bytes: &Bytes) -> Result<ClusterFrame, PeerFrameError> {
    let (head, mut rest) = split(bytes, HEAD_BYTES_MAX)?;
    let (kind, mut opened) = peer::open(&head)?;
    if kind == kind::LOAD {
        let frame = take_load(&mut opened.fields)?;
        peer::nothing_left(&rest)?;
        return peer::finish(frame, &opened);
    }
    if matches!(kind, kind::ASK | kind::ANSWER) {
        let (incarnation, id) = (opened.fields.try_get_u64()?, opened.fields.try_get_u64()?);
        peer::finish((), &opened)?;
        let content = take_content(&rest)?;
        return Ok(match kind {
            kind::ASK => ClusterFrame::Ask { incarnation, id, content },
            _ => ClusterFrame::Answer { incarnation, id, content },
        });
    }
    let region = RegionName::parse(&peer::take_text(&mut opened.fields)?)?;
    let mut inner = |opened: &Opened| {
        peer::finish((), opened)?;
        let (frame, behind) = split(&std::mem::take(&mut rest), u32::MAX)?;
        peer::nothing_left(&behind)?;
        region::decode(&frame)
    };
    let frame = match kind {
        kind::REGION_UP => ClusterFrame::RegionUp { region },
        kind::REGION_DOWN => ClusterFrame::RegionDown { region, reason: peer::take_text(&mut opened.fields)? },
        kind::OUTBOUND => {
            let group = opened.fields.try_get_u64()?;
            return Ok(ClusterFrame::Outbound { to: region, group, frame: inner(&opened)? });
        }
        kind::INBOUND => return Ok(ClusterFrame::Inbound { from: region, frame: inner(&opened)? }),
        other => return Err(PeerFrameError::UnknownKind(other)),
    };
    peer::nothing_left(&rest)?;
    peer::finish(frame, &opened)
}

/// The envelope behind the head of a question or an answer.
fn take_content(bytes: &Bytes) -> Result<Bytes, PeerFrameError> {
    let (frame, behind) = split(bytes, u32::MAX)?;
    peer::nothing_left(&behind)?;
    let (kind, mut opened) = peer::open(&frame)?;
    if kind != kind::CONTENT {
        return Err(PeerFrameError::UnknownKind(kind));
    }
    let content = peer::take_entry(&mut opened)?;
    peer::nothing_left(&content.head)?;
    peer::finish(content.body, &opened)
}

fn take_load(fields: &mut Bytes) -> Result<ClusterFrame, PeerFrameError> {
    let units = fields.try_get_u64()?;
    let read_only = peer::take_flag(fields)?;
    let count = fields.try_get_u32()?;
    let mut bundles = Vec::new();
    for _ in 0..count {
        // Every one takes bytes, so that a count that lies ends soon.
        let namespace = NamespaceName::parse(&peer::take_text(fields)?)?;
        let (lower, upper) = (fields.try_get_u32()?, fields.try_get_u32()?);
        bundles.push(BundleUnits { namespace, lower, upper, units: fields.try_get_u64()? });
    }
    Ok(ClusterFrame::Load { units, read_only, bundles })
}

/// The first envelope, without its length, and what follows it; both are slices of `bytes`.
fn split(bytes: &Bytes, max: u32) -> Result<(Bytes, Bytes), PeerFrameError> {
    let mut rest = bytes.clone();
    let size = rest.try_get_u32()?;
    if size > max {
        return Err(PeerFrameError::FrameTooLarge { size, max });
    }
    let length = usize::try_from(size).map_err(|_| PeerFrameError::Truncated)?;
    if length > rest.len() {
        return Err(PeerFrameError::Truncated);
    }
    let head = rest.split_to(length);
    Ok((head, rest))
}

/// The whole frame as one piece, for tests and transports that do not gather.
pub fn to_bytes(frame: &ClusterFrame) -> Bytes {
    let mut pieces = Vec::new();
    encode(frame, &mut pieces);
    let mut whole = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
    pieces.iter().for_each(|piece| whole.extend_from_slice(piece));
    whole.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::{LedgerId, Position};

    fn west() -> RegionName {
        RegionName::parse("west").unwrap()
    }

    fn entry() -> RegionFrame {
        let position = Position::new(LedgerId(7), 3);
        let data = EntryData::new(Bytes::from_static(b"head"), Bytes::from_static(b"body"));
        RegionFrame::Entry { link: 5, previous: position.previous(), position, data }
    }

    fn bundle(lower: u32) -> BundleUnits {
        let namespace = NamespaceName::parse("public/default").unwrap();
        BundleUnits { namespace, lower, upper: lower + 1, units: 7 }
    }

    fn all() -> [ClusterFrame; 7] {
        [
            ClusterFrame::RegionUp { region: west() },
            ClusterFrame::RegionDown { region: west(), reason: "the link is cut".to_owned() },
            ClusterFrame::Outbound { to: west(), group: 9, frame: entry() },
            ClusterFrame::Inbound { from: west(), frame: entry() },
            ClusterFrame::Load { units: 70, read_only: true, bundles: vec![bundle(1), bundle(2)] },
            ClusterFrame::Ask { incarnation: 4, id: 8, content: Bytes::from_static(b"{\"topic\":1}") },
            ClusterFrame::Answer { incarnation: 4, id: u64::MAX, content: Bytes::new() },
        ]
    }

    #[test]
    fn what_was_encoded_is_decoded() {
        for frame in all() {
            assert_eq!(decode(&to_bytes(&frame)).as_ref(), Ok(&frame));
        }
    }

    #[test]
    fn a_cut_frame_and_a_flipped_bit_are_refused_everywhere() {
        for frame in all() {
            let whole = to_bytes(&frame);
            for length in 0..whole.len() {
                assert!(decode(&whole.slice(..length)).is_err(), "{frame:?} cut at {length}");
            }
            for place in 0..whole.len() {
                let mut damaged = whole.to_vec();
                damaged[place] ^= 0x10;
                assert!(decode(&damaged.into()).is_err(), "{frame:?} damaged at {place}");
            }
        }
    }

    #[test]
    fn bodies_of_entries_are_not_copied() {
        let ClusterFrame::Inbound { frame: RegionFrame::Entry { data, .. }, .. } = &all()[3] else {
            panic!("no entry")
        };
        let mut pieces = Vec::new();
        encode(&all()[3], &mut pieces);
        assert!(pieces.iter().any(|piece| piece.as_ptr() == data.body.as_ptr()));
    }
}
