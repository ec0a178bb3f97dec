//! Whether entries would have no copy within reach without a node: a look at all ledgers, page by page.
//!
//! **Not here**  Making the copies that lack (`cluster::Auditor`).

use crate::answer::Refusal;
use crate::record::{decode, refused};
use crate::step::{Context, Next, Step};
use base::NodeId;
use ledger::{LedgerMetadata, UnderReplication};
use meta_api::{MetaRequest, MetaResponse, Versioned};
use std::collections::BTreeSet;
use tenancy::keys::{self, Key};

/// Ledgers asked for at once.
const PAGE: u32 = 512;

/// Goes on when every entry that `node` has a copy of has another one on a node that is up.
pub(crate) fn require_others(node: NodeId, then: impl FnOnce(&Context<'_>) -> Next + Send + 'static) -> Next {
    look(node, None, Box::new(then))
}

fn look(node: NodeId, after: Option<String>, then: Box<dyn FnOnce(&Context<'_>) -> Next + Send>) -> Next {
    let request = MetaRequest::Range { prefix: keys::LEDGERS.to_owned(), after, limit: PAGE };
    Step::meta(request, move |context, response| {
        let MetaResponse::Range { items, more } = response else { return Err(refused(keys::LEDGERS, response)) };
        let view = context.broker.core().cluster.view();
        let others: BTreeSet<NodeId> =
            view.into_iter().flat_map(|view| view.live_nodes()).filter(|other| *other != node).collect();
        for (key, value) in &items {
            check(node, &others, key, value)?;
        }
        match items.into_iter().next_back().filter(|_| more) {
            Some((last, _)) => look(node, Some(last), then),
            None => then(context),
        }
    })
}

fn check(node: NodeId, others: &BTreeSet<NodeId>, key: &str, value: &Versioned) -> Result<(), Refusal> {
    let Some(Key::Ledger(ledger)) = Key::parse(key) else { return Ok(()) };
    let metadata: LedgerMetadata = decode(&value.value, key)?;
    let lacks = UnderReplication::find([(ledger, &metadata)], others);
    // Of a ledger whose copies nobody has checked yet, so many of an entry's seats may be without it.
    let sure = metadata.closed().is_some() && !metadata.unchecked;
    let alone = lacks.fragments.iter().filter(|one| one.lost.contains(&node)).find(|one| {
        let vacant = metadata.fragment_of(one.first_entry).vacant().count();
        let doubtful = if sure { 0 } else { metadata.replication.vacancies_max().saturating_sub(vacant) };
        one.copies_left <= doubtful
    });
    let Some(fragment) = alone else { return Ok(()) };
    let reason = format!(
        "ledger {ledger} may have entries, from {} on, of which no node that is up has a copy but node {node}: start the other \
         nodes that have copies, or this one, and wait until meridian_under_replicated_entries and meridian_ledgers_unchecked \
         are 0; or pass --force, which gives these entries up",
        fragment.first_entry
    );
    Err(Refusal::new(412, reason))
}
