//! The files of one metadata node, and whether they belong together.
//!
//! ```text
//! identity   whose directory this is, written once
//! log        vote and entries (`wal`)
//! snapshot   the state machine as of one entry (`snapshots`); absent at first
//! *.new      a file that did not get its name; removed at the next start
//! ```
//!
//! **Tests**  `directory/tests.rs`: each file missing, damaged, or of another node.

use crate::error::{IoFailure, OpenError};
use crate::fatal::FatalSwitch;
use crate::identity::Identity;
use crate::log_store::LogStore;
use crate::snapshots::Snapshots;
use crate::state_machine::StateMachine;
use crate::wal::{FileOptions, LogFile, NEW, sync_dir};
use std::hash::{BuildHasher, RandomState};
use std::path::Path;

pub(crate) const IDENTITY_FILE: &str = "identity";
pub(crate) const LOG_FILE: &str = "log";
pub(crate) const SNAPSHOT_FILE: &str = "snapshot";

/// Opens a node's files, or creates them in an empty directory. Blocks.
///
/// # Errors
/// [`OpenError`] when a file is missing, damaged or foreign. Nothing is changed then, except that leftovers of
/// unfinished files are gone.
pub(crate) fn open_directory(
    dir: &Path,
    node: u64,
    options: FileOptions,
    fatal: &FatalSwitch,
) -> Result<(LogStore, StateMachine), OpenError> {
    create_dir(dir)?;
    remove_leftovers(dir)?;
    let (identity_path, log_path) = (dir.join(IDENTITY_FILE), dir.join(LOG_FILE));
    let identity = Identity::read(&identity_path)?;
    let (snapshots, found) = Snapshots::open(&dir.join(SNAPSHOT_FILE))?;
    let has_log =
        log_path.try_exists().map_err(|source| IoFailure { what: "look for", path: log_path.clone(), source })?;
    if !has_log {
        if identity.is_some() || found.is_some() {
            let what = "the file is missing, though this directory had one".to_owned();
            return Err(OpenError::Damaged { path: log_path, offset: 0, what });
        }
        LogFile::create(&log_path, node, new_stream(), options)?;
    }
    let log = LogStore::open(&log_path, options, fatal.clone())?;
    check_owner(dir, node, identity, &log)?;
    check_snapshot(&snapshots, &log)?;
    if identity.is_none() {
        Identity::new(node, log.stream()).write(&identity_path)?;
    }
    Ok((log, StateMachine::new(snapshots, found, fatal.clone())))
}

fn create_dir(dir: &Path) -> Result<(), OpenError> {
    let failed = |source| IoFailure { what: "create the directory", path: dir.to_owned(), source };
    if dir.try_exists().map_err(failed)? {
        return Ok(());
    }
    std::fs::create_dir_all(dir).map_err(failed)?;
    Ok(sync_dir(dir.parent().unwrap_or_else(|| Path::new(".")))?)
}

fn remove_leftovers(dir: &Path) -> Result<(), OpenError> {
    for name in [IDENTITY_FILE, LOG_FILE, SNAPSHOT_FILE] {
        let path = dir.join(name).with_extension(NEW);
        match std::fs::remove_file(&path) {
            Ok(()) => (),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => (),
            Err(source) => return Err(IoFailure { what: "remove", path, source }.into()),
        }
    }
    Ok(())
}

fn check_owner(dir: &Path, node: u64, identity: Option<Identity>, log: &LogStore) -> Result<(), OpenError> {
    let foreign = |what| Err(OpenError::Foreign { path: dir.to_owned(), what });
    if log.node() != node {
        return foreign(format!("it belongs to metadata node {}, this is node {node}", log.node()));
    }
    match identity {
        Some(identity) if identity.node != node || identity.stream != log.stream() => {
            foreign("its identity file and its log were not written by the same node".to_owned())
        }
        Some(_) | None => Ok(()),
    }
}

/// What the log has dropped must stand in the snapshot.
fn check_snapshot(snapshots: &Snapshots, log: &LogStore) -> Result<(), OpenError> {
    let covered = snapshots.current().and_then(|meta| meta.last_log_id).map(|last| last.index);
    match log.purged() {
        Some(purged) if covered.is_none_or(|covered| covered < purged.index) => {
            let what = format!("the log starts behind entry {}, and no snapshot holds what came before", purged.index);
            Err(OpenError::Damaged { path: snapshots.path().to_owned(), offset: 0, what })
        }
        Some(_) | None => Ok(()),
    }
}

/// A number that nobody can guess: the standard library's hasher keys are the operating system's entropy.
fn new_stream() -> u64 {
    RandomState::new().hash_one("meridian metadata log")
}

#[cfg(test)]
mod tests;
