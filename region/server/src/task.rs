//! Tasks with a name: the only place that spawns.

use std::future::Future;
use tokio::runtime::Handle;
use tracing::Instrument;

/// Runs a future on the socket pool under a name that its log lines carry. When the pool ends, so does the task.
pub(crate) fn spawn(pool: &Handle, name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
    pool.spawn(future.instrument(tracing::info_span!("task", name)));
}
