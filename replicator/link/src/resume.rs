//! The durable state of a sender, and what it knows of its log.

use base::{EntryId, LedgerId, Position};

/// What the durable link cursor holds: its mark-delete and four properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkResume {
    /// The remote copy that acknowledged; `None` before the first acknowledgement.
    pub incarnation: Option<u64>,
    /// The last entry that the remote acknowledged as durable.
    pub last_forwarded: Option<Position>,
    /// Everything up to here is either acknowledged or not to be forwarded. Retention keeps everything after it.
    pub mark_delete: Position,
    /// Messages of the topic up to and including `mark_delete`, for lag in messages.
    pub messages_done: u64,
}

const INCARNATION: &str = "link.incarnation";
const LEDGER: &str = "link.last_forwarded.ledger";
const ENTRY: &str = "link.last_forwarded.entry";
const MESSAGES: &str = "link.messages_done";

impl LinkResume {
    /// A link that starts after `mark_delete` and has forwarded nothing.
    pub fn starting_after(mark_delete: Position, messages_done: u64) -> Self {
        Self { incarnation: None, last_forwarded: None, mark_delete, messages_done }
    }

    /// The cursor properties beside the mark-delete. Store them before or together with the mark-delete, never after.
    pub fn properties(&self) -> Vec<(&'static str, u64)> {
        let mut list = vec![(MESSAGES, self.messages_done)];
        if let Some(incarnation) = self.incarnation {
            list.push((INCARNATION, incarnation));
        }
        if let Some(p) = self.last_forwarded {
            list.push((LEDGER, p.ledger.0));
            list.push((ENTRY, u64::try_from(p.entry.0).unwrap_or(0)));
        }
        list
    }

    /// Rebuilds the state from the cursor; `property` looks a name of [`LinkResume::properties`] up.
    pub fn from_properties(mark_delete: Position, property: impl Fn(&str) -> Option<u64>) -> Self {
        let last_forwarded = match (property(LEDGER), property(ENTRY)) {
            (Some(ledger), Some(entry)) => {
                Some(Position { ledger: LedgerId(ledger), entry: EntryId(i64::try_from(entry).unwrap_or(i64::MAX)) })
            }
            _ => None,
        };
        Self {
            incarnation: property(INCARNATION),
            last_forwarded,
            mark_delete,
            messages_done: property(MESSAGES).unwrap_or(0),
        }
    }
}

/// What the owner tells a sender of its log, anew whenever one of the three changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogView {
    /// Every entry after this position is still there; [`Position::EARLIEST`] while nothing was ever trimmed. When the
    /// exact last trimmed entry is unknown: the first readable position's predecessor. What stands after the link cursor
    /// is trusted to be there in any case, so this matters only when the remote asks for older entries.
    pub trimmed_up_to: Position,
    /// The last confirmed entry; anything before the first entry while there is none.
    pub last_confirmed: Position,
    /// Messages of the topic up to and including `last_confirmed`.
    pub messages_end: u64,
}
