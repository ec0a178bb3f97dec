//! Servers: what they are told, and what they want done.

use super::{Event, Phase, World};
use crate::disk::SimDisk;
use crate::queue::{SECOND, Time};
use crate::trace::digest;
use base::RequestId;
use bookie::disk::DiskOp;
use broker::Broker;
use broker::io::Outgoing;
use meta_api::{MetaEvent, MetaRequest};
use node::{Input, Output};
use wire::region::RegionFrame;

/// Metadata states kept for the bug that loses them.
const META_HISTORY: usize = 5;
/// Longest time that a slow disk takes for one thing.
const SLOW_DISK: Time = 2 * SECOND;

impl World {
    pub(super) fn start_region(&mut self, index: usize) {
        let region = &mut self.regions[index];
        if region.process.is_some() {
            return;
        }
        self.trace.note(self.now, format_args!("start {index}"));
        match region.start(self.now, &self.options, self.mistakes.bug, &self.seed) {
            Ok(outputs) => {
                self.execute(index, outputs);
                self.arm(index);
            }
            Err(error) => self.broken = Some(format!("region {index} does not start: {error}")),
        }
    }

    /// Tells a process something, unless it is another one by now.
    pub(super) fn feed(&mut self, index: usize, boot: u64, input: Input) {
        let region = &mut self.regions[index];
        let Some(process) = region.process.as_mut().filter(|_| region.boot == boot) else { return };
        if process.frozen {
            process.inbox.push_back(input);
            return;
        }
        self.trace.note(self.now, format_args!("{index} < {}", describe_input(&input)));
        if let Input::ConnClosed { conn } = &input {
            process.conns.remove(conn);
        }
        let mut outputs = Vec::new();
        let started = process.started;
        let now = region.clocks(started, self.now);
        if let Some(process) = region.process.as_mut() {
            process.node.handle(now, input, &mut outputs);
        }
        self.execute(index, outputs);
        self.arm(index);
    }

    pub(super) fn thaw(&mut self, index: usize) {
        let boot = self.regions[index].boot;
        let Some(process) = self.regions[index].process.as_mut() else { return };
        process.frozen = false;
        for input in std::mem::take(&mut process.inbox) {
            self.feed(index, boot, input);
        }
        self.arm(index);
    }

    /// Plans the node's next deadline.
    fn arm(&mut self, index: usize) {
        let (now, boot) = (self.now, self.regions[index].boot);
        let Some(process) = self.regions[index].process.as_mut().filter(|process| !process.frozen) else { return };
        let Some(deadline) = process.node.next_deadline() else { return };
        // A deadline that is due already still takes a moment.
        let at: Time = (process.started.saturating_add(deadline.0)).max(now + 1000);
        if process.timer.is_none_or(|timer| at < timer) {
            process.timer = Some(at);
            self.queue.plan(at, Event::Timer { region: index, boot });
        }
    }

    pub(super) fn on_timer(&mut self, index: usize, boot: u64) {
        let region = &mut self.regions[index];
        let Some(process) = region.process.as_mut().filter(|_| region.boot == boot) else { return };
        if process.timer.is_some_and(|timer| timer <= self.now) {
            process.timer = None;
        }
        if process.frozen {
            return;
        }
        let started = process.started;
        let now = region.clocks(started, self.now);
        let Some(process) = region.process.as_mut() else { return };
        if process.node.next_deadline().is_some_and(|at| at <= now.mono) {
            self.trace.note(self.now, format_args!("{index} timer"));
            let mut outputs = Vec::new();
            process.node.on_deadline(now, &mut outputs);
            self.execute(index, outputs);
        }
        self.arm(index);
    }

    fn execute(&mut self, index: usize, outputs: Vec<Output>) {
        for output in outputs {
            self.trace.note(self.now, format_args!("{index} > {}", describe_output(&output)));
            self.execute_one(index, output);
        }
    }

    fn execute_one(&mut self, index: usize, output: Output) {
        let boot = self.regions[index].boot;
        match output {
            Output::Send { conn, bytes } => self.send_to_client(conn, bytes),
            Output::Authenticated { conn } => self.set_authenticated(conn),
            Output::Close { conn, .. } => self.close_from_server(conn),
            Output::PauseReads { conn } => self.set_paused(conn, true),
            Output::ResumeReads { conn } => self.set_paused(conn, false),
            Output::Disk(op @ DiskOp::Read { .. }) => {
                let at = self.disk_done_at(index);
                self.queue.plan(at, Event::DiskRead { region: index, boot, op });
            }
            Output::Disk(op) => {
                if let Some(process) = self.regions[index].process.as_mut() {
                    process.disk.submit(op);
                }
                self.begin_write(index);
            }
            Output::Meta { id, request } => {
                let at = self.now + 1 + self.rng.meta.below(self.options.meta_delay);
                self.queue.plan(at, Event::Meta { region: index, boot, id, request });
            }
            Output::Region { group, frame, .. } => self.send_frame(index, group, frame),
            Output::Http { id, response } => {
                self.trace.note(self.now, format_args!("http {} {}", id.0, response.status));
            }
            // A node that is alone is always the one that speaks with other regions.
            Output::ConnectRegions { .. } => (),
            Output::PeerRequest { to, .. } | Output::PeerResponse { to, .. } | Output::ClusterFrame { to, .. } => {
                self.broken = Some(format!("region {index} speaks to node {to} of a region of one node"));
            }
            Output::Alarm { text } => self.alarms.push(format!("region {index}: {text}")),
        }
    }

    // ---- disk

    /// When a disk is done with what begins now.
    fn disk_done_at(&mut self, index: usize) -> Time {
        let slow = self.now < self.regions[index].slow_until;
        let longest = if slow { SLOW_DISK } else { self.options.disk_delay };
        self.now + 1 + self.rng.disk.below(longest)
    }

    fn begin_write(&mut self, index: usize) {
        let boot = self.regions[index].boot;
        let Some(process) = self.regions[index].process.as_mut() else { return };
        let Some(early) = process.disk.begin_write() else { return };
        let at = self.disk_done_at(index);
        self.queue.plan(at, Event::DiskWritten { region: index, boot });
        if let Some(event) = early {
            self.queue.plan(self.now + 1, Event::Input { region: index, boot, input: Box::new(Input::Disk(event)) });
        }
    }

    pub(super) fn on_disk_written(&mut self, index: usize, boot: u64) {
        let region = &mut self.regions[index];
        let Some(process) = region.process.as_mut().filter(|_| region.boot == boot) else { return };
        if let Some(event) = process.disk.finish_write() {
            self.feed(index, boot, Input::Disk(event));
        }
        self.begin_write(index);
    }

    pub(super) fn on_disk_read(&mut self, index: usize, boot: u64, op: &DiskOp) {
        let region = &self.regions[index];
        let Some(process) = region.process.as_ref().filter(|_| region.boot == boot) else { return };
        let failing = matches!(self.phase, Phase::Faults { .. }) && self.rng.disk.percent(self.options.read_errors);
        let event = if failing { SimDisk::fail_read(op) } else { process.disk.read(op) };
        if let Some(event) = event {
            self.feed(index, boot, Input::Disk(event));
        }
    }

    // ---- metadata

    pub(super) fn on_meta(&mut self, index: usize, boot: u64, id: RequestId, request: &MetaRequest) {
        let region = &mut self.regions[index];
        if region.boot != boot || region.process.is_none() {
            return;
        }
        if self.mistakes.is(crate::bugs::Bug::MetadataNotDurable) && request.is_write() {
            region.meta_before.push_back(region.meta.clone());
            if region.meta_before.len() > META_HISTORY {
                region.meta_before.pop_front();
            }
        }
        let (response, events) = region.meta.apply(request);
        let prefixes = Broker::watched_prefixes();
        let seen = |event: &MetaEvent| prefixes.iter().any(|prefix| event.key.starts_with(prefix));
        let events: Vec<MetaEvent> = events.into_iter().filter(seen).collect();
        let delay = self.options.meta_delay;
        if let Some(process) = region.process.as_mut().filter(|_| !events.is_empty()) {
            process.watch_free_at = process.watch_free_at.max(self.now + 1 + self.rng.meta.below(delay));
            let input = Box::new(Input::MetaEvents(events));
            self.queue.plan(process.watch_free_at, Event::Input { region: index, boot, input });
        }
        let at = self.now + 1 + self.rng.meta.below(delay);
        let input = Box::new(Input::Meta { id, response });
        self.queue.plan(at, Event::Input { region: index, boot, input });
    }

    // ---- the other region

    fn send_frame(&mut self, side: usize, group: u64, frame: RegionFrame) {
        for frame in self.mistakes.outgoing(frame) {
            let scrambled = self.options.scrambled;
            let of_link = !matches!(frame, RegionFrame::Hello { .. } | RegionFrame::Policy { .. });
            if of_link && self.rng.link.percent(scrambled) {
                self.send_copy(side, None, frame.clone());
            }
            let group = (!of_link || !self.rng.link.percent(scrambled)).then_some(group);
            self.send_copy(side, group, frame);
        }
    }

    /// Sends a frame in the order of its group, or in none.
    fn send_copy(&mut self, side: usize, group: Option<u64>, frame: RegionFrame) {
        let delay = 1 + self.rng.link.below(self.options.link_delay);
        let at = match group {
            Some(group) => self.net.send(side, group, self.now, delay),
            None => self.net.send_unordered(side, self.now, delay),
        };
        if let Some(at) = at {
            self.queue.plan(at, Event::Frame { to: 1 - side, conn: self.net.conn, frame });
        }
    }

    pub(super) fn on_frame(&mut self, to: usize, conn: u64, frame: RegionFrame) {
        if !self.net.arrives(conn, to) {
            return;
        }
        if let Some(ack) = self.mistakes.early_ack(&frame) {
            self.send_frame(to, 0, ack);
        }
        let from = self.regions[1 - to].name.clone();
        self.feed(to, self.regions[to].boot, Input::Region { from, frame });
    }

    pub(super) fn on_side_up(&mut self, side: usize, conn: u64) {
        if conn != self.net.conn || !self.net.alive || self.regions[side].process.is_none() {
            return;
        }
        self.net.up[side] = true;
        let region = self.regions[1 - side].name.clone();
        self.feed(side, self.regions[side].boot, Input::RegionUp { region });
    }

    pub(super) fn on_side_down(&mut self, side: usize, conn: u64) {
        if conn != self.net.conn || !std::mem::take(&mut self.net.up[side]) {
            return;
        }
        let region = self.regions[1 - side].name.clone();
        self.feed(side, self.regions[side].boot, Input::RegionDown { region, reason: "silence".to_owned() });
    }
}

fn describe_input(input: &Input) -> String {
    match input {
        Input::Frame { conn, frame } => {
            let body = frame.payload.as_ref().map_or(0, |payload| digest(payload));
            format!("frame {} {:x} {body:x}", conn.0, digest(&frame.command))
        }
        Input::Region { frame, .. } => describe_frame(frame),
        Input::Disk(bookie::disk::DiskEvent::Read { id, outcome }) => {
            format!("read {} {:?}", id.0, outcome.as_ref().map(|bytes| bytes.len()))
        }
        other => format!("{other:?}"),
    }
}

fn describe_output(output: &Output) -> String {
    match output {
        Output::Send { conn, bytes } => match bytes {
            Outgoing::One(bytes) => {
                let name = wire::frame::decode_command(&bytes.slice(8..))
                    .map(|command| command.r#type().as_str_name().to_owned());
                format!("send {} {:x} {}", conn.0, digest(bytes), name.unwrap_or_default())
            }
            Outgoing::Two(first, second) => format!("send {} message {:x} {}", conn.0, digest(first), second.len()),
        },
        Output::Disk(DiskOp::Append { id, record }) => {
            format!("append {} {:x} {}", id.0, digest(&record.header[..]), record.len())
        }
        Output::Region { frame, .. } => describe_frame(frame),
        other => format!("{other:?}"),
    }
}

fn describe_frame(frame: &RegionFrame) -> String {
    match frame {
        RegionFrame::Entry { link, previous, position, data } => {
            format!("entry link {link} {previous} -> {position}, {} bytes {:x}", data.len(), digest(&data.head))
        }
        RegionFrame::Policy { key, version, .. } => format!("policy {key} {version}"),
        other => format!("{other:?}"),
    }
}
