//! The places where the shell makes the mistakes of [`Bug`].

use crate::bugs::Bug;
use base::{EntryData, Position};
use bytes::Bytes;
use ledger::LedgerMetadata;
use meta_api::{Compare, MetaRequest, Write};
use std::collections::BTreeMap;
use tenancy::keys;
use wire::bookie::{AddOutcome, BookieRequest, BookieResponse, ReadOutcome};
use wire::pulsar::base_command::Command;
use wire::pulsar::{BaseCommand, MessageIdData};
use wire::region::RegionFrame;

/// How often a mistake happens: once in so many chances.
const ONE_IN: u64 = 20;

/// What the mistakes have to remember.
#[derive(Debug, Default)]
pub(crate) struct Mistakes {
    pub(crate) bug: Option<Bug>,
    chances: u64,
    /// Link → the predecessor that hides a lost entry, or that follows an invented one.
    hidden: BTreeMap<u64, Position>,
    /// Link → content that waits for its exchange.
    held: BTreeMap<u64, EntryData>,
}

impl Mistakes {
    pub(crate) fn new(bug: Option<Bug>) -> Self {
        Self { bug, ..Self::default() }
    }

    pub(crate) fn is(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// It happens now.
    pub(crate) fn strikes(&mut self, bug: Bug) -> bool {
        if self.bug != Some(bug) {
            return false;
        }
        self.chances += 1;
        self.chances.is_multiple_of(ONE_IN)
    }

    /// The frames that leave instead of `frame`.
    pub(crate) fn outgoing(&mut self, frame: RegionFrame) -> Vec<RegionFrame> {
        let RegionFrame::Entry { link, previous, position, data } = frame else {
            return vec![self.ahead(frame)];
        };
        if self.strikes(Bug::LinkSkipsEntry) {
            self.hidden.entry(link).or_insert(previous);
            return Vec::new();
        }
        let previous = self.hidden.remove(&link).unwrap_or(previous);
        let data = match self.bug {
            Some(Bug::LinkSwapsEntries) => self.held.insert(link, data.clone()).unwrap_or(data),
            _ => data,
        };
        let entry = RegionFrame::Entry { link, previous, position, data: data.clone() };
        if self.strikes(Bug::LinkStoresTwice) {
            let again = Position { ledger: position.ledger, entry: position.entry.next() };
            self.hidden.insert(link, again);
            return vec![entry, RegionFrame::Entry { link, previous: position, position: again, data }];
        }
        vec![entry]
    }

    /// [`Bug::LinkOpenedAhead`].
    fn ahead(&self, mut frame: RegionFrame) -> RegionFrame {
        if let RegionFrame::Opened { watermark: Some(watermark), .. } = &mut frame
            && self.is(Bug::LinkOpenedAhead)
        {
            watermark.entry = watermark.entry.next();
        }
        frame
    }

    /// What a receiver that does not wait for its disk answers at once.
    pub(crate) fn early_ack(&self, frame: &RegionFrame) -> Option<RegionFrame> {
        match frame {
            RegionFrame::Entry { link, position, .. } if self.is(Bug::LinkAckBeforeDurable) => {
                Some(RegionFrame::Ack { link: *link, position: *position, credit_bytes: 1 << 20 })
            }
            _ => None,
        }
    }

    /// What a server that does not wait for its disk answers at once; and whether the command still reaches it.
    pub(crate) fn early_answer(&self, command: &Command) -> (Option<Bytes>, bool) {
        let answer: BaseCommand = match command {
            Command::Send(send) if self.is(Bug::ReceiptBeforeDurable) => {
                let id = MessageIdData { ledger_id: u64::MAX, entry_id: u64::MAX, ..MessageIdData::default() };
                wire::pulsar::CommandSendReceipt {
                    producer_id: send.producer_id,
                    sequence_id: send.sequence_id,
                    message_id: Some(id),
                    highest_sequence_id: send.highest_sequence_id,
                }
                .into()
            }
            Command::Ack(ack) if self.is(Bug::AckAnsweredBeforeDurable) || self.is(Bug::AckDropped) => {
                wire::commands::ack_response(ack.consumer_id, ack.request_id())
            }
            _ => return (None, true),
        };
        (Some(wire::frame::encode_command(&answer)), !self.is(Bug::AckDropped))
    }

    // ---- between the nodes of a region

    /// What reaches the metadata instead of `request`.
    pub(crate) fn asked(&self, request: MetaRequest) -> MetaRequest {
        let MetaRequest::Txn { compare, writes } = request else { return request };
        let of_owners = writes.iter().any(|write| key_of(write).starts_with(keys::OWNERS));
        let dropped: &[&str] = match self.bug {
            Some(Bug::OwnerGuardIgnored) if !of_owners => &[keys::OWNERS],
            Some(Bug::OwnersWithoutCompare) if of_owners => &[keys::OWNERS, keys::ALIVE],
            Some(Bug::OwnersWithoutCompare) => &[keys::ALIVE],
            Some(Bug::ChainWithoutCompare) => &[keys::MANAGED_LEDGERS],
            Some(Bug::LedgerWithoutCompare) => &[keys::LEDGERS],
            _ => &[],
        };
        let is_kept = |compare: &Compare| match compare {
            Compare::Version { key, .. } | Compare::Absent { key } => {
                !dropped.iter().any(|prefix| key.starts_with(prefix))
            }
            Compare::Exists { .. } | Compare::NoneWithPrefix { .. } => true,
        };
        let writes = if self.is(Bug::CheckForgotten) { writes.into_iter().map(without_mark).collect() } else { writes };
        MetaRequest::Txn { compare: compare.into_iter().filter(is_kept).collect(), writes }
    }

    /// What leaves for another node's bookie instead of `request`.
    pub(crate) fn to_bookie(&self, mut request: BookieRequest) -> BookieRequest {
        if let BookieRequest::Read { fence, .. } | BookieRequest::ReadLac { fence, .. } = &mut request
            && self.is(Bug::FenceLost)
        {
            *fence = false;
        }
        request
    }

    /// What is invented for a bookie that cannot be reached.
    pub(crate) fn invented(&self, request: &BookieRequest) -> Option<BookieResponse> {
        match *request {
            BookieRequest::Add { id, ledger, entry, .. } if self.is(Bug::SilenceCountsAsCopy) => {
                Some(BookieResponse::Added { id, ledger, entry, outcome: AddOutcome::Stored })
            }
            BookieRequest::Read { id, ledger, .. } if self.is(Bug::SilenceDenies) => {
                Some(BookieResponse::Read { id, ledger, outcome: ReadOutcome::NoSuchEntry })
            }
            _ => None,
        }
    }
}

/// The write of a ledger's record, as one whose copies need no check.
fn without_mark(write: Write) -> Write {
    match write {
        Write::Put { key, value } if key.starts_with(keys::LEDGERS) => {
            let checked = serde_json::from_slice(&value)
                .ok()
                .and_then(|found: LedgerMetadata| serde_json::to_vec(&found.checked()).ok());
            Write::Put { key, value: checked.map_or(value, Bytes::from) }
        }
        other => other,
    }
}

fn key_of(write: &Write) -> &str {
    match write {
        Write::Put { key, .. } | Write::Delete { key } => key,
    }
}
