//! Whose directory this is: one small file that outlives every rewrite of the log.
//!
//! **What**  It makes a missing log visible: without it, a directory that lost its log would look like a new one, and a
//! node that forgot its vote and its entries would vote again.

use crate::error::{IoFailure, OpenError};
use crate::wal::{NEW, sync_dir};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

const FORMAT: u32 = 1;

/// The owner of a metadata directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    format: u32,
    pub(crate) node: u64,
    /// Number of the log that belongs here.
    pub(crate) stream: u64,
}

impl Identity {
    pub(crate) fn new(node: u64, stream: u64) -> Self {
        Self { format: FORMAT, node, stream }
    }

    /// The identity in this file, `None` when there is no such file.
    ///
    /// # Errors
    /// [`OpenError`] when it cannot be read or is none.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, OpenError> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(IoFailure { what: "read", path: path.to_owned(), source }.into()),
        };
        let damaged = |what: String| OpenError::Damaged { path: path.to_owned(), offset: 0, what };
        let identity: Self = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        match identity.format {
            FORMAT => Ok(Some(identity)),
            other => Err(damaged(format!("its format is {other}, this version knows {FORMAT}"))),
        }
    }

    /// Writes the file; durable when this returns.
    pub(crate) fn write(&self, path: &Path) -> Result<(), IoFailure> {
        let new = path.with_extension(NEW);
        let written = serde_json::to_vec(self).map_err(io::Error::other).and_then(|bytes| {
            let mut file = File::create(&new)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            std::fs::rename(&new, path)
        });
        written.map_err(|source| IoFailure { what: "write", path: path.to_owned(), source })?;
        sync_dir(path.parent().unwrap_or_else(|| Path::new(".")))
    }
}
