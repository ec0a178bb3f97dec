//! Servers: what they are told, and what they want done.

use super::peers::PeerFrame;
use super::store::MetaAsked;
use super::{Event, Fault, Phase, World, life};
use crate::disk::SimDisk;
use crate::history::{Life, Opened};
use crate::host::StartError;
use crate::queue::{MS, SECOND, Time};
use crate::trace::digest;
use base::{OwnerId, RequestId};
use bookie::disk::DiskOp;
use broker::io::Outgoing;
use bytes::Bytes;
use meta_api::{MetaRequest, Write};
use node::{ADMIN_OWNER, Input, Output};
use wire::bookie::{BookieRequest, BookieResponse};
use wire::cluster::ClusterFrame;
use wire::region::RegionFrame;

/// Longest time that a slow disk takes for one thing.
const SLOW_DISK: Time = 2 * SECOND;
/// How long it takes an operator to put the right disk back.
const OLD_DISK_FOR: Time = SECOND;
/// Pause between two looks of a starting process for the metadata.
const START_AGAIN: Time = 200 * MS;

impl World {
    /// Starts a process, or begins to: without the metadata it waits.
    pub(super) fn start_host(&mut self, index: usize) {
        let host = &mut self.hosts[index];
        if host.process.is_some() {
            return;
        }
        host.booting = true;
        if !self.reaches_metadata(index) {
            self.queue.plan(self.now + START_AGAIN, Event::Start { host: index });
            return;
        }
        self.trace.note(self.now, format_args!("start {index}"));
        let (host, now) = (&mut self.hosts[index], self.now);
        host.booting = false;
        let region = &mut self.regions[host.region];
        match host.start(region, now, &self.options, self.mistakes.bug, &self.seed) {
            Ok(outputs) => {
                self.note_life(index);
                self.execute(index, outputs);
                self.arm(index);
                self.announce_changes(self.hosts[index].region);
            }
            Err(StartError::OldCopy) => {
                self.trace.note(self.now, format_args!("{index} has an old copy of its disk and ends"));
                self.queue.plan(self.now + OLD_DISK_FOR, Event::Fault(Fault::Restart { host: index }));
            }
            Err(StartError::Log(error)) => self.broken = Some(format!("node {index} does not start: {error}")),
        }
    }

    fn note_life(&mut self, index: usize) {
        let host = &self.hosts[index];
        if let Some(process) = host.process.as_ref().filter(|_| self.options.nodes > 1) {
            let started = Life { node: host.node, incarnation: process.incarnation };
            self.lives.insert(life(index, host.boot), started);
        }
    }

    /// Tells a process something, unless it is another one by now.
    pub(super) fn feed(&mut self, index: usize, boot: u64, input: Input) {
        let host = &mut self.hosts[index];
        let Some(process) = host.process.as_mut().filter(|_| host.boot == boot) else { return };
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
        let now = host.clocks(started, self.now);
        if let Some(process) = host.process.as_mut() {
            process.node.handle(now, input, &mut outputs);
        }
        self.execute(index, outputs);
        self.arm(index);
    }

    pub(super) fn thaw(&mut self, index: usize) {
        let boot = self.hosts[index].boot;
        let Some(process) = self.hosts[index].process.as_mut() else { return };
        process.frozen = false;
        for input in std::mem::take(&mut process.inbox) {
            self.feed(index, boot, input);
        }
        self.arm(index);
    }

    /// Plans the node's next deadline.
    fn arm(&mut self, index: usize) {
        let (now, host) = (self.now, &self.hosts[index]);
        let Some(process) = host.process.as_ref().filter(|process| !process.frozen) else { return };
        let Some(deadline) = process.node.next_deadline() else { return };
        // A deadline that is due already still takes a moment.
        let (at, boot) = (host.due(process.started, deadline).max(now + 1000), host.boot);
        let Some(process) = self.hosts[index].process.as_mut() else { return };
        if process.timer.is_none_or(|timer| at < timer) {
            process.timer = Some(at);
            self.queue.plan(at, Event::Timer { host: index, boot });
        }
    }

    pub(super) fn on_timer(&mut self, index: usize, boot: u64) {
        let host = &mut self.hosts[index];
        let Some(process) = host.process.as_mut().filter(|_| host.boot == boot) else { return };
        if process.timer.is_some_and(|timer| timer <= self.now) {
            process.timer = None;
        }
        if process.frozen {
            return;
        }
        let started = process.started;
        let now = host.clocks(started, self.now);
        let Some(process) = host.process.as_mut() else { return };
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
        let boot = self.hosts[index].boot;
        match output {
            Output::Send { conn, bytes } => self.send_to_client(conn, bytes),
            Output::Authenticated { conn } => self.set_authenticated(conn),
            Output::Close { conn, .. } => self.close_from_server(conn),
            Output::PauseReads { conn } => self.set_paused(conn, true),
            Output::ResumeReads { conn } => self.set_paused(conn, false),
            Output::Disk(op @ DiskOp::Read { .. }) => {
                let at = self.disk_done_at(index);
                self.queue.plan(at, Event::DiskRead { host: index, boot, op });
            }
            Output::Disk(op) => {
                if let Some(process) = self.hosts[index].process.as_mut() {
                    process.disk.submit(op);
                }
                self.begin_write(index);
            }
            Output::Meta { id, request } => {
                self.plan_meta(index, MetaAsked { id, request, since: self.now, decides: false })
            }
            Output::Decide { id, request } => {
                self.plan_meta(index, MetaAsked { id, request, since: self.now, decides: true })
            }
            Output::Region { group, frame, .. } => self.send_frame(index, group, frame),
            Output::Http { id, response } => {
                self.trace.note(self.now, format_args!("http {} {}", id.0, response.status));
            }
            Output::ConnectRegions { active } => self.set_active(index, active),
            Output::PeerRequest { to, request } => {
                let (id, invented) = (request.id(), self.mistakes.invented(&request));
                let request = self.mistakes.to_bookie(request);
                if !self.send_to_peer(index, to, PeerFrame::Request(request)) {
                    let unsent = Input::PeerUnsent { to, id };
                    let input = invented.map_or(unsent, |response| Input::PeerResponse { from: to, response });
                    self.queue.plan(self.now, Event::Input { host: index, boot, input: Box::new(input) });
                }
            }
            // Whoever asked asks again; links notice a gap and go back.
            Output::PeerResponse { to, response } => {
                self.send_to_peer(index, to, PeerFrame::Response(response));
            }
            Output::ClusterFrame { to, frame } => {
                let ask = if let ClusterFrame::Ask { id, .. } = &frame { Some(*id) } else { None };
                if !self.send_to_peer(index, to, PeerFrame::Cluster(frame))
                    && let Some(id) = ask
                {
                    let input = Input::PeerUnsent { to, id: RequestId::new(ADMIN_OWNER, id) };
                    self.queue.plan(self.now, Event::Input { host: index, boot, input: Box::new(input) });
                }
            }
            Output::Alarm { text } => self.alarms.push(format!("node {index}: {text}")),
        }
    }

    /// The first change that an owner asks for of a topic's log opens it.
    pub(super) fn note_opening(&mut self, index: usize, owner: OwnerId, request: &MetaRequest) {
        let MetaRequest::Txn { writes, .. } = request else { return };
        let host = &self.hosts[index];
        let (region, boot) = (host.region, life(index, host.boot));
        for write in writes {
            let Write::Put { key, .. } = write else { continue };
            let Some(topic) = key.strip_prefix("/ml/").and_then(topic_of) else { continue };
            if !self.history.opened.iter().any(|known| (known.boot, known.owner) == (boot, owner)) {
                self.history.opened.push(Opened { region, topic, boot, owner, step: self.step });
            }
        }
    }

    // ---- disk

    /// When a disk is done with what begins now.
    fn disk_done_at(&mut self, index: usize) -> Time {
        let slow = self.now < self.hosts[index].slow_until;
        let longest = if slow { SLOW_DISK } else { self.options.disk_delay };
        self.now + 1 + self.rng.disk.below(longest)
    }

    fn begin_write(&mut self, index: usize) {
        let boot = self.hosts[index].boot;
        let Some(process) = self.hosts[index].process.as_mut() else { return };
        let Some(early) = process.disk.begin_write() else { return };
        let at = self.disk_done_at(index);
        self.queue.plan(at, Event::DiskWritten { host: index, boot });
        if let Some(event) = early {
            self.queue.plan(self.now + 1, Event::Input { host: index, boot, input: Box::new(Input::Disk(event)) });
        }
    }

    pub(super) fn on_disk_written(&mut self, index: usize, boot: u64) {
        let host = &mut self.hosts[index];
        let Some(process) = host.process.as_mut().filter(|_| host.boot == boot) else { return };
        if let Some(event) = process.disk.finish_write() {
            self.feed(index, boot, Input::Disk(event));
        }
        self.begin_write(index);
    }

    pub(super) fn on_disk_read(&mut self, index: usize, boot: u64, op: &DiskOp) {
        let host = &self.hosts[index];
        let Some(process) = host.process.as_ref().filter(|_| host.boot == boot) else { return };
        let failing = matches!(self.phase, Phase::Faults { .. }) && self.rng.disk.percent(self.options.read_errors);
        let event = if failing { SimDisk::fail_read(op) } else { process.disk.read(op) };
        if let Some(event) = event {
            self.feed(index, boot, Input::Disk(event));
        }
    }

    // ---- the other region

    /// Whether a node holds the connection to the other region; the side on which it would.
    fn side_of(&self, index: usize) -> (usize, bool) {
        let side = self.hosts[index].region;
        (side, self.net.ends[side] == index)
    }

    fn set_active(&mut self, index: usize, active: bool) {
        if let Some(process) = self.hosts[index].process.as_mut() {
            process.active = active;
        }
        let (_, holds) = self.side_of(index);
        if !active && holds {
            self.break_net();
        }
    }

    fn send_frame(&mut self, index: usize, group: u64, frame: RegionFrame) {
        let (side, true) = self.side_of(index) else { return };
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
        let end = self.net.ends[to];
        if let Some(ack) = self.mistakes.early_ack(&frame) {
            self.send_frame(end, 0, ack);
        }
        let from = self.regions[1 - to].name.clone();
        self.feed(end, self.hosts[end].boot, Input::Region { from, frame });
    }

    pub(super) fn on_side_up(&mut self, side: usize, conn: u64) {
        let end = self.net.ends[side];
        if conn != self.net.conn || !self.net.alive || self.hosts[end].process.is_none() {
            return;
        }
        self.net.up[side] = true;
        let region = self.regions[1 - side].name.clone();
        self.feed(end, self.hosts[end].boot, Input::RegionUp { region });
    }

    pub(super) fn on_side_down(&mut self, side: usize, conn: u64) {
        if conn != self.net.conn || !std::mem::take(&mut self.net.up[side]) {
            return;
        }
        let (end, region) = (self.net.ends[side], self.regions[1 - side].name.clone());
        self.feed(end, self.hosts[end].boot, Input::RegionDown { region, reason: "silence".to_owned() });
    }
}

fn describe_input(input: &Input) -> String {
    match input {
        Input::Frame { conn, frame } => {
            let body = frame.payload.as_ref().map_or(0, |payload| digest(payload));
            format!("frame {} {:x} {body:x}", conn.0, digest(&frame.command))
        }
        Input::Region { frame, .. } => describe_frame(frame),
        Input::PeerRequest { from, request } => format!("from node {}: {}", from.0, describe_request(request)),
        Input::PeerResponse { from, response } => format!("from node {}: {}", from.0, describe_response(response)),
        Input::ClusterFrame { from, frame } => format!("from node {}: {}", from.0, describe_cluster(frame)),
        Input::PeerHeard { node } => format!("heard {}", node.0),
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
        Output::PeerRequest { to, request } => format!("to node {}: {}", to.0, describe_request(request)),
        Output::PeerResponse { to, response } => format!("to node {}: {}", to.0, describe_response(response)),
        Output::ClusterFrame { to, frame } => format!("to node {}: {}", to.0, describe_cluster(frame)),
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

fn digest_pieces(pieces: &[Bytes]) -> u64 {
    pieces.iter().fold(0, |hash, piece| hash ^ digest(piece))
}

fn describe_request(request: &BookieRequest) -> String {
    if let BookieRequest::Add { id, ledger, entry, lac, recovery, data } = request {
        return format!("add {id:?} {ledger} {entry} lac {lac} recovery {recovery} {:x}", digest(&data.head));
    }
    format!("{request:?}")
}

fn describe_response(response: &BookieResponse) -> String {
    if let BookieResponse::Read { id, ledger, .. } = response {
        let mut pieces = Vec::new();
        wire::bookie::encode_response(response, &mut pieces);
        return format!("read {id:?} {ledger} {:x}", digest_pieces(&pieces));
    }
    format!("{response:?}")
}

fn describe_cluster(frame: &ClusterFrame) -> String {
    match frame {
        ClusterFrame::Outbound { to, frame, .. } => format!("out to {to}: {}", describe_frame(frame)),
        ClusterFrame::Inbound { from, frame } => format!("in from {from}: {}", describe_frame(frame)),
        other => format!("{other:?}"),
    }
}

/// The topic of `TENANT/NAMESPACE/DOMAIN/NAME`.
fn topic_of(path: &str) -> Option<String> {
    let mut parts = path.splitn(4, '/');
    let (tenant, namespace, domain) = (parts.next()?, parts.next()?, parts.next()?);
    Some(format!("{domain}://{tenant}/{namespace}/{}", parts.next()?))
}
