//! Stamps: every few seconds a running node raises a number in the metadata and in `node.json`.
//!
//! **What**  A copy of a data folder lacks what was promised after it was made. From before the last start it is told by its
//! incarnation; from within the life that ended last, by its stamp, if it is older than two stamps.
//!
//! **Not here**  The comparison (`passport`).

use super::passport::Passport;
use crate::stop;
use base::NodeId;
use bytes::Bytes;
use meta::MetaHandle;
use meta_api::{Compare, MetaRequest, MetaResponse, Versioned, Write};
use std::path::PathBuf;
use std::time::Duration;
use tenancy::keys;

/// Between two stamps: three small syncs here and one entry of the metadata.
const EVERY: Duration = Duration::from_secs(10);

/// What the metadata holds, as it answers.
pub(super) async fn held(meta: &MetaHandle, node: NodeId) -> MetaResponse {
    meta.request(MetaRequest::Get { key: keys::stamp_key(node) }).await
}

/// The number in it.
pub(super) fn read(held: &Versioned) -> u64 {
    std::str::from_utf8(&held.value).ok().and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// Stamps until the process ends.
pub(crate) async fn keep_stamping(meta: MetaHandle, data: PathBuf, node: NodeId, mut passport: Passport) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let MetaResponse::Value(found) = held(&meta, node).await else { continue };
        let next = passport.next_stamp(found.as_ref().map_or(0, read));
        if let Err(error) = tokio::task::block_in_place(|| passport.store(&data)) {
            stop::storage_failed("node.json", &error);
        }
        let key = keys::stamp_key(node);
        let compare = match found {
            Some(found) => Compare::Version { key: key.clone(), version: found.version },
            None => Compare::Absent { key: key.clone() },
        };
        let writes = vec![Write::Put { key, value: Bytes::from(next.to_string()) }];
        // Whatever becomes of it, the next round sees.
        let _ = meta.request(MetaRequest::Txn { compare: vec![compare], writes }).await;
    }
}
