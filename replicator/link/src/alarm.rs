//! What an operator must hear about a link.

use base::Position;
use std::fmt;

/// Something that a link met and that no retry of its own cures silently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkAlarm {
    /// The remote copy acknowledged up to `acked` and now holds only up to `watermark`; the origin still has what is
    /// missing and sends it again.
    RemoteLostAcked { acked: Position, watermark: Option<Position> },
    /// As above, but the origin no longer has all of it: nothing is sent until the copy is restored or recreated.
    Halted { acked: Position, watermark: Option<Position>, trimmed_up_to: Position },
    /// The remote topic is another copy than the one that acknowledged; it gets everything from its watermark on.
    RemoteReplaced { was: u64, now: u64, watermark: Option<Position> },
    /// The remote copy lacks entries that the origin no longer has: those after `watermark` up to `trimmed_up_to`.
    HistoryMissing { watermark: Option<Position>, trimmed_up_to: Position },
    /// The remote holds entries that the origin's log does not: the origin has lost confirmed entries.
    OriginBehind { last_confirmed: Position, watermark: Position },
    /// The origin's log grew at or below what the remote already holds: positions were used twice. Nothing is sent.
    PositionsReused { last_confirmed: Position, watermark: Position },
    /// The remote region refuses the topic and says that asking again is useless.
    Refused { reason: String },
    /// There was work and no progress for the stall timeout; the link opens anew.
    Stalled { unacked_bytes: u64 },
    /// The remote answered something that the protocol does not allow; the link opens anew.
    ProtocolViolation { rule: &'static str },
}

fn or_nothing(watermark: &Option<Position>) -> String {
    watermark.map_or_else(|| "nothing".to_owned(), |p| format!("up to {p}"))
}

impl fmt::Display for LinkAlarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RemoteLostAcked { acked, watermark } => write!(
                f,
                "the remote copy acknowledged up to {acked} but now holds {}; sending the rest again",
                or_nothing(watermark)
            ),
            Self::Halted { acked, watermark, trimmed_up_to } => write!(
                f,
                "the remote copy acknowledged up to {acked} but now holds {}, and entries up to {trimmed_up_to} are \
                 trimmed here; replication of the topic is halted: restore the remote copy, or delete it there so that \
                 it is recreated from what is retained",
                or_nothing(watermark)
            ),
            Self::RemoteReplaced { was, now, watermark } => write!(
                f,
                "the remote copy {was} was replaced by {now}, which holds {}; sending it the rest",
                or_nothing(watermark)
            ),
            Self::HistoryMissing { watermark, trimmed_up_to } => write!(
                f,
                "the remote copy holds {} and will lack what is trimmed here up to {trimmed_up_to}",
                or_nothing(watermark)
            ),
            Self::OriginBehind { last_confirmed, watermark } => write!(
                f,
                "the remote copy holds up to {watermark} but this log ends at {last_confirmed}: entries were lost here"
            ),
            Self::PositionsReused { last_confirmed, watermark } => write!(
                f,
                "this log grew to {last_confirmed}, at or below {watermark} which the remote copy already holds: ledger \
                 ids were used twice; replication of the topic is halted"
            ),
            Self::Refused { reason } => write!(f, "the remote region refuses the topic: {reason}"),
            Self::Stalled { unacked_bytes } => {
                write!(f, "no progress with {unacked_bytes} bytes unacknowledged; opening the link anew")
            }
            Self::ProtocolViolation { rule } => write!(f, "the remote broke a rule of the link: {rule}"),
        }
    }
}
