//! The metadata stores: one for each region, agreed on by the majority of its nodes.
//!
//! **What**  Requests are applied one after the other to one state, so reads are linearizable and writes happen once. Where a
//! region has several nodes, a leader is elected among those that reach a majority; a request of a node that reaches no such
//! leader waits and is then `Unavailable`. During the faults a write's outcome may stay unknown: it happens at once, later,
//! or never. Nodes hear of changes late, in order, and not while they reach no leader; they hear of a new leader when they
//! can, and of the loss of theirs at some time.
//!
//! **Invariants**
//! - I1  a write is applied at most once; one that was answered with anything but `Unavailable` was applied before.
//! - I2  a node is told every change once and in order, and those of one transaction together.
//!
//! **Not here**  Raft itself (`meta`).

use super::{Event, Phase, World};
use crate::bugs::Bug;
use crate::history::Life;
use crate::queue::{MS, SECOND, Time};
use base::{NodeId, RequestId};
use meta_api::{MetaRequest, MetaResponse};
use node::Input;

/// How long a request waits for a leader, as `meta` has it; by the clock of who asks.
const LEADER_WAIT: Time = 5 * SECOND;
/// How late a write may be whose outcome nobody learned …
const LATE: Time = 6 * SECOND;
/// … and where leaders come and go with it in their logs.
const LATE_LONG: Time = 15 * SECOND;
/// How often elections and the nodes that are behind are looked after.
const TICK: Time = 100 * MS;
/// Longest time until a lost leader is replaced.
const ELECTION_MAX: Time = 600 * MS;

/// Who leads the metadata of a region.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Leading {
    leader: Option<usize>,
    term: u64,
    /// When the next election is due.
    due: Option<Time>,
}

/// A request to the metadata.
pub(super) struct MetaAsked {
    pub(super) id: RequestId,
    pub(super) request: MetaRequest,
    /// When it was asked.
    pub(super) since: Time,
    /// Only a node that leads may ask it.
    pub(super) decides: bool,
}

impl World {
    pub(super) fn hosts_of(&self, region: usize) -> Vec<usize> {
        (0..self.hosts.len()).filter(|index| self.hosts[*index].region == region).collect()
    }

    /// Whether two nodes of a region can talk with each other about metadata.
    fn talks(&self, a: usize, b: usize) -> bool {
        !self.peers.is_cut(a, b) && !self.peers.is_cut(b, a)
    }

    /// Whether the process takes part in elections.
    fn votes(&self, index: usize) -> bool {
        self.hosts[index].booting || self.hosts[index].is_awake()
    }

    fn can_lead(&self, index: usize) -> bool {
        let hosts = self.hosts_of(self.hosts[index].region);
        let reached = hosts.iter().filter(|other| self.votes(**other) && self.talks(index, **other)).count();
        self.votes(index) && 2 * reached > hosts.len()
    }

    /// Whether a request of this node is answered.
    pub(super) fn reaches_metadata(&self, index: usize) -> bool {
        let leading = &self.leading[self.hosts[index].region];
        self.options.nodes == 1
            || leading.leader.is_some_and(|leader| self.can_lead(leader) && self.talks(index, leader))
    }

    pub(super) fn plan_meta(&mut self, index: usize, asked: MetaAsked) {
        self.note_opening(index, asked.id.owner, &asked.request);
        let at = self.now + 1 + self.rng.meta.below(self.options.meta_delay);
        let asked = MetaAsked { request: self.mistakes.asked(asked.request), ..asked };
        self.queue.plan(at, Event::Meta { host: index, boot: self.hosts[index].boot, asked });
    }

    pub(super) fn on_meta(&mut self, index: usize, boot: u64, asked: MetaAsked) {
        let MetaAsked { id, request, since, decides } = asked;
        if self.hosts[index].boot != boot || self.hosts[index].process.is_none() {
            // The process is gone; what it asked may be on its way all the same.
            if self.options.nodes > 1 && request.is_write() && self.rng.meta.percent(50) {
                self.apply(self.hosts[index].region, self.life_of(index, boot), &request);
            }
            return;
        }
        if self.mistakes.is(Bug::StaleReads) && !request.is_write() {
            let response = self.read_own(index, &request);
            return self.answer_meta(index, boot, id, response);
        }
        if decides && self.leading[self.hosts[index].region].leader != Some(index) {
            let reason = "this node does not lead the metadata".to_owned();
            return self.answer_meta(index, boot, id, MetaResponse::Unavailable { reason });
        }
        if !self.reaches_metadata(index) {
            if self.hosts[index].waited(since, self.now) < LEADER_WAIT {
                let at = self.now + self.rng.meta.range(10 * MS, 200 * MS);
                let asked = MetaAsked { id, request, since, decides };
                self.queue.plan(at, Event::Meta { host: index, boot, asked });
                return;
            }
            let reason = "no leader is reached".to_owned();
            return self.answer_meta(index, boot, id, MetaResponse::Unavailable { reason });
        }
        let unknown = self.options.cluster.meta_unknown;
        if request.is_write() && matches!(self.phase, Phase::Faults { .. }) && self.rng.meta.percent(unknown) {
            return self.lose_outcome(index, boot, id, request);
        }
        let response = self.apply(self.hosts[index].region, self.life_of(index, boot), &request);
        self.answer_meta(index, boot, id, response);
    }

    fn answer_meta(&mut self, host: usize, boot: u64, id: RequestId, response: MetaResponse) {
        let at = self.now + 1 + self.rng.meta.below(self.options.meta_delay);
        self.queue.plan(at, Event::Input { host, boot, input: Box::new(Input::Meta { id, response }) });
    }

    /// [`Bug::StaleReads`]: what the node itself knows, which lags behind.
    fn read_own(&mut self, index: usize, request: &MetaRequest) -> MetaResponse {
        let reaches = self.reaches_metadata(index);
        let at = if reaches { self.now } else { self.hosts[index].informed_at };
        let lag = self.rng.meta.below(self.options.cluster.watch_lag.max(1));
        self.regions[self.hosts[index].region].read_as_of(at.saturating_sub(lag), request)
    }

    /// Nobody learns what became of a write: it happens now, later, or never (I1).
    fn lose_outcome(&mut self, host: usize, boot: u64, id: RequestId, request: MetaRequest) {
        let (region, by) = (self.hosts[host].region, self.life_of(host, boot));
        match self.rng.meta.below(4) {
            0 => (),
            1 => {
                let longest = if self.options.cluster.takeovers.is_some() { LATE_LONG } else { LATE };
                let at = self.now + self.rng.meta.below(longest);
                self.queue.plan(at, Event::LateWrite { region, by, request });
            }
            _ => drop(self.apply(region, by, &request)),
        }
        let response = MetaResponse::Unavailable { reason: "the leader changed meanwhile".to_owned() };
        let at = self.now + 1 + self.rng.meta.below(6 * SECOND);
        self.queue.plan(at, Event::Input { host, boot, input: Box::new(Input::Meta { id, response }) });
    }

    /// Applies a request; `by`: who asked, where several may ask.
    pub(super) fn apply(&mut self, region: usize, by: Option<Life>, request: &MetaRequest) -> MetaResponse {
        if self.mistakes.is(Bug::MetadataNotDurable) && request.is_write() {
            self.regions[region].remember();
        }
        if self.mistakes.is(Bug::StaleReads) && request.is_write() {
            self.regions[region].keep_past(self.now);
        }
        let by = by.map(|by| (by, self.before(region, request)));
        let response = self.regions[region].apply(request);
        if let (MetaResponse::Committed { .. }, Some((by, before))) = (&response, by) {
            self.note_change(region, by, before);
        }
        self.announce_changes(region);
        response
    }

    // ---- watching

    /// Every node will hear of what changed, each in its own time.
    pub(super) fn announce_changes(&mut self, region: usize) {
        let (up_to, lag) =
            (self.regions[region].changes(), self.options.cluster.watch_lag.max(self.options.meta_delay));
        for host in self.hosts_of(region) {
            let boot = self.hosts[host].boot;
            if self.hosts[host].process.as_ref().is_some_and(|process| process.watched < up_to) {
                let at = self.now + 1 + self.rng.meta.below(lag);
                self.queue.plan(at, Event::Watch { host, boot, up_to });
            }
        }
    }

    pub(super) fn on_watch(&mut self, index: usize, boot: u64, up_to: usize) {
        // Who wakes up has to catch up first.
        let sleeps = self.options.cluster.takeovers.is_some() && !self.hosts[index].is_awake();
        if self.hosts[index].boot != boot || sleeps || !self.reaches_metadata(index) {
            return; // The tick tells it later.
        }
        let host = &mut self.hosts[index];
        let Some(process) = host.process.as_mut().filter(|process| process.watched < up_to) else { return };
        let from = std::mem::replace(&mut process.watched, up_to); // I2
        let mut events = self.regions[host.region].changes_between(from, up_to);
        if self.mistakes.strikes(Bug::ChangeNotTold) {
            events.pop();
        }
        self.feed(index, boot, Input::MetaEvents(events));
    }

    // ---- leading

    pub(super) fn on_store_tick(&mut self) {
        for host in 0..self.hosts.len() {
            if self.hosts[host].is_awake() && self.reaches_metadata(host) {
                self.hosts[host].informed_at = self.now;
            }
        }
        for region in 0..self.regions.len() {
            self.elect(region);
            self.announce_leader(region);
            self.announce_changes(region);
        }
        self.queue.plan(self.now + TICK, Event::StoreTick);
    }

    fn elect(&mut self, region: usize) {
        let leading = self.leading[region];
        if leading.leader.is_some_and(|leader| self.can_lead(leader)) {
            self.leading[region].due = None;
            return;
        }
        match leading.due {
            None => {
                let wait = if leading.term == 0 { 0 } else { self.rng.meta.range(ELECTION_MAX / 4, ELECTION_MAX) };
                self.leading[region].due = Some(self.now + wait);
            }
            Some(due) if due <= self.now => self.elect_other(region),
            Some(_) => (),
        }
    }

    /// Elects somebody; another one than now, if there is one.
    pub(super) fn elect_other(&mut self, region: usize) {
        let now = self.leading[region].leader;
        let able: Vec<usize> = self.hosts_of(region).into_iter().filter(|index| self.can_lead(*index)).collect();
        let others: Vec<usize> = able.iter().copied().filter(|index| Some(*index) != now).collect();
        if let Some(leader) = self.rng.meta.pick(if others.is_empty() { &able } else { &others }).copied() {
            self.lead(region, leader);
        }
    }

    /// Elects this node, if it reaches a majority.
    pub(super) fn elect_this(&mut self, leader: usize) {
        if self.can_lead(leader) {
            self.lead(self.hosts[leader].region, leader);
        }
    }

    fn lead(&mut self, region: usize, leader: usize) {
        let term = self.leading[region].term + 1;
        self.trace.note(self.now, format_args!("node {leader} leads {region} in term {term}"));
        self.leading[region] = Leading { leader: Some(leader), term, due: None };
        self.announce_leader(region);
    }

    /// Nodes hear who leads; one that does not reach the leader notices that at some time.
    fn announce_leader(&mut self, region: usize) {
        let Leading { leader, term, .. } = self.leading[region];
        let number = leader.map(|leader| self.hosts[leader].node);
        for host in self.hosts_of(region) {
            let reaches = self.reaches_metadata(host);
            // Nobody is told of a lost leader who did not know one before.
            let apart = !reaches && !self.can_lead(host);
            let boot = self.hosts[host].boot;
            let Some(process) = self.hosts[host].process.as_mut().filter(|process| !process.frozen) else { continue };
            let news: (Option<NodeId>, u64) = match (reaches, process.leadership) {
                (true, _) => (number, term),
                (false, told) if self.rng.meta.percent(10) => (None, told.1),
                (false, told) => told,
            };
            if process.leadership == news {
                continue;
            }
            process.leadership = news;
            let delay = self.rng.meta.below(50 * MS);
            let input = Box::new(Input::Leadership { leader: news.0, term: news.1, apart: apart && news.0.is_none() });
            self.leader_news_at[host] = self.leader_news_at[host].max(self.now + delay);
            self.queue.plan(self.leader_news_at[host], Event::Input { host, boot, input });
        }
    }
}
