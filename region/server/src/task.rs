//! Tasks with a name: the only place that spawns.

use std::future::Future;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tracing::Instrument;

/// Runs a future on the socket pool under a name that its log lines carry. When the pool ends, so does the task.
pub(crate) fn spawn(pool: &Handle, name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
    pool.spawn(future.instrument(tracing::info_span!("task", name)));
}

/// The same on another runtime, for somebody who waits for it, or ends it by dropping `set`.
pub(crate) fn join_on<T: Send + 'static>(
    set: &mut JoinSet<T>,
    runtime: &Handle,
    name: &'static str,
    future: impl Future<Output = T> + Send + 'static,
) {
    set.spawn_on(future.instrument(tracing::info_span!("task", name)), runtime);
}
