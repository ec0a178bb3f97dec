//! Real bookies on simulated disks, and the way to them.

use super::check::Finding;
use super::{Event, LEDGER, World};
use crate::disk::{Platter, SimDisk};
use crate::queue::Time;
use crate::shell_bugs::Mistakes;
use base::{Effects, LedgerId, Mono, NodeId, Now};
use bookie::disk::{DiskEvent, DiskOp};
use bookie::layout::LayoutOptions;
use bookie::{Bookie, BookieEffect, BookieOptions, BookieStart, LedgerListing};
use ledger::{Seeded, SeededBug};
use std::collections::BTreeSet;
use wire::bookie::{AddOutcome, BookieRequest, BookieResponse, LacOutcome, ReadOutcome};

/// Clients are nodes from here on.
const CLIENTS_FROM: u64 = 100;

/// One bookie, running or not.
pub(super) struct Host {
    platter: Platter,
    /// The disk was lost, and does not say so by itself yet.
    wiped: bool,
    running: Option<(Bookie, SimDisk)>,
    /// Counts the lives of the process.
    life: u64,
    /// What came while it was frozen.
    frozen: Option<Vec<Event>>,
    /// Requests that ask for a fence and are not answered.
    fences: BTreeSet<base::RequestId>,
}

impl Host {
    pub(super) fn new() -> Self {
        Self {
            platter: Platter::default(),
            wiped: false,
            running: None,
            life: 0,
            frozen: None,
            fences: BTreeSet::new(),
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.running.is_some()
    }

    /// The disk is lost, if the process does not run.
    pub(super) fn wipe(&mut self) {
        if !self.is_up() {
            (self.platter, self.wiped) = (Platter::default(), true);
        }
    }

    pub(super) fn freeze(&mut self) {
        self.frozen.get_or_insert_default();
    }

    pub(super) fn thaw(&mut self) -> Vec<Event> {
        self.frozen.take().unwrap_or_default()
    }
}

impl World {
    pub(super) fn start_bookie(&mut self, node: NodeId) -> Result<(), Finding> {
        let now = self.clock();
        let denies = self.plan.writer.seeded == Seeded::with(SeededBug::LimboDenies);
        let Some(host) = self.hosts.get_mut(&node).filter(|host| host.running.is_none()) else { return Ok(()) };
        let start = if host.wiped && !denies { BookieStart::MayHaveLost } else { BookieStart::Clean };
        let layout = LayoutOptions { file_bytes: self.plan.file_bytes, group_bytes_max: 1 << 20 };
        let platter = std::mem::take(&mut host.platter);
        let (disk, log) =
            SimDisk::open(platter, layout, None).map_err(|error| format!("bookie {node} does not open: {error}"))?;
        let mut bookie = Bookie::new(node, BookieOptions { scrub_pass: None, start, ..BookieOptions::standard() }, log);
        let mut fx = Effects::new();
        bookie.handle_disk(now, DiskEvent::Space { free_bytes: 100 << 30, total_bytes: 100 << 30 }, &mut fx);
        let listing = LedgerListing { known: BTreeSet::from([LEDGER]), below: LedgerId(LEDGER.0 + 1) };
        bookie.retain_ledgers(now, &listing, &mut fx);
        host.life += 1;
        host.running = Some((bookie, disk));
        self.execute_bookie(node, fx)
    }

    pub(super) fn crash_bookie(&mut self, node: NodeId) {
        let Some(host) = self.hosts.get_mut(&node) else { return };
        if let Some((bookie, disk)) = host.running.take() {
            host.wiped &= !bookie.start_is_recorded();
            host.platter = disk.crash(&mut self.plan.rng);
            host.frozen = None;
            host.fences.clear();
        }
    }

    /// Keeps an event for a frozen bookie; gives it back otherwise.
    pub(super) fn keep_frozen(&mut self, node: NodeId, event: Event) -> Option<Event> {
        match self.hosts.get_mut(&node).and_then(|host| host.frozen.as_mut()) {
            Some(frozen) => {
                frozen.push(event);
                None
            }
            None => Some(event),
        }
    }

    fn with_bookie(
        &mut self,
        node: NodeId,
        life: Option<u64>,
        act: impl FnOnce(&mut Bookie, &mut SimDisk, Now, &mut Effects<BookieEffect>),
    ) -> Result<(), Finding> {
        let now = self.clock();
        let Some(host) = self.hosts.get_mut(&node).filter(|host| life.is_none_or(|life| life == host.life)) else {
            return Ok(());
        };
        let Some((bookie, disk)) = host.running.as_mut() else { return Ok(()) };
        let mut fx = Effects::new();
        act(bookie, disk, now, &mut fx);
        self.execute_bookie(node, fx)
    }

    pub(super) fn ask_bookie(&mut self, client: u64, to: NodeId, request: BookieRequest) -> Result<(), Finding> {
        let request = Mistakes::new(self.plan.mistake).to_bookie(request);
        let fences =
            matches!(request, BookieRequest::Read { fence: true, .. } | BookieRequest::ReadLac { fence: true, .. });
        if let Some(host) = self.hosts.get_mut(&to).filter(|host| fences && host.running.is_some()) {
            host.fences.insert(request.id());
        }
        let from = NodeId(CLIENTS_FROM + client);
        self.with_bookie(to, None, |bookie, _, now, fx| bookie.handle_request(now, from, request, fx))
    }

    fn execute_bookie(&mut self, node: NodeId, mut fx: Effects<BookieEffect>) -> Result<(), Finding> {
        for effect in fx.take() {
            match effect {
                BookieEffect::Respond { to, response } => {
                    self.observe(node, &response);
                    let client = to.0 - CLIENTS_FROM;
                    self.send(client, node, Event::ToClient { client, from: node, response });
                }
                BookieEffect::Disk(op @ DiskOp::Read { .. }) => {
                    let at = self.disk_done_at();
                    let life = self.hosts.get(&node).map_or(0, |host| host.life);
                    self.queue.plan(at, Event::DiskRead { node, life, op });
                }
                BookieEffect::Damaged(damage) => return Err(format!("bookie {node}: {damage}")),
                BookieEffect::Prove { ledger } => {
                    return Err(format!("bookie {node} doubts {ledger}, which is listed"));
                }
                BookieEffect::Disk(op) => {
                    if let Some((_, disk)) = self.hosts.get_mut(&node).and_then(|host| host.running.as_mut()) {
                        disk.submit(op);
                    }
                }
            }
        }
        self.begin_write(node);
        self.arm_bookie(node);
        Ok(())
    }

    /// What the checker learns from an answer that leaves a bookie.
    fn observe(&mut self, node: NodeId, response: &BookieResponse) {
        let fences = self.hosts.get_mut(&node).is_some_and(|host| host.fences.remove(&response.id()));
        let answered = match response {
            BookieResponse::Added { entry, outcome, .. } => {
                if *outcome == AddOutcome::Stored {
                    self.checker.store(*entry, node);
                }
                false
            }
            BookieResponse::Read { outcome, .. } => *outcome != ReadOutcome::Unknown,
            BookieResponse::Lac { outcome, .. } => *outcome != LacOutcome::Unknown,
            BookieResponse::Deleted { .. }
            | BookieResponse::Repaired { .. }
            | BookieResponse::Limbo { .. }
            | BookieResponse::Missing { .. } => false,
        };
        if fences && answered {
            self.checker.fenced.insert(node);
        }
    }

    fn disk_done_at(&mut self) -> Time {
        self.now + 1 + self.plan.rng.below(self.plan.sync_max)
    }

    fn begin_write(&mut self, node: NodeId) {
        let at = self.disk_done_at();
        let Some(host) = self.hosts.get_mut(&node) else { return };
        let Some((_, disk)) = host.running.as_mut() else { return };
        if disk.begin_write().is_some() {
            self.queue.plan(at, Event::DiskWritten { node, life: host.life });
        }
    }

    pub(super) fn on_disk_written(&mut self, node: NodeId, life: u64) -> Result<(), Finding> {
        self.with_bookie(node, Some(life), |bookie, disk, now, fx| {
            if let Some(event) = disk.finish_write() {
                bookie.handle_disk(now, event, fx);
            }
        })
    }

    pub(super) fn on_disk_read(&mut self, node: NodeId, life: u64, op: &DiskOp) -> Result<(), Finding> {
        self.with_bookie(node, Some(life), |bookie, disk, now, fx| {
            if let Some(event) = disk.read(op) {
                bookie.handle_disk(now, event, fx);
            }
        })
    }

    pub(super) fn on_bookie_timer(&mut self, node: NodeId, life: u64) -> Result<(), Finding> {
        self.with_bookie(node, Some(life), |bookie, _, now, fx| {
            if bookie.next_deadline().is_some_and(|at| at <= now.mono) {
                bookie.on_deadline(now, fx);
            }
        })
    }

    fn arm_bookie(&mut self, node: NodeId) {
        let Some(host) = self.hosts.get(&node) else { return };
        let Some(Mono(at)) = host.running.as_ref().and_then(|(bookie, _)| bookie.next_deadline()) else { return };
        self.queue.plan(at.max(self.now + 1000), Event::BookieTimer { node, life: host.life });
    }
}
