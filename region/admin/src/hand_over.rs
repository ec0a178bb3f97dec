//! Moving all bundles of a namespace, whichever nodes serve them.
//!
//! **What**  The owners are told through their records: each closes the bundle's topics and hands it over. The request goes on
//! when none is being handed over any more.
//!
//! **Not here**  Which node gets what (`cluster::View`), closing topics (`broker`).

use crate::answer::Refusal;
use crate::step::{Context, Next, Step, Then};
use base::NamespaceName;
use broker::Broker;
use cluster::View;
use meta_api::{MetaRequest, MetaResponse};

/// How often the records are written again because an owner changed in between.
const TRIES_MAX: u32 = 8;

/// What is to be written; `None` when nothing has to move.
pub(crate) type Moves = fn(&View, &NamespaceName) -> Option<MetaRequest>;

/// Moves bundles, then goes on.
pub(crate) fn hand_over(
    context: &Context<'_>,
    namespace: NamespaceName,
    moves: Moves,
    then: impl FnOnce(&Context<'_>) -> Next + Send + 'static,
) -> Next {
    attempt(context, namespace, moves, 1, Box::new(move |context, ()| then(context)))
}

fn attempt(context: &Context<'_>, namespace: NamespaceName, moves: Moves, tries: u32, then: Then<()>) -> Next {
    let request = context.broker.core().cluster.view().and_then(|view| moves(view, &namespace));
    let Some(request) = request else { return then(context, ()) };
    Step::meta(request, move |_, response| match response {
        MetaResponse::Committed { revision } => {
            let handed = move |broker: &Broker| {
                let view = broker.core().cluster.view();
                broker.metadata_revision() >= revision && !view.is_some_and(|view| view.is_unloading(&namespace))
            };
            Step::wait(handed, move |context| then(context, ()))
        }
        // The view shows soon which owner has changed.
        MetaResponse::Conflict { actual, .. } if tries < TRIES_MAX => {
            let revision = actual.map_or(0, |found| found.version);
            let shown = move |broker: &Broker| broker.metadata_revision() >= revision;
            Step::wait(shown, move |context| attempt(context, namespace, moves, tries + 1, then))
        }
        MetaResponse::Conflict { .. } => Err(Refusal::new(409, "the owners of its bundles keep changing: try again")),
        MetaResponse::Unavailable { reason } => {
            Err(Refusal::new(503, format!("the metadata store gave no answer ({reason}): try again")))
        }
        other => Err(Refusal::new(500, format!("the metadata store answered out of turn: {other:?}"))),
    })
}
