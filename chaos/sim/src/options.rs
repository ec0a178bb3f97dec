//! What a seed decides before its run begins: how much, how fast, which faults.

use crate::clocks::{Clocks, Drifting};
use crate::queue::{MS, SECOND, Time};
use base::Rng;
use std::fmt;

/// A run's options; each seed has its own mix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub seed: u64,
    /// Nodes of each region.
    pub nodes: u64,
    pub topics: u64,
    pub producers_per_topic: u64,
    /// Per producer.
    pub messages: u64,
    /// Messages that one SEND may carry.
    pub batch_max: u64,
    pub payload_max: u64,
    /// SENDs of one producer that are not answered.
    pub window: usize,
    /// Longest pause between two SENDs of a producer.
    pub pause_max: Time,
    /// How long faults go on after everybody is connected.
    pub faults_for: Time,
    pub crashes: u64,
    pub freezes: u64,
    pub cuts: u64,
    pub kills: u64,
    pub unloads: u64,
    /// Longest delay of a client's bytes, a sync, a metadata answer, a frame between regions.
    pub client_delay: Time,
    pub disk_delay: Time,
    pub meta_delay: Time,
    pub link_delay: Time,
    /// Publish quota of the namespace in each region, messages per second.
    pub quota: Option<u32>,
    /// Bytes of one log file.
    pub file_bytes: u64,
    /// Entries after which a topic's ledger rolls over, and after which what is derived from the log is saved.
    pub ledger_entries: u64,
    pub checkpoint_entries: u64,
    /// Bytes after which a topic's cursor ledger rolls over.
    pub cursor_log_bytes: u64,
    /// Times that one direction between the regions stands still while the other does not.
    pub stalls: u64,
    /// Times that a disk is slow for seconds.
    pub slow_disks: u64,
    /// Times that a wall clock jumps.
    pub clock_jumps: u64,
    /// Of a hundred disk reads during the faults, so many fail.
    pub read_errors: u64,
    /// Of a hundred frames of links, so many come twice, and so many overtake those before them.
    pub scrambled: u64,
    /// A topic comes into being while things go wrong.
    pub late_topic: bool,
    /// One producer per topic and region publishes for its own region alone.
    pub local_messages: bool,
    /// Of a hundred rounds of acknowledging, so many give entries back instead (Shared and Key_Shared).
    pub nacks: u64,
    /// Shared consumers acknowledge batches message by message.
    pub partial_acks: bool,
    /// Seeks of the subscription that seeks.
    pub seeks: u64,
    /// Node → its clocks; those of the first region come first.
    pub clocks: Vec<Clocks>,
    /// What goes wrong between the nodes of regions; nothing where each has one.
    pub cluster: ClusterOptions,
}

/// What goes wrong between the nodes of a region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClusterOptions {
    /// Longest delay of a frame between two nodes.
    pub peer_delay: Time,
    /// Times that some nodes cannot reach some others.
    pub partitions: u64,
    /// Times that another node is elected for no reason.
    pub elections: u64,
    /// Of a hundred writes to the metadata during the faults, so many have an outcome that nobody learns.
    pub meta_unknown: u64,
    /// Longest time that a node lags behind the changes of the metadata.
    pub watch_lag: Time,
    /// Owners lose their bundles again and again, and go on.
    pub takeovers: Option<Takeovers>,
}

/// What makes a run one of takeovers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Takeovers {
    /// How often a story is told (`world::takeover`).
    pub stories: u64,
    /// Ensemble, write quorum and ack quorum of the namespace.
    pub copies: (u32, u32, u32),
    /// How long a ledger that nobody knows stays on a disk.
    pub orphan_grace: Time,
}

impl Options {
    /// The options of a seed.
    pub fn of_seed(seed: u64) -> Self {
        let mut rng = Rng::new(seed).fork("options");
        let quota = rng.percent(25).then(|| u32::try_from(rng.range(5, 30)).unwrap_or(5));
        let some = |rng: &mut Rng, chance: u64| if rng.percent(chance) { rng.range(1, 4) } else { 0 };
        let mut options = Self {
            seed,
            nodes: 1,
            topics: rng.range(1, 2),
            producers_per_topic: rng.range(1, 2),
            messages: rng.range(20, 120),
            batch_max: rng.range(1, 4),
            payload_max: *rng.pick(&[16, 100, 2000, 6000]).unwrap_or(&16),
            window: usize::try_from(rng.range(1, 20)).unwrap_or(1),
            pause_max: rng.range(1, 300) * MS,
            faults_for: rng.range(5, 30) * SECOND,
            crashes: some(&mut rng, 75),
            freezes: some(&mut rng, 40),
            cuts: some(&mut rng, 60),
            kills: some(&mut rng, 60),
            unloads: some(&mut rng, 40),
            client_delay: rng.range(1, 20) * MS,
            disk_delay: rng.range(1, 40) * MS,
            meta_delay: rng.range(1, 60) * MS,
            link_delay: rng.range(1, 150) * MS,
            quota,
            file_bytes: *rng.pick(&[64 << 10, 256 << 10, 1 << 20]).unwrap_or(&(64 << 10)),
            ledger_entries: *rng.pick(&[5, 20, 60, 1000]).unwrap_or(&20),
            checkpoint_entries: *rng.pick(&[5, 25, 100]).unwrap_or(&25),
            cursor_log_bytes: *rng.pick(&[500, 2000, 20_000]).unwrap_or(&2000),
            stalls: some(&mut rng, 40),
            slow_disks: some(&mut rng, 30),
            clock_jumps: some(&mut rng, 40),
            read_errors: *rng.pick(&[0, 0, 5, 40]).unwrap_or(&0),
            scrambled: *rng.pick(&[0, 0, 0, 2, 20]).unwrap_or(&0),
            late_topic: rng.percent(30),
            local_messages: rng.percent(25),
            nacks: *rng.pick(&[0, 10, 40]).unwrap_or(&0),
            partial_acks: rng.percent(60),
            seeks: rng.below(4),
            clocks: Clocks::of_seed(seed, 2),
            cluster: ClusterOptions::default(),
        };
        if let Some(quota) = quota {
            options.press(u64::from(quota), &mut rng);
        }
        options
    }

    /// The options of a seed for regions of three nodes. What one node can do to a quota is a matter of regions with one.
    pub fn of_cluster_seed(seed: u64) -> Self {
        let mut rng = Rng::new(seed).fork("cluster options");
        let some = |rng: &mut Rng, chance: u64| if rng.percent(chance) { rng.range(1, 4) } else { 0 };
        let base = Self::of_seed(seed);
        Self {
            nodes: 3,
            topics: rng.range(1, 3),
            producers_per_topic: 1,
            messages: rng.range(10, 60),
            pause_max: rng.range(20, 300) * MS,
            faults_for: rng.range(5, 20) * SECOND,
            crashes: some(&mut rng, 70),
            freezes: some(&mut rng, 60),
            disk_delay: rng.range(1, 20) * MS,
            meta_delay: rng.range(1, 40) * MS,
            quota: None,
            ledger_entries: *rng.pick(&[5, 20, 1000]).unwrap_or(&20),
            slow_disks: some(&mut rng, 20),
            clocks: Clocks::of_seed(seed, 6),
            cluster: ClusterOptions {
                peer_delay: *rng.pick(&[1, 5, 50]).unwrap_or(&1) * MS,
                partitions: some(&mut rng, 60),
                elections: some(&mut rng, 50),
                meta_unknown: *rng.pick(&[0, 0, 5, 25]).unwrap_or(&0),
                watch_lag: *rng.pick(&[10, 200, 2000]).unwrap_or(&10) * MS,
                takeovers: None,
            },
            ..base
        }
    }

    /// The options of a seed for regions of three nodes whose owners are taken over from again and again while their clients
    /// go on publishing. What goes wrong between the regions is a matter of the others.
    pub fn of_takeover_seed(seed: u64) -> Self {
        let mut rng = Rng::new(seed).fork("takeover options");
        let base = Self::of_cluster_seed(seed);
        let (faults_for, pause_max) = (rng.range(8, 20) * SECOND, rng.range(100, 400) * MS);
        Self {
            topics: rng.range(1, 2),
            // Some publish as long as there are faults, others half as long: then what was done last is what is read.
            messages: (rng.range(1, 2) * faults_for / pause_max).clamp(30, 120),
            pause_max,
            faults_for,
            window: base.window.max(3),
            ledger_entries: *rng.pick(&[5, 5, 20, 1000]).unwrap_or(&20),
            crashes: rng.below(2),
            freezes: rng.below(2),
            unloads: rng.below(5),
            cuts: 0,
            stalls: 0,
            scrambled: 0,
            read_errors: 0,
            late_topic: false,
            cluster: ClusterOptions {
                peer_delay: *rng.pick(&[1, 5, 50]).unwrap_or(&1) * MS,
                partitions: rng.below(2),
                elections: rng.below(2),
                meta_unknown: *rng.pick(&[0, 10, 25]).unwrap_or(&0),
                watch_lag: *rng.pick(&[200, 2000, 2000]).unwrap_or(&200) * MS,
                takeovers: Some(Takeovers {
                    stories: rng.range(2, 5),
                    copies: *rng.pick(&[(3, 3, 2), (3, 3, 2), (2, 2, 2), (3, 2, 2)]).unwrap_or(&(3, 3, 2)),
                    orphan_grace: rng.range(1, 10) * SECOND,
                }),
            },
            ..base
        }
    }

    /// The same with clocks that show the true time, as all did before they could drift.
    pub fn with_true_clocks(self) -> Self {
        Self { clocks: vec![Clocks::default(); self.clocks.len()], ..self }
    }

    /// Messages that may pass on top of the quota: one charge; after a freeze the one that each connection was holding, because
    /// all their turns came meanwhile.
    pub(crate) fn charge_max(&self) -> u64 {
        let topics = self.topics + u64::from(self.late_topic);
        let held = if self.freezes > 0 { topics * self.producers_per_topic } else { 0 };
        (1 + held) * self.batch_max
    }

    /// Lets the producers of a region offer much more than the quota, for longer than a quota is measured. The checker sees
    /// answers, not admissions: the log must not hold answers back, so ledgers are not rolled in these seeds.
    fn press(&mut self, quota: u64, rng: &mut Rng) {
        let producers = self.topics * self.producers_per_topic;
        self.messages = (quota * rng.range(13, 18)).div_ceil(producers);
        self.pause_max = rng.range(1, 20) * MS;
        self.window = self.window.max(4);
        self.ledger_entries = 50_000;
        self.slow_disks = 0;
    }
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Time| time / MS;
        write!(
            f,
            "seed={} topics={} producers={} messages={} batch={} payload={} window={} pause={}ms faults={}ms \
             crash={} freeze={} cut={} kill={} unload={} client={}ms disk={}ms meta={}ms link={}ms quota={:?} file={} \
             ledger={} checkpoint={} cursors={} stall={} slow={} jump={} read-errors={}% scrambled={}% \
             late={} local={} nacks={}% partial={} seeks={} drift={}",
            self.seed,
            self.topics,
            self.producers_per_topic,
            self.messages,
            self.batch_max,
            self.payload_max,
            self.window,
            ms(self.pause_max),
            ms(self.faults_for),
            self.crashes,
            self.freezes,
            self.cuts,
            self.kills,
            self.unloads,
            ms(self.client_delay),
            ms(self.disk_delay),
            ms(self.meta_delay),
            ms(self.link_delay),
            self.quota,
            self.file_bytes,
            self.ledger_entries,
            self.checkpoint_entries,
            self.cursor_log_bytes,
            self.stalls,
            self.slow_disks,
            self.clock_jumps,
            self.read_errors,
            self.scrambled,
            self.late_topic,
            self.local_messages,
            self.nacks,
            self.partial_acks,
            self.seeks,
            Drifting(&self.clocks),
        )?;
        if self.nodes == 1 {
            return Ok(());
        }
        let ClusterOptions { peer_delay, partitions, elections, meta_unknown, watch_lag, takeovers } = self.cluster;
        write!(
            f,
            " nodes={} peer={}ms partition={partitions} election={elections} meta-unknown={meta_unknown}% watch={}ms",
            self.nodes,
            ms(peer_delay),
            ms(watch_lag),
        )?;
        let Some(Takeovers { stories, copies, orphan_grace }) = takeovers else { return Ok(()) };
        write!(f, " stories={stories} copies={copies:?} orphans={}ms", ms(orphan_grace))
    }
}
