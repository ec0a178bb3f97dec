//! One process at a time on a data folder.

use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io;
use std::path::Path;

/// Held until dropped; the kernel lets go of it when the process dies.
#[derive(Debug)]
pub(crate) struct DataLock {
    _file: File,
}

impl DataLock {
    /// Takes the lock of `dir`; `Ok(None)` when another process holds it.
    ///
    /// # Errors
    /// When the lock file cannot be created.
    pub(crate) fn take(dir: &Path) -> io::Result<Option<Self>> {
        let file = File::options().create(true).truncate(false).write(true).open(dir.join("LOCK"))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_taker_gets_nothing_until_the_first_lets_go() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataLock::take(dir.path()).unwrap();
        assert!(first.is_some());
        assert!(DataLock::take(dir.path()).unwrap().is_none());
        drop(first);
        assert!(DataLock::take(dir.path()).unwrap().is_some());
    }
}
