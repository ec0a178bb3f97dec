//! Where to resume when the remote says what it holds. The one decision on which exactness rests; pure.
//!
//! Durable here: L (last acknowledged entry), M (mark-delete), the incarnation that acknowledged. Told by the remote: its
//! incarnation and its durable watermark W. The first entry sent always names W as the one before it.
//!
//! | remote copy | condition | resume after | besides |
//! |---|---|---|---|
//! | first contact (nothing acknowledged yet) | | max(W, M) | alarm and the earliest retained, if that is trimmed |
//! | the one that acknowledged | W ≥ L | max(W, M) | |
//! | the one that acknowledged | W < L, all after W retained | W | alarm: it lost what it acknowledged; cursor goes back |
//! | the one that acknowledged | W < L, trimmed beyond W | – | halt: never skip in silence |
//! | another | all after W retained | W | alarm; cursor goes back |
//! | another | trimmed beyond W | the earliest retained | alarms; the new copy starts with what there is |
//!
//! What stands after the furthest place that the link cursor ever held is retained by the cursor; only before it does the
//! log's trimming matter.

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

/// What this side knows: the durable state, the log, and the furthest place that the cursor ever held.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    pub(crate) durable: LinkResume,
    pub(crate) log: LogView,
    pub(crate) cursor_high: Position,
}

impl Known {
    /// Whether something that stood after `after` is gone from the log.
    pub(crate) fn lacks_history_after(&self, after: Position) -> bool {
        after < self.cursor_high && after < self.log.trimmed_up_to
    }
}

/// Decides where to resume.
pub(crate) fn decide(known: Known, remote: RemoteCopy) -> Decision {
    let mut decision = match (known.durable.incarnation, known.durable.last_forwarded) {
        (Some(was), Some(acked)) if was == remote.incarnation => same_copy(known, acked, remote),
        (Some(was), Some(_)) => other_copy(known, was, remote),
        _ => first_contact(known, remote),
    };
    let last_confirmed = known.log.last_confirmed;
    if let (Decision::Resume(resumption), Some(watermark)) = (&mut decision, remote.watermark)
        && watermark > last_confirmed
        && last_confirmed.entry > EntryId::NONE
    {
        resumption.alarms.push(LinkAlarm::OriginBehind { last_confirmed, watermark });
    }
    decision
}

fn first_contact(known: Known, remote: RemoteCopy) -> Decision {
    let after = base_of(remote).max(known.durable.mark_delete);
    if known.lacks_history_after(after) {
        let trimmed_up_to = known.log.trimmed_up_to;
        let missing = LinkAlarm::HistoryMissing { watermark: remote.watermark, trimmed_up_to };
        return go_on(known, remote, trimmed_up_to, vec![missing]);
    }
    go_on(known, remote, after, Vec::new())
}

fn same_copy(known: Known, acked: Position, remote: RemoteCopy) -> Decision {
    let watermark = remote.watermark;
    let kept = watermark >= Some(acked);
    let after = if kept { base_of(remote).max(known.durable.mark_delete) } else { base_of(remote) };
    if known.lacks_history_after(after) {
        return Decision::Halt(LinkAlarm::Halted { acked, watermark, trimmed_up_to: known.log.trimmed_up_to });
    }
    if kept {
        return go_on(known, remote, after, Vec::new());
    }
    go_back(known, remote, after, vec![LinkAlarm::RemoteLostAcked { acked, watermark }])
}

fn other_copy(known: Known, was: u64, remote: RemoteCopy) -> Decision {
    let (watermark, trimmed_up_to) = (remote.watermark, known.log.trimmed_up_to);
    let mut alarms = vec![LinkAlarm::RemoteReplaced { was, now: remote.incarnation, watermark }];
    let mut after = base_of(remote);
    if known.lacks_history_after(after) {
        alarms.push(LinkAlarm::HistoryMissing { watermark, trimmed_up_to });
        after = trimmed_up_to;
    }
    go_back(known, remote, after, alarms)
}

fn base_of(remote: RemoteCopy) -> Position {
    remote.watermark.unwrap_or(Position::EARLIEST)
}

/// Goes on; the cursor never goes back.
fn go_on(known: Known, remote: RemoteCopy, after: Position, alarms: Vec<LinkAlarm>) -> Decision {
    let durable = known.durable;
    // The remote may be ahead of a log that lost its end; the cursor stays within the log.
    let mark_delete = after.min(known.log.last_confirmed).max(durable.mark_delete);
    resume(remote, after, mark_delete, durable.messages_done, alarms)
}

/// Starts again after `after`, wherever the cursor stood.
fn go_back(known: Known, remote: RemoteCopy, after: Position, alarms: Vec<LinkAlarm>) -> Decision {
    resume(remote, after, after.min(known.log.last_confirmed), 0, alarms)
}

fn resume(
    remote: RemoteCopy,
    after: Position,
    mark_delete: Position,
    messages_done: u64,
    alarms: Vec<LinkAlarm>,
) -> Decision {
    let incarnation = remote.watermark.map(|_| remote.incarnation);
    let resume = LinkResume { incarnation, last_forwarded: remote.watermark, mark_delete, messages_done };
    Decision::Resume(Resumption { after, previous: base_of(remote), resume, alarms })
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
