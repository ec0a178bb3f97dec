//! Takes connections, so many strangers at a time.

use crate::arrival;
use crate::shared::Shared;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// How long to wait when the system has no socket left.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

/// Serves until dropped; every connection ends with it.
pub(crate) async fn run(shared: Arc<Shared>, listener: TcpListener) {
    let strangers = Arc::new(Semaphore::new(shared.limits.strangers_max));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "peer: a connection's task failed");
                }
            }
            accepted = listener.accept() => match accepted {
                Ok((tcp, from)) => match Arc::clone(&strangers).try_acquire_owned() {
                    Ok(stranger) => drop(connections.spawn(arrival::serve(Arc::clone(&shared), tcp, from, stranger))),
                    Err(_) => shared.complain(from, "too many connections have not said who they are"),
                },
                Err(error) => {
                    tracing::warn!(%error, "peer: no connection can be accepted");
                    tokio::time::sleep(EXHAUSTED_PAUSE).await;
                }
            },
        }
    }
}
