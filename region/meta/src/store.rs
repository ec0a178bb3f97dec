//! Opening and closing a metadata node.

use crate::error::{MetaFatal, OpenError};
use crate::handle::MetaHandle;
use crate::options::MetaOptions;
use std::path::Path;

/// A running metadata node.
#[derive(Debug)]
pub struct MetaStore {
    handle: MetaHandle,
}

impl MetaStore {
    /// Opens the directory, creates it when absent, and returns when the node can answer. `fatal` is called at most
    /// once, from a thread of the store, and is expected to end the process.
    ///
    /// # Errors
    /// [`OpenError`] when the directory is damaged, foreign or unreadable.
    pub async fn open(
        _dir: &Path,
        _options: MetaOptions,
        _fatal: impl FnOnce(MetaFatal) + Send + 'static,
    ) -> Result<Self, OpenError> {
        unimplemented!()
    }

    pub fn handle(&self) -> MetaHandle {
        self.handle.clone()
    }

    /// Stops the node. Requests that were not answered end as unavailable.
    pub async fn close(self) {
        unimplemented!()
    }
}
