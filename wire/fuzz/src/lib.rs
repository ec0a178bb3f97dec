//! What must hold for any bytes: the checks behind the fuzz targets.
//!
//! **What**  One function per target; each panics when a promise of `wire` breaks. `wire/tests/corpus.rs` runs the same
//! functions over the corpus and over damaged golden bytes, without cargo-fuzz.

use bytes::{BufMut, Bytes, BytesMut};
use wire::frame::{FrameError, FrameLimits, FrameSplitter, RawFrame, decode_command, encode_command};
use wire::payload::{
    BatchView, Checksum, PayloadError, PayloadHints, PayloadView, ensure_checksum, key_hash, sticky_key_slot,
    verify_checksum,
};
use wire::pulsar::MessageMetadata;
use wire::{FieldError, PeerFrameError, bookie, region};

/// The largest frame that the checks let through, in bytes.
const FRAME_MAX: u32 = 64 * 1024 * 1024;

/// The first byte sets the length of the chunks, the rest is the stream.
pub fn frame_splitter(data: &[u8]) {
    let Some((chunk, stream)) = data.split_first() else { return };
    let whole = split_frames(stream, stream.len().max(1));
    let chunked = split_frames(stream, usize::from(*chunk) + 1);
    assert_eq!(whole, chunked, "frame I2: chunks change nothing");
}

/// All frames of a stream that arrives in chunks, and the error that ended it.
fn split_frames(stream: &[u8], chunk: usize) -> (Vec<RawFrame>, Option<FrameError>) {
    let limits = FrameLimits { frame_max: FRAME_MAX, command_max: 4096 };
    let mut splitter = FrameSplitter::new(limits);
    let mut frames = Vec::new();
    let mut consumed = 0;
    let error = feed(stream, chunk, |buf| {
        while let Some(frame) = splitter.next(buf)? {
            assert!(frame.command.len() <= 4096, "frame I1: no command above its limit");
            consumed += 8 + frame.command.len() + frame.payload.as_ref().map_or(0, Bytes::len);
            frames.push(frame);
        }
        Ok(())
    });
    assert!(consumed <= stream.len(), "frames hold no bytes that never arrived");
    (frames, error)
}

/// Gives a stream to a reader chunk by chunk, and looks after the memory.
fn feed<E>(stream: &[u8], chunk: usize, mut read: impl FnMut(&mut BytesMut) -> Result<(), E>) -> Option<E> {
    let mut buf = BytesMut::new();
    for chunk in stream.chunks(chunk) {
        buf.extend_from_slice(chunk);
        if let Err(error) = read(&mut buf) {
            return Some(error);
        }
        assert!(
            buf.capacity() <= 4 * stream.len() + 512 * 1024,
            "wire I2: {} bytes of memory for {} bytes that arrived",
            buf.capacity(),
            stream.len()
        );
    }
    None
}

/// A command that decodes must survive being encoded and decoded again.
pub fn base_command(data: &[u8]) {
    if let Ok(command) = decode_command(&Bytes::copy_from_slice(data)) {
        let once = encode_command(&command).slice(8..);
        let again = decode_command(&once).expect("wire I3: our own command decodes");
        // Compared as bytes: a command may hold a float that is not a number.
        assert_eq!(encode_command(&again).slice(8..), once, "wire I3: a command survives encoding");
    }
}

/// The two readers of a body must agree, and its batch must stay within it.
pub fn payload_view(data: &[u8]) {
    let body = Bytes::copy_from_slice(data);
    let checksum = verify_checksum(&body);
    if checksum == Ok(Checksum::Absent) {
        let with = ensure_checksum(&body).expect("a body without checksum takes one");
        assert_eq!(verify_checksum(&with), Ok(Checksum::Valid));
    }
    let hints = PayloadHints::scan(&body);
    if let Ok(hints) = &hints {
        let hash = key_hash(hints);
        assert!(hash < 1 << 31 && sticky_key_slot(hash) != 0, "keys fall into slots 1 to 65,535");
        assert!((1..=10_000).contains(&hints.num_messages), "hints I2: the count of messages is bounded");
    }
    if let Ok(view) = PayloadView::parse(&body) {
        assert!(checksum.is_ok());
        match hints {
            Ok(hints) => compare(&hints, &view.metadata, &view.payload),
            Err(error) => assert!(is_beyond_protobuf(&error), "hints refuse what the decoder takes: {error}"),
        }
    }
}

/// Refusals for reasons that a protobuf decoder does not know.
fn is_beyond_protobuf(error: &PayloadError) -> bool {
    match error {
        PayloadError::MissingField { .. }
        | PayloadError::BatchCount { .. }
        | PayloadError::TooManyProperties { .. }
        | PayloadError::TooManyRegions { .. }
        | PayloadError::MalformedMetadata(FieldError::BadWireType(3 | 4)) => true,
        PayloadError::Truncated { .. }
        | PayloadError::ChecksumMismatch { .. }
        | PayloadError::MalformedMetadata(_)
        | PayloadError::UndecodableMetadata { .. }
        | PayloadError::BatchMismatch { .. } => false,
    }
}

/// Hints say what the decoded metadata says.
pub fn compare(hints: &PayloadHints, metadata: &MessageMetadata, payload: &Bytes) {
    assert_eq!(hints.producer_name, metadata.producer_name.as_bytes());
    assert_eq!(hints.sequence_id, metadata.sequence_id);
    assert_eq!(hints.highest_sequence_id, metadata.highest_sequence_id);
    assert_eq!(hints.publish_time_ms, metadata.publish_time);
    assert_eq!(hints.event_time_ms, metadata.event_time);
    assert_eq!(hints.deliver_at_ms, metadata.deliver_at_time);
    assert_eq!(hints.is_batch, metadata.num_messages_in_batch.is_some());
    assert_eq!(i64::from(hints.num_messages), i64::from(metadata.num_messages_in_batch()));
    assert_eq!(hints.partition_key.as_deref(), metadata.partition_key.as_deref().map(str::as_bytes));
    assert_eq!(hints.partition_key_b64, metadata.partition_key_b64_encoded());
    assert_eq!(hints.ordering_key, metadata.ordering_key);
    assert_eq!(hints.marker_type, metadata.marker_type);
    assert!(hints.replicate_to.iter().map(|name| &**name).eq(metadata.replicate_to.iter().map(String::as_bytes)));
    assert_eq!(hints.has_encryption_keys, !metadata.encryption_keys.is_empty());
    assert_eq!(hints.null_value, metadata.null_value());
    assert_eq!(hints.compression, metadata.compression.unwrap_or(0));
    assert_eq!(hints.chunk.is_some(), metadata.chunk_id.is_some() || metadata.num_chunks_from_msg.is_some());
    if let Some(chunk) = &hints.chunk {
        assert_eq!(chunk.uuid, metadata.uuid().as_bytes());
        assert_eq!((chunk.id, chunk.count), (metadata.chunk_id(), metadata.num_chunks_from_msg()));
        assert_eq!(chunk.total_bytes, metadata.total_chunk_msg_size());
    }
    let txn = metadata.txnid_most_bits.or(metadata.txnid_least_bits);
    assert_eq!(hints.txn, txn.map(|_| (metadata.txnid_most_bits(), metadata.txnid_least_bits())));
    walk_batch(payload, hints.num_messages);
}

/// A batch yields no more messages than it declares, no more bytes than it has, and ends at its first error.
fn walk_batch(payload: &Bytes, messages: u32) {
    let mut bytes = 0;
    let mut count = 0u32;
    let mut view = BatchView::new(payload.clone(), messages);
    for message in view.by_ref() {
        let Ok(message) = message else { break };
        bytes += 4 + message.payload.len();
        count += 1;
    }
    assert!(count <= messages && bytes <= payload.len(), "a batch stays within its body and its count");
    assert!(view.next().is_none(), "nothing follows the end of a batch");
}

/// The first byte sets the length of the chunks; the rest is a stream, and also the kind and fields of one frame.
pub fn region_frames(data: &[u8]) {
    let Some((chunk, stream)) = data.split_first() else { return };
    let whole = split_region_frames(stream, stream.len().max(1));
    let chunked = split_region_frames(stream, usize::from(*chunk) + 1);
    assert_eq!(whole, chunked, "chunks change nothing");
    if let Ok(frame) = region::decode(&sealed(stream)) {
        let mut pieces = Vec::new();
        region::encode(&frame, &mut pieces);
        let again = split_region_frames(&pieces.concat(), 7);
        assert_eq!(again, (vec![frame], None), "wire I3: a region frame survives encoding");
    }
}

fn split_region_frames(stream: &[u8], chunk: usize) -> (Vec<region::RegionFrame>, Option<PeerFrameError>) {
    let mut splitter = region::RegionFrameSplitter::new(FRAME_MAX);
    let mut frames = Vec::new();
    let error = feed(stream, chunk, |buf| {
        while let Some(frame) = splitter.next(buf)? {
            frames.push(frame);
        }
        Ok(())
    });
    (frames, error)
}

/// Any bytes as a frame, and as kind and fields of one with a right checksum.
pub fn bookie_frames(data: &[u8]) {
    for frame in [Bytes::copy_from_slice(data), sealed(data)] {
        if let Ok(request) = bookie::decode_request(&frame) {
            let mut pieces = Vec::new();
            bookie::encode_request(&request, &mut pieces);
            assert_eq!(pieces.concat().get(4..), Some(&frame[..]), "wire I3: a request has one form");
        }
        if let Ok(response) = bookie::decode_response(&frame) {
            let mut pieces = Vec::new();
            bookie::encode_response(&response, &mut pieces);
            assert_eq!(pieces.concat().get(4..), Some(&frame[..]), "wire I3: a response has one form");
        }
    }
}

/// A frame between Meridian's processes, without its length: checksum, version, and what stands behind it in `rest`: kind,
/// length of the bodies, fields, bodies.
fn sealed(rest: &[u8]) -> Bytes {
    let bodies = rest.get(1..5).and_then(|field| <[u8; 4]>::try_from(field).ok()).map_or(0, u32::from_be_bytes);
    let covered = rest.len().saturating_sub(usize::try_from(bodies).unwrap_or(usize::MAX));
    let mut frame = BytesMut::with_capacity(5 + rest.len());
    frame.put_u32(crc32c::crc32c_append(crc32c::crc32c(&[2]), &rest[..covered]));
    frame.put_u8(2);
    frame.put_slice(rest);
    frame.freeze()
}
