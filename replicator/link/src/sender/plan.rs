//! Where to resume when the remote says what it holds. The one decision on which exactness rests; pure.
//!
//! Durable here: L (last acknowledged entry), M (mark-delete), the incarnation that acknowledged. Told by the remote: its
//! incarnation and its durable watermark W.
//!
//! | remote copy | condition | resume after | `previous` | besides |
//! |---|---|---|---|---|
//! | first contact (nothing acknowledged yet) | | max(W, M), or what is retained | W | alarm when history is missing |
//! | the one that acknowledged | W ≥ L | max(W, M) | W | halt when that is no longer retained |
//! | the one that acknowledged | W < L, retained | W | W | alarm: it lost what it acknowledged; cursor goes back |
//! | the one that acknowledged | W < L, trimmed | – | – | halt: never skip in silence |
//! | another | all after W retained | W | W | alarm; cursor goes back |
//! | another | trimmed beyond W | what is retained | W | alarms; the new copy starts with what there is |

use crate::{LinkAlarm, LinkResume, LogView};
use base::{EntryId, Position};

/// How to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resumption {
    /// Read and send what stands after this.
    pub(crate) after: Position,
    /// The first entry sent names this as the one before it.
    pub(crate) previous: Position,
    /// What the durable cursor is to hold.
    pub(crate) resume: LinkResume,
    pub(crate) alarms: Vec<LinkAlarm>,
}

/// Resume, or stop until something changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Resume(Resumption),
    Halt(LinkAlarm),
}

/// What the remote told when it opened the link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RemoteCopy {
    pub(crate) incarnation: u64,
    pub(crate) watermark: Option<Position>,
}

/// Decides where to resume.
pub(crate) fn decide(durable: &LinkResume, log: &LogView, remote: RemoteCopy) -> Decision {
    let mut decision = match (durable.incarnation, durable.last_forwarded) {
        (Some(known), Some(acked)) if known == remote.incarnation => same_copy(durable, acked, log, remote),
        (Some(known), Some(_)) => other_copy(known, log, remote),
        _ => first_contact(durable, log, remote),
    };
    if let (Decision::Resume(resumption), Some(watermark)) = (&mut decision, remote.watermark)
        && watermark > log.last_confirmed
        && log.last_confirmed.entry > EntryId::NONE
    {
        let last_confirmed = log.last_confirmed;
        resumption.alarms.push(LinkAlarm::OriginBehind { last_confirmed, watermark });
    }
    decision
}

fn first_contact(durable: &LinkResume, log: &LogView, remote: RemoteCopy) -> Decision {
    let after = base_of(remote).max(durable.mark_delete);
    if log.trimmed_up_to > after {
        let missing = LinkAlarm::HistoryMissing { watermark: remote.watermark, trimmed_up_to: log.trimmed_up_to };
        return resume(durable, log, remote, log.trimmed_up_to, vec![missing]);
    }
    resume(durable, log, remote, after, Vec::new())
}

fn same_copy(durable: &LinkResume, acked: Position, log: &LogView, remote: RemoteCopy) -> Decision {
    let (watermark, trimmed_up_to) = (remote.watermark, log.trimmed_up_to);
    let kept = watermark >= Some(acked);
    let after = if kept { base_of(remote).max(durable.mark_delete) } else { base_of(remote) };
    if trimmed_up_to > after {
        return Decision::Halt(LinkAlarm::Halted { acked, watermark, trimmed_up_to });
    }
    if kept {
        return resume(durable, log, remote, after, Vec::new());
    }
    go_back(log, remote, after, vec![LinkAlarm::RemoteLostAcked { acked, watermark }])
}

fn other_copy(known: u64, log: &LogView, remote: RemoteCopy) -> Decision {
    let (watermark, trimmed_up_to) = (remote.watermark, log.trimmed_up_to);
    let mut alarms = vec![LinkAlarm::RemoteReplaced { was: known, now: remote.incarnation, watermark }];
    let base = base_of(remote);
    if trimmed_up_to > base {
        alarms.push(LinkAlarm::HistoryMissing { watermark, trimmed_up_to });
    }
    go_back(log, remote, base.max(trimmed_up_to), alarms)
}

fn base_of(remote: RemoteCopy) -> Position {
    remote.watermark.unwrap_or(Position::EARLIEST)
}

/// Goes on; the cursor never goes back.
fn resume(
    durable: &LinkResume,
    log: &LogView,
    remote: RemoteCopy,
    after: Position,
    alarms: Vec<LinkAlarm>,
) -> Decision {
    let resume = LinkResume {
        incarnation: remote.watermark.map(|_| remote.incarnation),
        last_forwarded: remote.watermark,
        // The remote may be ahead of a log that lost its end; the cursor stays within the log.
        mark_delete: after.min(log.last_confirmed).max(durable.mark_delete),
        messages_done: durable.messages_done,
    };
    Decision::Resume(Resumption { after, previous: base_of(remote), resume, alarms })
}

/// Starts again after `after`, wherever the cursor stood.
fn go_back(log: &LogView, remote: RemoteCopy, after: Position, alarms: Vec<LinkAlarm>) -> Decision {
    let resume = LinkResume {
        incarnation: remote.watermark.map(|_| remote.incarnation),
        last_forwarded: remote.watermark,
        mark_delete: after.min(log.last_confirmed),
        messages_done: 0,
    };
    Decision::Resume(Resumption { after, previous: base_of(remote), resume, alarms })
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
