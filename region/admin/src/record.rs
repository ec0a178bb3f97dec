//! Changes of metadata records: read, edit, compare-and-put, and an answer once everybody sees it.
//!
//! **Invariants**
//! - I1  a record is only written over the version that the edit was made from; a change in between repeats the edit, at
//!   most [`TRIES_MAX`] times.
//! - I2  the answer leaves after the broker's view has reached the revision of the commit.

use crate::HttpResponse;
use crate::answer::Refusal;
use crate::step::{Context, Next, Step};
use base::NamespaceName;
use meta_api::{Compare, MetaRequest, MetaResponse, Versioned, Write};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use tenancy::{PolicyRecord, keys};

/// How often an edit is repeated because somebody else changed the record.
const TRIES_MAX: u32 = 8;

/// What an edit wants written.
pub(crate) struct Edit {
    /// More conditions, each with what is answered when it does not hold.
    pub compare: Vec<(Compare, Refusal)>,
    pub writes: Vec<Write>,
    pub answer: HttpResponse,
}

type EditFn = Arc<dyn Fn(&Context<'_>, Option<&[u8]>) -> Result<Edit, Refusal> + Send + Sync>;

/// Edits the record under `key`; `edit` sees its present value.
pub(crate) fn edit_record(
    key: String,
    edit: impl Fn(&Context<'_>, Option<&[u8]>) -> Result<Edit, Refusal> + Send + Sync + 'static,
) -> Next {
    attempt(key, Arc::new(edit), 1)
}

fn attempt(key: String, edit: EditFn, tries: u32) -> Next {
    let request = MetaRequest::Get { key: key.clone() };
    Step::meta(request, move |context, response| match response {
        MetaResponse::Value(found) => put(context, key, found, edit, tries),
        other => Err(refused(&key, other)),
    })
}

fn put(context: &Context<'_>, key: String, found: Option<Versioned>, edit: EditFn, tries: u32) -> Next {
    let Edit { compare, writes, answer } = edit(context, found.as_ref().map(|item| item.value.as_ref()))?;
    if writes.is_empty() {
        return Ok(Step::Reply(answer));
    }
    let own = match found {
        Some(item) => Compare::Version { key: key.clone(), version: item.version },
        None => Compare::Absent { key: key.clone() },
    };
    let (conditions, refusals): (Vec<Compare>, Vec<Refusal>) = compare.into_iter().unzip();
    let compare = std::iter::once(own).chain(conditions).collect();
    Step::meta(MetaRequest::Txn { compare, writes }, move |_, response| match response {
        MetaResponse::Committed { revision } => {
            Step::reply_when(move |broker| broker.metadata_revision() >= revision, answer) // I2; I4 of the API
        }
        MetaResponse::Conflict { index: 0, .. } if tries < TRIES_MAX => attempt(key, edit, tries + 1), // I1
        MetaResponse::Conflict { index, .. } => {
            let broken = usize::try_from(index).ok().and_then(|index| refusals.into_iter().nth(index.wrapping_sub(1)));
            Err(broken
                .unwrap_or_else(|| Refusal::new(409, "Concurrent modification: others keep changing it, try again")))
        }
        other => Err(refused(&key, other)),
    })
}

/// Runs one transaction without reading first; `broken` words a condition that did not hold.
pub(crate) fn transact(
    compare: Vec<Compare>,
    writes: Vec<Write>,
    broken: Refusal,
    then: impl FnOnce(&Context<'_>) -> Next + Send + 'static,
) -> Next {
    Step::meta(MetaRequest::Txn { compare, writes }, move |_, response| match response {
        MetaResponse::Committed { revision } => Step::wait(move |broker| broker.metadata_revision() >= revision, then),
        MetaResponse::Conflict { .. } => Err(broken),
        other => Err(refused("the transaction", other)),
    })
}

/// Deletes every key below `prefix`, then goes on.
pub(crate) fn purge(prefix: String, then: impl FnOnce(&Context<'_>) -> Next + Send + 'static) -> Next {
    const AT_ONCE: u32 = 500;
    let request = MetaRequest::Range { prefix: prefix.clone(), after: None, limit: AT_ONCE };
    Step::meta(request, move |context, response| match response {
        MetaResponse::Range { items, .. } if items.is_empty() => then(context),
        MetaResponse::Range { items, .. } => {
            let writes = items.into_iter().map(|(key, _)| Write::Delete { key }).collect();
            let busy = Refusal::new(409, "Concurrent modification: try again");
            // Boxed: the type of a closure that calls itself would have no end.
            let then: Box<dyn FnOnce(&Context<'_>) -> Next + Send> = Box::new(then);
            transact(Vec::new(), writes, busy, move |_| purge(prefix, then))
        }
        other => Err(refused(&prefix, other)),
    })
}

/// What is said when the metadata does not do what was asked of it.
pub(crate) fn refused(key: &str, response: MetaResponse) -> Refusal {
    match response {
        MetaResponse::Unavailable { reason } => Refusal::new(
            503,
            format!("the metadata store gave no answer ({reason}): look whether {key} changed, then try again"),
        ),
        MetaResponse::Refused { reason } => Refusal::new(412, format!("the metadata store refuses {key}: {reason}")),
        other => Refusal::new(500, format!("the metadata store answered {key} out of turn: {other:?}")),
    }
}

/// Reads a stored record.
pub(crate) fn decode<T: DeserializeOwned>(value: &[u8], key: &str) -> Result<T, Refusal> {
    serde_json::from_slice(value)
        .map_err(|error| Refusal::new(500, format!("the stored record {key} cannot be read: {error}")))
}

/// Writes a record.
pub(crate) fn put_json(key: String, record: &impl Serialize) -> Result<Write, Refusal> {
    match serde_json::to_vec(record) {
        Ok(bytes) => Ok(Write::Put { key, value: bytes.into() }),
        Err(error) => Err(Refusal::new(500, format!("the record {key} cannot be written: {error}"))),
    }
}

/// Changes a namespace's record and raises its version, so that other regions take it over.
pub(crate) fn edit_namespace(
    namespace: NamespaceName,
    answer: HttpResponse,
    change: impl Fn(&Context<'_>, &mut PolicyRecord) -> Result<(), Refusal> + Send + Sync + 'static,
) -> Next {
    let key = keys::namespace_key(&namespace);
    edit_record(key.clone(), move |context, found| {
        let bytes = found.ok_or_else(|| no_namespace(context, &namespace))?;
        let before: PolicyRecord = decode(bytes, &key)?;
        let mut record = before.clone();
        change(context, &mut record)?;
        record.version += 1;
        record.writer = Some(context.directory().cluster_name().clone());
        Ok(Edit { compare: Vec::new(), writes: vec![put_json(key.clone(), &record)?], answer: answer.clone() })
    })
}

/// The two texts that Pulsar's client tests compare (facts/pulsar-admin-rest.md §11).
pub(crate) fn no_namespace(context: &Context<'_>, namespace: &NamespaceName) -> Refusal {
    match context.directory().tenant(namespace.tenant()) {
        Some(_) => Refusal::new(404, "Namespace does not exist"),
        None => Refusal::new(404, "Tenant does not exist"),
    }
}

/// That the namespace exists, as far as this node has heard.
pub(crate) fn require_namespace(context: &Context<'_>, namespace: &NamespaceName) -> Result<(), Refusal> {
    match context.directory().namespace(namespace) {
        Some(_) => Ok(()),
        None => Err(no_namespace(context, namespace)),
    }
}
