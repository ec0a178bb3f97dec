//! The records inside a group: what openraft wants kept.

use crate::raft_types::{Entry, LogId, RaftTypes, Vote, WriteBatch};
use bytes::{Buf, BufMut, BytesMut};
use meta_api::MetaRequest;
use openraft::{CommittedLeaderId, EntryPayload};

const VOTE: u8 = 1;
const COMMITTED: u8 = 2;
const PURGED: u8 = 3;
const TRUNCATE: u8 = 4;
const ENTRY: u8 = 5;

const BLANK: u8 = 0;
const BATCH: u8 = 1;
const MEMBERSHIP: u8 = 2;

/// One change of the raft log's state.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum LogRecord {
    Vote(Vote),
    Committed(Option<LogId>),
    /// Entries up to this one are gone.
    Purged(LogId),
    /// Entries from this one on are gone.
    Truncate(LogId),
    Entry(Entry),
}

/// A record that passed its checksum and still makes no sense: written by another version, or by a bug.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record {index} of the group does not read: {reason}")]
pub(crate) struct RecordError {
    index: usize,
    reason: String,
}

impl LogRecord {
    /// Appends the record's bytes.
    pub(crate) fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Vote(vote) => {
                out.put_u8(VOTE);
                out.put_u64_le(vote.leader_id().term);
                out.put_u64_le(vote.leader_id().node_id);
                out.put_u8(u8::from(vote.is_committed()));
            }
            Self::Committed(log_id) => {
                out.put_u8(COMMITTED);
                out.put_u8(u8::from(log_id.is_some()));
                put_log_id(out, &log_id.unwrap_or_default());
            }
            Self::Purged(log_id) => {
                out.put_u8(PURGED);
                put_log_id(out, log_id);
            }
            Self::Truncate(log_id) => {
                out.put_u8(TRUNCATE);
                put_log_id(out, log_id);
            }
            Self::Entry(entry) => encode_entry(entry, out),
        }
    }

    /// All records of a group's body, each with the bytes that it takes.
    ///
    /// # Errors
    /// [`RecordError`] when the body does not consist of whole, known records.
    pub(crate) fn decode_all(mut body: &[u8]) -> Result<Vec<(Self, usize)>, RecordError> {
        let mut records = Vec::new();
        while !body.is_empty() {
            let (index, before) = (records.len(), body.len());
            let record = decode(&mut body).map_err(|reason| RecordError { index, reason })?;
            records.push((record, before - body.len()));
        }
        Ok(records)
    }
}

fn encode_entry(entry: &Entry, out: &mut BytesMut) {
    out.put_u8(ENTRY);
    put_log_id(out, &entry.log_id);
    let mut payload = BytesMut::new();
    let kind = match &entry.payload {
        EntryPayload::Blank => BLANK,
        EntryPayload::Normal(batch) => {
            encode_batch(batch, &mut payload);
            BATCH
        }
        EntryPayload::Membership(membership) => {
            let json = serde_json::to_vec(membership);
            payload.put_slice(&json.expect("Wal: a membership of numbers always has a JSON form"));
            MEMBERSHIP
        }
    };
    out.put_u8(kind);
    put_len(out, payload.len());
    out.put_slice(&payload);
}

fn encode_batch(batch: &WriteBatch, out: &mut BytesMut) {
    put_len(out, batch.requests().len());
    for request in batch.requests() {
        let len_at = out.len();
        out.put_u32_le(0);
        request.encode(out);
        let len = u32::try_from(out.len() - len_at - 4).expect("Wal: a request has less than 4 GiB");
        out[len_at..len_at + 4].copy_from_slice(&len.to_le_bytes());
    }
}

fn decode(body: &mut &[u8]) -> Result<LogRecord, String> {
    match take_u8(body)? {
        VOTE => {
            let (term, node) = (take_u64(body)?, take_u64(body)?);
            let vote = if take_u8(body)? == 1 { Vote::new_committed(term, node) } else { Vote::new(term, node) };
            Ok(LogRecord::Vote(vote))
        }
        COMMITTED => {
            let is_some = take_u8(body)? == 1;
            let log_id = take_log_id(body)?;
            Ok(LogRecord::Committed(is_some.then_some(log_id)))
        }
        PURGED => Ok(LogRecord::Purged(take_log_id(body)?)),
        TRUNCATE => Ok(LogRecord::Truncate(take_log_id(body)?)),
        ENTRY => decode_entry(body).map(LogRecord::Entry),
        tag => Err(format!("unknown tag {tag}")),
    }
}

fn decode_entry(body: &mut &[u8]) -> Result<Entry, String> {
    let log_id = take_log_id(body)?;
    let kind = take_u8(body)?;
    let payload = take_slice(body)?;
    let payload = match kind {
        BLANK => EntryPayload::Blank,
        BATCH => EntryPayload::Normal(decode_batch(payload)?),
        MEMBERSHIP => EntryPayload::Membership(serde_json::from_slice(payload).map_err(|error| error.to_string())?),
        kind => return Err(format!("unknown entry kind {kind}")),
    };
    Ok(openraft::Entry::<RaftTypes> { log_id, payload })
}

fn decode_batch(mut bytes: &[u8]) -> Result<WriteBatch, String> {
    let count = take_u32(&mut bytes)?;
    let mut requests = Vec::new();
    for _ in 0..count {
        let request = MetaRequest::decode(take_slice(&mut bytes)?);
        requests.push(request.map_err(|error| error.to_string())?);
    }
    if bytes.is_empty() { Ok(WriteBatch::new(requests)) } else { Err("bytes behind a batch".to_owned()) }
}

fn put_log_id(out: &mut BytesMut, log_id: &LogId) {
    out.put_u64_le(log_id.leader_id.term);
    out.put_u64_le(log_id.leader_id.node_id);
    out.put_u64_le(log_id.index);
}

fn take_log_id(body: &mut &[u8]) -> Result<LogId, String> {
    let (term, node, index) = (take_u64(body)?, take_u64(body)?, take_u64(body)?);
    Ok(LogId::new(CommittedLeaderId::new(term, node), index))
}

fn put_len(out: &mut BytesMut, len: usize) {
    out.put_u32_le(u32::try_from(len).expect("Wal: lengths fit 32 bits"));
}

fn take_slice<'a>(body: &mut &'a [u8]) -> Result<&'a [u8], String> {
    let len = usize::try_from(take_u32(body)?).unwrap_or(usize::MAX);
    let (taken, rest) = body.split_at_checked(len).ok_or_else(cut)?;
    *body = rest;
    Ok(taken)
}

fn take_u8(body: &mut &[u8]) -> Result<u8, String> {
    body.try_get_u8().map_err(|_| cut())
}

fn take_u32(body: &mut &[u8]) -> Result<u32, String> {
    body.try_get_u32_le().map_err(|_| cut())
}

fn take_u64(body: &mut &[u8]) -> Result<u64, String> {
    body.try_get_u64_le().map_err(|_| cut())
}

fn cut() -> String {
    "it ends in the middle of a field".to_owned()
}
