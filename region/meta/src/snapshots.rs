//! The snapshot file: the state machine as of one log entry.
//!
//! ```text
//! file = magic "MDNSNAP\x01", meta length u32, meta (JSON), state length u64, state (meta-api's bytes), CRC32C
//! ```
//!
//! **Invariants**
//! - I1  the file has its name only once it is whole and durable, so that a start finds the old one or the new one.
//!
//! **Not here**  When to take a snapshot (`compaction`), what the state's bytes mean (`meta-api`).

use crate::error::{IoFailure, OpenError};
use crate::raft_types::SnapshotMeta;
use crate::wal::{NEW, sync_dir};
use bytes::{Buf, BufMut};
use meta_api::MetaState;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

const MAGIC: &[u8; 8] = b"MDNSNAP\x01";
const CRC_LEN: usize = 4;

/// The snapshot file of one node.
#[derive(Debug)]
pub(crate) struct Snapshots {
    path: PathBuf,
    /// The lock is held while a file is written, so that two never write at once.
    current: Mutex<Current>,
}

/// What the file on disk holds.
#[derive(Debug, Default)]
struct Current {
    meta: Option<SnapshotMeta>,
    /// Its bytes as read when the node started: openraft asks for the snapshot once while it starts.
    unread: Option<StoredSnapshot>,
}

/// A snapshot as read from disk.
#[derive(Debug)]
pub(crate) struct StoredSnapshot {
    pub(crate) meta: SnapshotMeta,
    /// The bytes of [`MetaState::to_snapshot`].
    pub(crate) state: Vec<u8>,
}

impl Snapshots {
    /// Finds the snapshot, if there is one, and the state that it holds.
    ///
    /// # Errors
    /// [`OpenError::Damaged`] when the file is not what was written.
    pub(crate) fn open(path: &Path) -> Result<(Self, Option<(SnapshotMeta, MetaState)>), OpenError> {
        let damaged = |offset, what| OpenError::Damaged { path: path.to_owned(), offset, what };
        let Some(bytes) = read_file(path)? else {
            return Ok((Self { path: path.to_owned(), current: Mutex::default() }, None));
        };
        let stored = decode(bytes).map_err(|(offset, what)| damaged(offset, what))?;
        let state = MetaState::from_snapshot(&stored.state).map_err(|error| damaged(0, error.to_string()))?;
        let meta = stored.meta.clone();
        let current = Current { meta: Some(meta.clone()), unread: Some(stored) };
        Ok((Self { path: path.to_owned(), current: Mutex::new(current) }, Some((meta, state))))
    }

    /// Writes a snapshot and forgets the one before; durable when this returns. Blocks.
    ///
    /// # Errors
    /// The failed file operation; the old snapshot is untouched then.
    pub(crate) fn save(&self, meta: &SnapshotMeta, state: &[u8]) -> Result<(), IoFailure> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.meta.as_ref().is_some_and(|current| current.last_log_id > meta.last_log_id) {
            return Ok(()); // A newer one was installed while this one was built.
        }
        let new = self.path.with_extension(NEW);
        let written = write_durably(&new, meta, state);
        written.map_err(|source| {
            // Holds space that the log may need; a leftover would be overwritten anyway.
            let _ = std::fs::remove_file(&new);
            IoFailure { what: "write", path: new.clone(), source }
        })?;
        let renamed = std::fs::rename(&new, &self.path);
        renamed.map_err(|source| IoFailure { what: "rename", path: new, source })?;
        sync_dir(self.path.parent().unwrap_or_else(|| Path::new(".")))?;
        *current = Current { meta: Some(meta.clone()), unread: None };
        Ok(())
    }

    /// What the snapshot on disk covers.
    pub(crate) fn current(&self) -> Option<SnapshotMeta> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).meta.clone()
    }

    /// Reads the snapshot from disk again. Blocks.
    ///
    /// # Errors
    /// [`OpenError`] when the file is unreadable or damaged by now.
    pub(crate) fn read(&self) -> Result<Option<StoredSnapshot>, OpenError> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(unread) = current.unread.take() {
            return Ok(Some(unread));
        }
        let Some(bytes) = read_file(&self.path)? else { return Ok(None) };
        let damaged = |(offset, what)| OpenError::Damaged { path: self.path.clone(), offset, what };
        decode(bytes).map(Some).map_err(damaged)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

fn read_file(path: &Path) -> Result<Option<Vec<u8>>, IoFailure> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(IoFailure { what: "read", path: path.to_owned(), source }),
    }
}

fn write_durably(path: &Path, meta: &SnapshotMeta, state: &[u8]) -> io::Result<()> {
    let meta = serde_json::to_vec(meta).map_err(io::Error::other)?;
    let mut head = Vec::with_capacity(meta.len() + 32);
    head.put_slice(MAGIC);
    head.put_u32_le(u32::try_from(meta.len()).map_err(io::Error::other)?);
    head.put_slice(&meta);
    head.put_u64_le(u64::try_from(state.len()).map_err(io::Error::other)?);
    let crc = crc32c::crc32c_append(crc32c::crc32c(&head), state);
    let mut file = File::create(path)?;
    file.write_all(&head)?;
    file.write_all(state)?;
    file.write_all(&crc.to_le_bytes())?;
    file.sync_all()
}

/// Takes the file apart in place: its state may be large. The error tells offset and description of what does not read.
fn decode(mut file: Vec<u8>) -> Result<StoredSnapshot, (u64, String)> {
    let cut = || (0, "it is shorter than a snapshot".to_owned());
    let (body, crc) = file.split_at_checked(file.len().saturating_sub(CRC_LEN)).ok_or_else(cut)?;
    let mut rest = body.strip_prefix(MAGIC).ok_or_else(|| (0, "it does not start like a snapshot".to_owned()))?;
    let crc = crc.try_into().map(u32::from_le_bytes).map_err(|_| cut())?;
    if crc32c::crc32c(body) != crc {
        return Err((0, format!("the checksum of its {} bytes does not fit", file.len())));
    }
    let meta_len = rest.try_get_u32_le().map_err(|_| cut())?;
    let (meta, mut rest) = rest.split_at_checked(usize::try_from(meta_len).unwrap_or(usize::MAX)).ok_or_else(cut)?;
    let meta = serde_json::from_slice(meta).map_err(|error| (0, format!("its description does not read: {error}")))?;
    let state_len = rest.try_get_u64_le().map_err(|_| cut())?;
    if u64::try_from(rest.len()) != Ok(state_len) {
        return Err(cut());
    }
    let state_at = body.len() - rest.len();
    file.truncate(file.len() - CRC_LEN);
    file.drain(..state_at);
    Ok(StoredSnapshot { meta, state: file })
}
