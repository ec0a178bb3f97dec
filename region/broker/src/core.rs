//! What every part of a broker reads and only the broker changes: options, the metadata view, who may do what.

use auth::Authenticator;
use base::{FixedSet, NodeId, RegionId, RegionName};
use cluster::{Ownership, View};
use ledger::Zones;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tenancy::{Authorization, BrokerDefaults, Directory, EffectivePolicies, Policies, PolicySources, TopicPolicies};
use wire::commands::BrokerUrls;

/// A broker's settings, by value; all of them decided by the server's configuration.
#[derive(Clone, Debug)]
pub struct BrokerOptions {
    pub node: NodeId,
    /// Which start of this node it is.
    pub incarnation: u64,
    /// Whether other nodes serve topics of this region as well.
    pub shared: bool,
    pub region_name: RegionName,
    pub region: RegionId,
    /// Where clients reach this broker.
    pub urls: BrokerUrls,
    /// `http://host:port`, for answers that name it.
    pub http_url: String,
    /// Free text for the handshake.
    pub server_version: String,
    /// Largest message a client may send, in bytes; announced in the handshake.
    pub message_bytes_max: u32,
    /// Silence after which a connection is pinged; as much again and it is closed.
    pub keep_alive: Duration,
    /// How often credentials are checked for expiry.
    pub auth_check: Duration,
    /// Bytes published and not yet durable, over all connections.
    pub pending_bytes_max: u64,
    /// Bytes of recent entries that one topic may hold in memory …
    pub topic_cache_bytes: u64,
    /// … and all topics together.
    pub cache_bytes_max: u64,
    /// Connections at once.
    pub connections_max: u64,
    /// `None` outside simulations.
    pub rehearsal: Option<Rehearsal>,
}

/// What a simulation makes smaller or wrong in every topic, so that what is rare in production happens all the time.
#[derive(Clone, Copy, Debug)]
pub struct Rehearsal {
    /// Entries after which a ledger rolls over.
    pub ledger_entries_max: u64,
    /// Bytes beyond which the cursor ledger is replaced by a snapshot.
    pub cursor_log_bytes_max: u64,
    /// Entries after which the state derived from the log is saved.
    pub checkpoint_entries: u64,
    /// A known bug of the log's machines …
    pub managed: managed::Seeded,
    /// … or of links.
    #[cfg(feature = "seeded-bugs")]
    pub link: Option<link::SeededBug>,
}

/// Settings and the metadata view.
pub struct Core {
    pub options: BrokerOptions,
    pub directory: Directory,
    pub authenticator: Authenticator,
    pub authorization: Authorization,
    /// Nodes that may take new ledgers.
    pub bookies: Vec<NodeId>,
    /// Where they stand.
    pub zones: Zones,
    /// How many nodes the region has, up or down.
    pub nodes: usize,
    /// Which bundles are ours.
    pub cluster: Ownership,
    /// The node that leads the metadata, as far as this one knows.
    pub leader: Option<NodeId>,
    /// The members of the metadata, as far as this one knows; empty for the sole node.
    pub members: Members,
    /// What the auditor of this node last said of lost copies.
    pub audit: cluster::AuditStats,
    /// Whether this node speaks with other regions for all (ADR 0010).
    pub is_gateway: bool,
    /// Regions registered as clusters with a number.
    pub(crate) region_numbers: BTreeMap<RegionName, RegionId>,
    /// The same the other way round.
    pub(crate) region_names: BTreeMap<RegionId, RegionName>,
    pub(crate) regions_up: FixedSet<RegionName>,
    link_numbers: Cell<u64>,
    /// No bookie takes another entry: publishing is refused rather than left without an answer.
    log_full: bool,
    /// This node's own bookie takes no more entries; others may.
    bookie_full: bool,
}

/// Who has the metadata of the region.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    pub voters: BTreeSet<NodeId>,
    pub learners: BTreeSet<NodeId>,
}

/// Ensemble, write quorum and ack quorum in a region of several nodes, where no policy says otherwise and as many are alive.
const COPIES_SHARED: (u32, u32, u32) = (3, 3, 2);
/// Bits of a link's number that count the links of one node.
const LINK_COUNT_BITS: u32 = 24;
/// How far apart the counts of successive lives of a node begin: the golden section of all counts, so that those of any few
/// lives lie far from each other.
const LINK_COUNT_STRIDE: u64 = 0x9e_3779;

/// What a refused publisher and the operator read.
pub(crate) const LOG_FULL: &str = "the disk of this region is nearly full: publishing is refused, reading and deleting \
     go on; consume, delete topics or add space, then try again";
/// What the operator of a node among several reads.
const BOOKIE_FULL: &str = "the disk of this node is nearly full: other nodes keep new entries, reading and deleting go \
     on; consume, delete topics or add space";

impl Core {
    pub fn new(
        options: BrokerOptions,
        mut defaults: BrokerDefaults,
        authenticator: Authenticator,
        authorization: Authorization,
    ) -> Self {
        if options.shared {
            let copies = &mut defaults.persistence;
            (copies.bookkeeper_ensemble, copies.bookkeeper_write_quorum, copies.bookkeeper_ack_quorum) = COPIES_SHARED;
        }
        let (cluster, bookies) = if options.shared {
            (Ownership::Shared(View::new(options.node, options.incarnation)), Vec::new())
        } else {
            (Ownership::Sole, vec![options.node])
        };
        let directory = Directory::new(options.region_name.clone(), defaults);
        let link_numbers = Cell::new(first_link_count(options.incarnation));
        Self {
            nodes: bookies.len(),
            bookies,
            zones: Zones::default(),
            cluster,
            audit: cluster::AuditStats::default(),
            leader: (!options.shared).then_some(options.node),
            members: Members::default(),
            is_gateway: !options.shared,
            options,
            directory,
            authenticator,
            authorization,
            region_numbers: BTreeMap::new(),
            region_names: BTreeMap::new(),
            regions_up: FixedSet::default(),
            link_numbers,
            log_full: false,
            bookie_full: false,
        }
    }

    /// Whether entries of clients are refused for lack of space.
    pub(crate) fn is_log_full(&self) -> bool {
        self.log_full
    }

    /// Takes the state of this node's bookie over, and says what the operator is to know when it changed. With other bookies a
    /// full one is no obstacle.
    pub(crate) fn set_log_full(&mut self, full: bool) -> Option<&'static str> {
        let alone = self.bookies == [self.options.node];
        let changed = std::mem::replace(&mut self.log_full, full && alone) != (full && alone);
        let changed = std::mem::replace(&mut self.bookie_full, full) != full || changed;
        changed.then_some(match (self.log_full, full) {
            (true, _) => LOG_FULL,
            (false, true) => BOOKIE_FULL,
            (false, false) => "the disk has room again: publishing goes on",
        })
    }

    /// Whether this node's disk takes no entries.
    pub(crate) fn is_bookie_full(&self) -> bool {
        self.bookie_full
    }

    pub(crate) fn is_region_up(&self, region: &RegionName) -> bool {
        self.regions_up.contains(region)
    }

    /// A number that no link of this process had before; among several nodes it carries this node's number (ADR 0010), and
    /// none of the last lives of this node had it: the region's connection to another one may outlive the node, and late
    /// answers to its former links with it.
    pub(crate) fn next_link_number(&self) -> u64 {
        self.link_numbers.set(self.link_numbers.get() + 1);
        let count = self.link_numbers.get();
        match self.cluster {
            Ownership::Sole => count,
            Ownership::Shared(_) => {
                (self.options.node.0 & 0xffff) << LINK_COUNT_BITS | count & ((1 << LINK_COUNT_BITS) - 1)
            }
        }
    }

    /// What holds where no namespace says anything.
    pub(crate) fn default_policies(&self) -> EffectivePolicies {
        EffectivePolicies::resolve(PolicySources {
            cluster: self.directory.cluster_name(),
            defaults: self.directory.defaults(),
            tenant: None,
            namespace: &Policies::default(),
            topic: &TopicPolicies::default(),
        })
    }

    /// Takes the numbers of the registered clusters over after one of them changed.
    pub(crate) fn refresh_regions(&mut self) {
        self.region_numbers = self
            .directory
            .clusters()
            .filter_map(|(name, data)| data.number.map(|number| (name.clone(), number)))
            .collect();
        self.region_names = self.region_numbers.iter().map(|(name, number)| (*number, name.clone())).collect();
    }
}

/// Where a life of a node begins to count its links.
fn first_link_count(incarnation: u64) -> u64 {
    incarnation.wrapping_mul(LINK_COUNT_STRIDE) & ((1 << LINK_COUNT_BITS) - 1)
}

#[cfg(test)]
mod tests {
    use super::{LINK_COUNT_BITS, first_link_count};

    #[test]
    fn a_node_counts_its_links_far_from_where_its_last_lives_did() {
        let all = 1_u64 << LINK_COUNT_BITS;
        for life in 1..200_u64 {
            for before in 1..=8 {
                let apart = first_link_count(life).abs_diff(first_link_count(life + before));
                assert!(apart.min(all - apart) > 500_000, "lives {life} and {}: {apart}", life + before);
            }
        }
        assert_eq!(first_link_count(0), 0, "a node that is alone has new connections in each life");
    }
}
