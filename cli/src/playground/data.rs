//! The playground's folder: taken by one playground at a time, emptied unless it is kept.
//!
//! **Invariants**
//! - I1  a folder that is not a playground's is never emptied: the marker file says whose it is.

use crate::exit::Failure;
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Says that a folder belongs to a playground.
const MARKER: &str = ".meridian-playground";

/// What happens to the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    All,
    Nothing,
}

/// The folder, locked.
#[derive(Debug)]
pub(super) struct DataDir {
    path: PathBuf,
    keep: Keep,
    _lock: File,
}

impl DataDir {
    /// Takes a folder, which is made when missing and emptied when nothing is to be kept.
    ///
    /// # Errors
    /// When it belongs to something else, or another playground runs on it.
    pub(super) fn take(path: &Path, keep: Keep) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::io(format!("cannot use the folder {}", path.display()), error);
        fs::create_dir_all(path).map_err(failed)?;
        let path = path.canonicalize().map_err(failed)?;
        let marker = path.join(MARKER);
        let foreign = !marker.exists() && fs::read_dir(&path).map_err(failed)?.next().is_some();
        if foreign {
            let reason =
                format!("{} holds other things: give the playground a folder of its own with --data", path.display());
            return Err(Failure::config(reason)); // I1
        }
        let lock = File::options().create(true).truncate(false).write(true).open(&marker).map_err(failed)?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            let reason = format!("another playground is running on {}: stop it, or use another --data", path.display());
            return Err(Failure::with_code(75, reason));
        }
        let dir = Self { path, keep, _lock: lock };
        if keep == Keep::Nothing {
            dir.empty().map_err(failed)?;
        }
        Ok(dir)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn empty(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => fs::remove_dir_all(entry.path())?,
                false if entry.file_name() == MARKER => (),
                false => fs::remove_file(entry.path())?,
            }
        }
        Ok(())
    }

    /// Removes what is not to be kept.
    pub(super) fn end(self) {
        if self.keep == Keep::All {
            return;
        }
        // The marker goes last; the folder itself only if it is empty then. What cannot be removed is found by the next run.
        let _ = self
            .empty()
            .and_then(|()| fs::remove_file(self.path.join(MARKER)))
            .and_then(|()| fs::remove_dir(&self.path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_other_things_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.txt"), "x").unwrap();
        assert!(DataDir::take(dir.path(), Keep::Nothing).is_err());
        assert!(dir.path().join("thesis.txt").exists());
    }

    #[test]
    fn content_is_kept_only_when_asked_and_the_folder_has_one_user() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p");
        let first = DataDir::take(&path, Keep::All).unwrap();
        fs::create_dir(path.join("east-0")).unwrap();
        assert!(DataDir::take(&path, Keep::All).is_err());
        first.end();
        let second = DataDir::take(&path, Keep::All).unwrap();
        assert!(path.join("east-0").exists());
        drop(second);
        let third = DataDir::take(&path, Keep::Nothing).unwrap();
        assert!(!path.join("east-0").exists());
        third.end();
        assert!(!path.exists());
    }
}
