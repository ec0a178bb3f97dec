//! Stamps: every few seconds a running node raises a number in the metadata and in `node.json`.
//!
//! **What**  A copy of a data folder lacks what was promised after it was made. From before the last start it is told by its
//! incarnation; from within the life that ended last, by its stamp, if it is older than two stamps. With each stamp the file
//! gets the addresses of the members, which the next start begins with.
//!
//! **Not here**  The comparison (`passport`).

use super::entry::Contacts;
use super::passport::Passport;
use crate::stop;
use base::NodeId;
use bytes::Bytes;
use meta::MetaHandle;
use meta_api::{Compare, MetaRequest, MetaResponse, Versioned, Write};
use std::io;
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

/// A full disk keeps a node from writing, not from serving.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Stamps until the process ends.
pub(crate) async fn keep_stamping(meta: MetaHandle, data: PathBuf, contacts: Contacts, mut passport: Passport) {
    let node = contacts.own();
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let MetaResponse::Value(found) = held(&meta, node).await else { continue };
        let next = passport.next_stamp(found.as_ref().map_or(0, read));
        passport.members = contacts.addresses();
        match tokio::task::block_in_place(|| passport.store(&data)) {
            Ok(()) => (),
            // The file is as it was, and the metadata was not asked.
            Err(error) if is_full(&error) => {
                tracing::warn!(
                    "no room for a stamp in node.json: {error}; copies of this disk are not told from it meanwhile"
                );
                continue;
            }
            Err(error) => stop::storage_failed("node.json", &error),
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
