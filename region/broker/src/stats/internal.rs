//! What a topic's log and cursors look like from inside, for operators.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The managed ledger of one topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InternalStats {
    pub entries_added_counter: u64,
    pub number_of_entries: u64,
    /// Bytes.
    pub total_size: u64,
    pub current_ledger_entries: u64,
    /// Bytes.
    pub current_ledger_size: u64,
    /// ISO text, `None` while no ledger was created.
    pub last_ledger_created_timestamp: Option<String>,
    pub last_ledger_creation_failure_timestamp: Option<String>,
    pub waiting_cursors_count: u64,
    pub pending_add_entries_count: u64,
    /// `ledger:entry`.
    pub last_confirmed_entry: String,
    /// `LedgerOpened`, …
    pub state: String,
    pub ledgers: Vec<LedgerInternals>,
    pub cursors: BTreeMap<String, CursorInternals>,
    pub schema_ledgers: Vec<LedgerInternals>,
    pub compacted_ledger: LedgerInternals,
}

/// One ledger of the chain. `ledger_id` −1 stands for none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LedgerInternals {
    pub ledger_id: i64,
    pub entries: i64,
    /// Bytes.
    pub size: i64,
    pub offloaded: bool,
    pub metadata: Option<String>,
    pub under_replicated: bool,
    pub properties: BTreeMap<String, String>,
}

impl Default for LedgerInternals {
    fn default() -> Self {
        Self {
            ledger_id: -1,
            entries: -1,
            size: -1,
            offloaded: false,
            metadata: None,
            under_replicated: false,
            properties: BTreeMap::new(),
        }
    }
}

/// One cursor. Positions are `ledger:entry`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CursorInternals {
    pub mark_delete_position: String,
    pub read_position: String,
    pub waiting_read_op: bool,
    pub pending_read_ops: u64,
    pub messages_consumed_counter: u64,
    /// −1 while the cursor was never written.
    pub cursor_ledger: i64,
    pub cursor_ledger_last_entry: i64,
    /// Ranges in the notation of Pulsar, such as `[(5:0..5:3]]`.
    pub individually_deleted_messages: String,
    pub last_ledger_switch_timestamp: String,
    /// `Open`, `NoLedger`, …
    pub state: String,
    pub active: bool,
    pub number_of_entries_since_first_not_acked_message: u64,
    pub total_non_contiguous_deleted_messages_range: u64,
    pub subscription_have_pending_read: bool,
    pub subscription_have_pending_replay_read: bool,
    pub properties: BTreeMap<String, i64>,
}
