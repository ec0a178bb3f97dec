//! Who this node is, on its own disk: `node.json` in the data folder.
//!
//! **What**  The number that the region's metadata gave this node, the cookie that the metadata holds as well, the
//! incarnation, which each start raises by one in both places, and the stamp, which a running node raises in both (`stamps`).
//! A data folder that was restored from a copy, or copied to a second machine, carries numbers that the metadata has left
//! behind.
//!
//! **Invariants**
//! - I1  the file says which incarnation or stamp is being taken before the metadata is asked for it, so that a crash
//!   between the two is told from a copied disk.
//! - I2  a file is replaced whole or not at all, durably.
//! - I3  a node that has started once needs no free byte to start again: beside the file lies a spare one of its size. What is
//!   new is written over the spare, made durable, and then the two change names in one step. So it is where a file system
//!   writes in place and knows such a step; elsewhere the spare is made anew each time.
//! - I4  the spare is written over only while the disk knows it as the spare.

use base::{NodeId, RegionName};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

const FILE: &str = "node.json";
/// The file before this one, or what a crash left of the next: never read.
const SPARE: &str = "node.json.spare";
/// Both files have a multiple of this many bytes, so that a number that grows takes no space.
const BLOCK: usize = 4096;

/// The content of `node.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Passport {
    pub(crate) region: RegionName,
    /// `None` until the region has given it one.
    pub(crate) node: Option<NodeId>,
    /// This node founds the region, and the region does not know it yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) founding: bool,
    /// Drawn once, before the node joined; equal in the metadata.
    pub(crate) cookie: u64,
    /// Of the last start that finished taking it; 0 before the first.
    pub(crate) incarnation: u64,
    /// The incarnation that a start is taking or was taking when it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) taking: Option<u64>,
    /// The last stamp that is known to be in the metadata, and the one that may be.
    #[serde(default)]
    pub(crate) stamp: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stamping: Option<u64>,
    /// Where the other members were at the last start or stamp, to begin with.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) members: BTreeMap<NodeId, String>,
}

/// How far the life of a node's disk has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Age {
    pub(crate) incarnation: u64,
    pub(crate) stamp: u64,
}

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "start {}, stamp {}", self.incarnation, self.stamp)
    }
}

/// Why a node may not take part with this disk. Each says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Foreign {
    #[error(
        "{FILE} in this data folder belongs to region {found}, and the configuration says {wanted}: use the data folder \
         of this region, or an empty one to join it as a new node"
    )]
    Region { found: RegionName, wanted: RegionName },
    #[error(
        "node {0} was removed from this region: what this data folder holds is not needed any more. Use an empty data \
         folder to join as a new node"
    )]
    Removed(NodeId),
    #[error(
        "the region knows node {0} with another disk (their cookies differ): two data folders claim one identity. Use \
         an empty data folder to join as a new node"
    )]
    Cookie(NodeId),
    #[error(
        "another process is running as node {0} of this region: two processes share one identity. Stop it, or use an empty \
         data folder to join as a new node"
    )]
    Running(NodeId),
    #[error(
        "this data folder is an old copy of node {node}'s: it was last used at {disk}, the region has seen {region}. What was promised since is missing here, so it may not answer. Use the newer disk, or remove the \
         node and join with an empty data folder"
    )]
    OldCopy { node: NodeId, disk: Age, region: Age },
}

impl Passport {
    /// Reads the file; `None` when there is none: the node has not joined yet.
    ///
    /// # Errors
    /// When it cannot be read or holds something else.
    pub(crate) fn load(data: &Path) -> io::Result<Option<Self>> {
        let path = data.join(FILE);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| {
                let text = format!("{} is damaged: {error}; restore it, or join again as a new node", path.display());
                io::Error::new(io::ErrorKind::InvalidData, text)
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes the file (I2, I3).
    ///
    /// # Errors
    /// Of the files; the one before stays then.
    pub(crate) fn store(&self, data: &Path) -> io::Result<()> {
        let (folder, spare) = (File::open(data)?, data.join(SPARE));
        // A process that ended before it could make the names durable: on disk, what is the spare now may still be the file.
        folder.sync_all()?; // I4
        let mut file = File::options().write(true).create(true).truncate(false).open(&spare)?;
        let mut text = serde_json::to_vec_pretty(self)?;
        // Never shorter than it was: what is given back may not be had again.
        let len = usize::try_from(file.metadata()?.len()).unwrap_or(0).max(text.len() + 1).next_multiple_of(BLOCK);
        text.resize(len - 1, b' ');
        text.push(b'\n');
        file.write_all(&text)?;
        file.sync_all()?;
        swap(&spare, &data.join(FILE))?;
        // Never taken for a full disk: nobody knows which file has which name now.
        folder.sync_all().map_err(io::Error::other)
    }

    /// A node that has not joined yet.
    pub(crate) fn fresh(region: RegionName, cookie: u64) -> Self {
        Self {
            region,
            node: None,
            founding: false,
            cookie,
            incarnation: 0,
            taking: None,
            stamp: 0,
            stamping: None,
            members: BTreeMap::new(),
        }
    }

    /// Whether a start has taken, or may have taken, an incarnation on this disk.
    pub(crate) fn has_begun(&self) -> bool {
        self.incarnation > 0 || self.taking.is_some()
    }

    /// The incarnation that this start of `node` takes, given the cookie and the age that the metadata holds for
    /// its number.
    ///
    /// # Errors
    /// [`Foreign`] when the disk is not the one that the region knows, or older.
    pub(crate) fn next_incarnation(&self, node: NodeId, known: Option<(u64, Age)>) -> Result<u64, Foreign> {
        let Some((cookie, age)) = known else { return Err(Foreign::Removed(node)) };
        if cookie != self.cookie {
            return Err(Foreign::Cookie(node));
        }
        let (starts, stamps) = ([Some(self.incarnation), self.taking], [Some(self.stamp), self.stamping]); // I1
        if !starts.contains(&Some(age.incarnation)) || !stamps.contains(&Some(age.stamp)) {
            let disk = Age { incarnation: self.incarnation, stamp: self.stamp };
            return Err(Foreign::OldCopy { node, disk, region: age });
        }
        Ok(age.incarnation + 1)
    }

    /// Begins to take the stamp after the one that the metadata holds; to be stored before it is asked for it (I1).
    pub(crate) fn next_stamp(&mut self, held: u64) -> u64 {
        let next = held + 1;
        (self.stamp, self.stamping) = (held, Some(next));
        next
    }
}

/// Gives each file the other's name; where that cannot be, `new` takes the name of `old`, and `old` is gone.
fn swap(new: &Path, old: &Path) -> io::Result<()> {
    match renameat_with(CWD, new, CWD, old, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(()),
        // There is no `old` yet, or the system does not know this.
        Err(Errno::NOENT | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => fs::rename(new, old),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    const NODE: NodeId = NodeId(2);

    fn passport(incarnation: u64, taking: Option<u64>) -> Passport {
        let region = RegionName::parse("east").unwrap();
        Passport { node: Some(NODE), incarnation, taking, ..Passport::fresh(region, 77) }
    }

    fn seen(incarnation: u64, stamp: u64) -> Option<(u64, Age)> {
        Some((77, Age { incarnation, stamp }))
    }

    #[test]
    fn each_start_takes_the_next_incarnation() {
        assert_eq!(passport(0, None).next_incarnation(NODE, seen(0, 0)), Ok(1));
        assert_eq!(passport(4, None).next_incarnation(NODE, seen(4, 0)), Ok(5));
    }

    #[test]
    fn i1_a_crash_while_taking_an_incarnation_is_no_old_copy() {
        assert_eq!(passport(4, Some(5)).next_incarnation(NODE, seen(4, 0)), Ok(5), "before the metadata was asked");
        assert_eq!(passport(4, Some(5)).next_incarnation(NODE, seen(5, 0)), Ok(6), "after it had answered");
    }

    #[test]
    fn i1_a_crash_while_stamping_is_no_old_copy() {
        let mut stamped = passport(4, None);
        assert_eq!(stamped.next_stamp(8), 9);
        assert_eq!(stamped.next_incarnation(NODE, seen(4, 8)), Ok(5), "the metadata was not asked, or did not take it");
        assert_eq!(stamped.next_incarnation(NODE, seen(4, 9)), Ok(5), "it had taken it");
    }

    #[test]
    fn a_restored_a_foreign_and_a_removed_disk_are_told_apart() {
        let (node, disk) = (NODE, Age { incarnation: 4, stamp: 0 });
        let old = passport(4, None).next_incarnation(NODE, seen(6, 0));
        assert_eq!(old, Err(Foreign::OldCopy { node, disk, region: Age { incarnation: 6, stamp: 0 } }));
        let foreign = Some((78, Age { incarnation: 4, stamp: 0 }));
        assert_eq!(passport(4, None).next_incarnation(NODE, foreign), Err(Foreign::Cookie(node)));
        assert_eq!(passport(4, None).next_incarnation(NODE, None), Err(Foreign::Removed(node)));
    }

    #[test]
    fn a_copy_made_in_the_present_life_of_the_disk_is_told_by_its_stamp() {
        let mut copy = passport(4, None);
        copy.next_stamp(8);
        let refused = copy.next_incarnation(NODE, seen(4, 10)).unwrap_err();
        let said = refused.to_string();
        assert!(said.contains("old copy of node 2's"), "{said}");
        assert!(said.contains("last used at start 4, stamp 8, the region has seen start 4, stamp 10"), "{said}");
    }

    #[test]
    fn i2_what_was_stored_is_loaded_and_damage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Passport::load(dir.path()).unwrap(), None);
        let stored = passport(4, Some(5));
        stored.store(dir.path()).unwrap();
        assert_eq!(Passport::load(dir.path()).unwrap(), Some(stored));
        fs::write(dir.path().join(FILE), b"{").unwrap();
        assert!(Passport::load(dir.path()).unwrap_err().to_string().contains("node.json is damaged"));
    }

    #[test]
    fn i2_what_cannot_be_stored_leaves_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let before = passport(4, None);
        before.store(dir.path()).unwrap();
        let in_the_way = dir.path().join(SPARE);
        fs::create_dir(&in_the_way).unwrap();
        passport(4, Some(5)).store(dir.path()).unwrap_err();
        assert_eq!(Passport::load(dir.path()).unwrap(), Some(before.clone()));
        fs::remove_dir(&in_the_way).unwrap();
        fs::write(&in_the_way, b"{ \"region\": half").unwrap();
        assert_eq!(Passport::load(dir.path()).unwrap(), Some(before), "a crash while the spare is written");
        passport(4, Some(5)).store(dir.path()).unwrap();
        assert_eq!(Passport::load(dir.path()).unwrap(), Some(passport(4, Some(5))), "what was left over is replaced");
    }

    #[test]
    fn i3_two_files_of_one_size_take_turns_whatever_is_in_them() {
        let dir = tempfile::tempdir().unwrap();
        let inodes = || [FILE, SPARE].map(|name| fs::metadata(dir.path().join(name)).unwrap().ino());
        passport(4, None).store(dir.path()).unwrap();
        passport(4, Some(5)).store(dir.path()).unwrap();
        let [file, spare] = inodes();
        let many = (1..60).map(|node| (NodeId(node), format!("host-{node}.example:6652"))).collect();
        for (turn, members) in
            [BTreeMap::new(), BTreeMap::from([(NODE, "b:1".to_owned())]), many].into_iter().enumerate()
        {
            let stored = Passport { members, ..passport(5, None) };
            stored.store(dir.path()).unwrap();
            assert_eq!(inodes(), if turn % 2 == 0 { [spare, file] } else { [file, spare] });
            assert_eq!(Passport::load(dir.path()).unwrap(), Some(stored));
            let len = fs::metadata(dir.path().join(FILE)).unwrap().len();
            assert!(len > 0 && len.is_multiple_of(BLOCK as u64), "{len}");
        }
    }

    /// As an older version has written it.
    #[test]
    fn a_file_without_a_spare_beside_it_is_read_and_gets_one() {
        let dir = tempfile::tempdir().unwrap();
        let old = passport(4, None);
        fs::write(dir.path().join(FILE), serde_json::to_vec_pretty(&old).unwrap()).unwrap();
        assert_eq!(Passport::load(dir.path()).unwrap(), Some(old));
        passport(5, None).store(dir.path()).unwrap();
        assert_eq!(Passport::load(dir.path()).unwrap(), Some(passport(5, None)));
        assert!(dir.path().join(SPARE).exists());
    }
}
