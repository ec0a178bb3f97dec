//! Brokers of the region: who they are and what they run with.

use crate::answer::text;
use crate::call::Call;
use crate::step::{Context, Next, Step};

pub(crate) fn version(context: &Context<'_>, _call: Call) -> Next {
    Ok(Step::Reply(text(context.broker.core().options.server_version.clone())))
}
