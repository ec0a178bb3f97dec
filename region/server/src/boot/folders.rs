//! Whether the folders of a data folder still belong together, looked at before anything is opened or made.
//!
//! **What**  A voter that forgot its votes may vote twice, and a bookie that forgot its entries may say that there never were
//! any: both break what the region has promised. So a folder that was in use and is empty now ends the start.
//!
//! **Invariants**
//! - I1  a node that has taken an incarnation starts only with something in `meta/` and `log/`: it cannot have voted or
//!   kept an entry before it took one.
//! - I2  a node that is alone starts only when its metadata and its log agree on whether there are ledgers.
//! - I3  a start that is refused leaves nothing behind that the next one would take for the missing folder.
//!
//! **Not here**  Damage inside the files (`meta`, `disk`), a disk that is old as a whole (`cluster::passport`).

use super::{BootError, io_error};
use crate::cluster::passport::Passport;
use crate::config::{ConfigError, ServerConfig};
use base::NodeId;
use bookie::RecoveredLog;
use std::io;
use std::path::Path;

/// What stood in the data folder before this start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Folders {
    /// Something of a metadata store.
    pub(crate) meta: bool,
    /// Files of a log.
    pub(crate) log: bool,
}

/// Why folders do not belong together. Each says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Forgotten {
    #[error(
        "it is empty, and node.json says that node {0} has run on this data folder: a voter that forgot its votes may \
         break what it has promised. Empty the whole data folder to join as a new node, and remove the old one with \
         `meridian admin cluster remove-node {0}`"
    )]
    Votes(NodeId),
    #[error(
        "it is empty, and node.json says that node {0} has run on this data folder: a bookie that forgot its entries may \
         break what it has promised. Empty the whole data folder to join as a new node, and remove the old one with \
         `meridian admin cluster remove-node {0}`"
    )]
    Entries(NodeId),
    #[error(
        "it is missing, and meta/ or log/ beside it are not empty: nothing says whose they are. Put it back, or empty \
         the whole data folder to join as a new node"
    )]
    Name,
    #[error(
        "this data folder is that of node {0} of a region of several: name [node] founders or [node] join in the \
         configuration"
    )]
    Alone(NodeId),
    #[error(
        "it is empty, and the metadata beside it knows {0} ledgers: what they held is gone from here. Put log/ back, or \
         empty the whole data folder to begin a new region"
    )]
    AllEntries(usize),
    #[error(
        "it is empty, and the log beside it holds {0} ledgers that only the metadata can name: a start would delete them. \
         Put meta/ back, or empty the whole data folder to begin a new region"
    )]
    AllNames(usize),
}

impl Folders {
    /// Looks.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub(super) fn look(data: &Path) -> Result<Self, BootError> {
        let any = |name: &str, counts: fn(&str) -> bool| {
            let dir = data.join(name);
            holds(&dir, counts).map_err(io_error(format!("read the folder {}", dir.display())))
        };
        Ok(Self {
            meta: any("meta", |name| !name.ends_with(".new"))?,
            log: any("log", |name| name.starts_with("log-"))?,
        })
    }

    /// Checks what can be told before anything is opened (I1).
    ///
    /// # Errors
    /// [`BootError::Config`], which names the folder, the rule and the remedy.
    pub(super) fn check(self, config: &ServerConfig) -> Result<(), BootError> {
        let passport = Passport::load(&config.data).map_err(io_error("read node.json"))?;
        let several = config.node.is_of_several();
        let may_found = config.node.founders.first() == Some(&config.peer_address());
        let Some((name, why)) = self.forgotten(passport.as_ref(), several, may_found) else { return Ok(()) };
        Err(refused(config, name, &why))
    }

    fn forgotten(
        self,
        passport: Option<&Passport>,
        several: bool,
        may_found: bool,
    ) -> Option<(&'static str, Forgotten)> {
        let Some(passport) = passport else {
            // The first founder may have been alone before.
            let foreign = several && !may_found && (self.meta || self.log);
            return foreign.then_some(("node.json", Forgotten::Name));
        };
        let node = passport.node?;
        if !several {
            return Some(("node.json", Forgotten::Alone(node)));
        }
        match self {
            _ if !passport.has_begun() => None,
            Self { meta: false, .. } => Some(("meta", Forgotten::Votes(node))),
            Self { log: false, .. } => Some(("log", Forgotten::Entries(node))),
            Self { .. } => None,
        }
    }

    /// Checks what a node that is alone finds in its log, before metadata is made beside it (I2).
    ///
    /// # Errors
    /// [`BootError::Config`], which names the folder, the rule and the remedy.
    pub(super) fn check_names(self, config: &ServerConfig, kept: usize) -> Result<(), BootError> {
        if self.meta || kept == 0 { Ok(()) } else { Err(refused(config, "meta", &Forgotten::AllNames(kept))) }
    }

    /// Checks what a node that is alone finds in its metadata, before anything is written to the log beside it (I2). A file of
    /// the log exists from the first entry on.
    ///
    /// # Errors
    /// [`BootError::Config`], which names the folder, the rule and the remedy.
    pub(super) fn check_entries(self, config: &ServerConfig, known: usize) -> Result<(), BootError> {
        if self.log || known == 0 { Ok(()) } else { Err(refused(config, "log", &Forgotten::AllEntries(known))) }
    }

    /// The metadata of another node stands here, and this one is to get a new number.
    pub(crate) fn foreign_metadata(self, config: &ServerConfig) -> Result<(), BootError> {
        if self.meta { Err(refused(config, "node.json", &Forgotten::Name)) } else { Ok(()) }
    }
}

/// Ledgers of which the log holds something, deleted or not.
pub(super) fn kept_ledgers(log: &RecoveredLog) -> usize {
    let deleted = |ledger| log.files.iter().any(|file| file.index.deleted.contains(ledger));
    let mut kept: Vec<_> = log.files.iter().flat_map(|file| file.index.ledgers.keys()).collect();
    kept.sort_unstable();
    kept.dedup();
    kept.into_iter().filter(|ledger| !deleted(ledger)).count()
}

fn refused(config: &ServerConfig, name: &str, why: &Forgotten) -> BootError {
    ConfigError::new(&config.data.join(name).display().to_string(), why.to_string()).into()
}

fn holds(dir: &Path, counts: fn(&str) -> bool) -> io::Result<bool> {
    let items = match std::fs::read_dir(dir) {
        Ok(items) => items,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    for item in items {
        if counts(&item?.file_name().to_string_lossy()) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::RegionName;

    const NODE: NodeId = NodeId(2);
    const BOTH: Folders = Folders { meta: true, log: true };
    const NEITHER: Folders = Folders { meta: false, log: false };

    fn passport(incarnation: u64, taking: Option<u64>) -> Passport {
        let region = RegionName::parse("east").unwrap();
        Passport { node: Some(NODE), incarnation, taking, ..Passport::fresh(region, 7) }
    }

    fn several(folders: Folders, passport: Option<&Passport>) -> Option<(&'static str, Forgotten)> {
        folders.forgotten(passport, true, false)
    }

    #[test]
    fn i1_a_node_that_has_run_and_lacks_a_folder_is_refused_with_its_name_and_the_remedy() {
        for begun in [passport(1, None), passport(0, Some(1))] {
            assert_eq!(several(BOTH, Some(&begun)), None);
            let votes = several(Folders { meta: false, log: true }, Some(&begun)).unwrap();
            assert_eq!(votes, ("meta", Forgotten::Votes(NODE)));
            let entries = several(Folders { meta: true, log: false }, Some(&begun)).unwrap();
            assert_eq!(entries, ("log", Forgotten::Entries(NODE)));
            for text in [votes.1.to_string(), entries.1.to_string()] {
                assert!(text.contains("Empty the whole data folder") && text.contains("remove-node 2"), "{text}");
            }
        }
        assert_eq!(several(NEITHER, Some(&passport(0, None))), None, "it was stopped while it joined");
        assert_eq!(several(NEITHER, None), None, "a new node");
    }

    #[test]
    fn folders_without_a_name_are_nobodys_and_a_node_of_several_is_not_alone() {
        assert_eq!(several(BOTH, None), Some(("node.json", Forgotten::Name)));
        assert_eq!(BOTH.forgotten(None, true, true), None, "a region of one node grows");
        assert_eq!(BOTH.forgotten(None, false, false), None, "a region of one node");
        assert_eq!(BOTH.forgotten(Some(&passport(3, None)), false, false), Some(("node.json", Forgotten::Alone(NODE))));
    }

    #[test]
    fn i2_metadata_and_log_of_a_node_that_is_alone_agree() {
        let dir = tempfile::tempdir().unwrap();
        let config = ServerConfig::standalone(dir.path().to_owned(), RegionName::parse("east").unwrap());
        let said = |folders: Folders, known, kept| {
            let checked = folders.check_names(&config, kept).and_then(|()| folders.check_entries(&config, known));
            let error = checked.err()?;
            assert_eq!(error.exit_code(), 78);
            Some(error.to_string())
        };
        assert_eq!(said(NEITHER, 0, 0), None);
        assert_eq!(said(BOTH, 3, 3), None);
        assert_eq!(said(Folders { meta: true, log: false }, 0, 0), None, "nothing was ever published");
        assert!(said(Folders { meta: true, log: false }, 3, 0).unwrap().contains("log: it is empty"));
        assert!(said(Folders { meta: false, log: true }, 0, 3).unwrap().contains("meta: it is empty"));
    }

    #[test]
    fn only_files_of_the_log_and_whole_files_of_the_metadata_count() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Folders::look(dir.path()).unwrap(), NEITHER);
        for name in ["meta", "log"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        std::fs::write(dir.path().join("meta/log.new"), b"").unwrap();
        std::fs::write(dir.path().join("log/free-0000000001"), b"").unwrap();
        assert_eq!(Folders::look(dir.path()).unwrap(), NEITHER);
        std::fs::write(dir.path().join("meta/log"), b"").unwrap();
        std::fs::write(dir.path().join("log/log-0000000001"), b"").unwrap();
        assert_eq!(Folders::look(dir.path()).unwrap(), BOTH);
    }
}
