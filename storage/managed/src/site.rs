//! What every procedure of one managed ledger shares: who owns it, its options, its bookies, request ids, dice.
//!
//! **What**  Also the one place where effects of the ledger machines become effects of this crate, and where metadata
//! answers become theirs.
//!
//! **Not here**  Any state of a procedure.

use crate::{ManagedEffect, ManagedOptions};
use base::{Effects, LedgerId, Mono, NodeId, Now, OwnerId, RequestId, Rng};
use bytes::Bytes;
use ledger::{
    LedgerEffect, LedgerMetadata, LedgerWriter, MetadataOutcome, Placement, ReaderOptions, RecoveryOptions, RequestIds,
    VersionedMetadata, WriterOptions, Zones,
};
use meta_api::{Compare, MetaRequest, MetaResponse, Versioned, Write};
use std::time::Duration;

/// What this crate's machines push.
pub(crate) type Fx = Effects<ManagedEffect>;

/// How long a metadata request may take before it is sent again.
pub(crate) const META_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after the metadata store said that it is unavailable.
pub(crate) const META_PAUSE: Duration = Duration::from_millis(200);

/// A bookie that has not answered a read for so long is joined by the next copy. Far above what a disk needs, far below
/// what a consumer notices.
const SPECULATE_AFTER: Duration = Duration::from_millis(50);

/// The shared part of one managed ledger.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) key: String,
    pub(crate) options: ManagedOptions,
    pub(crate) bookies: Vec<NodeId>,
    /// Where they stand: copies are spread over as many zones as there are.
    pub(crate) zones: Zones,
    owner: OwnerId,
    /// Ids of the requests that no ledger machine makes; machine number 0.
    ids: RequestIds,
    machines: u32,
    rng: Rng,
}

impl Site {
    pub(crate) fn new(owner: OwnerId, key: String, options: ManagedOptions, bookies: Vec<NodeId>) -> Self {
        let rng = Rng::new(owner.0).fork(&key);
        Self { key, options, bookies, zones: Zones::default(), owner, ids: RequestIds::new(owner, 0), machines: 0, rng }
    }

    pub(crate) fn request_id(&mut self) -> RequestId {
        self.ids.allocate()
    }

    /// Ids for one more ledger machine.
    pub(crate) fn machine_ids(&mut self) -> RequestIds {
        // Number 0 is taken; 24 bits count.
        self.machines = (self.machines % 0x00ff_ffff) + 1;
        RequestIds::new(self.owner, self.machines)
    }

    pub(crate) fn placement(&mut self) -> Placement {
        let seed = self.rng.next_u64();
        Placement::new(self.bookies.clone(), Rng::new(seed)).with_zones(self.zones.clone())
    }

    /// Metadata for a new ledger, with vacant seats where bookies lack; `None` when too few are available.
    pub(crate) fn new_ledger(&mut self, now: Now) -> Option<LedgerMetadata> {
        let replication = self.options.replication;
        let ensemble = self.placement().pick_seats(replication)?;
        LedgerMetadata::new(replication, ensemble, now.wall_ms).ok()
    }

    /// A writer for a ledger that was just created; adds are bounded by their owner, not by the writer.
    pub(crate) fn writer(&mut self, ledger: LedgerId, metadata: VersionedMetadata) -> LedgerWriter {
        let options = WriterOptions {
            pending_adds_max: usize::MAX,
            pending_bytes_max: usize::MAX,
            add_timeout: self.options.bookie_timeout,
            seeded: self.options.seeded.ledger,
        };
        LedgerWriter::new(self.machine_ids(), ledger, metadata, options, self.placement())
    }

    pub(crate) fn reader_options(&self) -> ReaderOptions {
        ReaderOptions {
            read_timeout: self.options.bookie_timeout,
            speculate_after: SPECULATE_AFTER,
            reads_max: 16,
            prefer: self.options.local_bookie,
        }
    }

    pub(crate) fn recovery_options(&self) -> RecoveryOptions {
        // Somebody waits for every recovery, and its requests may be sent twice: sooner again than an add, and as long in all.
        RecoveryOptions {
            request_timeout: self.options.bookie_timeout / 5,
            attempts_max: 30,
            window_entries: 256,
            read_bytes_max: self.options.read_block_bytes,
            seeded: self.options.seeded.ledger,
        }
    }
}

/// Passes an effect of a ledger machine on; its events come back to the caller.
pub(crate) fn relay<E>(effect: LedgerEffect<E>, fx: &mut Fx) -> Option<E> {
    match effect {
        LedgerEffect::Bookie { to, request } => fx.push(ManagedEffect::Bookie { to, request }),
        LedgerEffect::ReadMetadata { id, ledger } => fx.push(get(id, ledger.key())),
        LedgerEffect::CasMetadata { id, ledger, version, metadata } => {
            let key = ledger.key();
            let writes = vec![Write::Put { key: key.clone(), value: encode_json(&metadata) }];
            let request = MetaRequest::Txn { compare: vec![Compare::Version { key, version }], writes };
            fx.push(ManagedEffect::Meta { id, request });
        }
        LedgerEffect::Event(event) => return Some(event),
    }
    None
}

/// Passes all effects on and collects the events.
pub(crate) fn relay_all<E>(inner: &mut Effects<LedgerEffect<E>>, fx: &mut Fx) -> Vec<E> {
    inner.drain().filter_map(|effect| relay(effect, fx)).collect()
}

/// A metadata answer in the words of the ledger machines. Damaged metadata counts as unavailable: it proves nothing.
pub(crate) fn metadata_outcome(response: MetaResponse) -> MetadataOutcome {
    match response {
        MetaResponse::Value(None) => MetadataOutcome::Current(None),
        MetaResponse::Value(Some(value)) => match decode_ledger(&value) {
            Some(current) => MetadataOutcome::Current(Some(current)),
            None => MetadataOutcome::Unavailable,
        },
        MetaResponse::Committed { revision } => MetadataOutcome::Committed { version: revision },
        MetaResponse::Conflict { actual: None, .. } => MetadataOutcome::Conflict { actual: None },
        MetaResponse::Conflict { actual: Some(value), .. } => match decode_ledger(&value) {
            Some(current) => MetadataOutcome::Conflict { actual: Some(current) },
            None => MetadataOutcome::Unavailable,
        },
        MetaResponse::Range { .. }
        | MetaResponse::Reserved { .. }
        | MetaResponse::Refused { .. }
        | MetaResponse::Unavailable { .. } => MetadataOutcome::Unavailable,
    }
}

/// A ledger's metadata as stored; `None` when it is damaged.
pub(crate) fn decode_ledger(value: &Versioned) -> Option<VersionedMetadata> {
    let metadata: LedgerMetadata = serde_json::from_slice(&value.value).ok()?;
    metadata.check().ok()?;
    Some(VersionedMetadata { metadata, version: value.version })
}

pub(crate) fn get(id: RequestId, key: String) -> ManagedEffect {
    ManagedEffect::Meta { id, request: MetaRequest::Get { key } }
}

/// JSON bytes of one of our own records.
pub(crate) fn encode_json<T: serde::Serialize>(value: &T) -> Bytes {
    match serde_json::to_vec(value) {
        Ok(bytes) => bytes.into(),
        // Our records hold only numbers, strings and lists, which always have a JSON form.
        Err(error) => panic!("a metadata record has a JSON form: {error}"),
    }
}

/// Whether `due` has come.
pub(crate) fn is_due(due: Option<Mono>, now: Now) -> bool {
    due.is_some_and(|due| due <= now.mono)
}
