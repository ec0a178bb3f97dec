//! The node thread: takes inputs, runs the machines, executes what they want.
//!
//! **What**  One thread owns the [`Node`]. Others reach it through [`NodeHandle`]; what the node wants is handed on without
//! waiting: the log device and the outlets take it at once, metadata requests and HTTP answers go to their own tasks. While it
//! is not busy, the thread also reads the connections that bring little (`conn`, `peer::bulk`): they get their turn between two
//! batches.

use crate::clock::Clock;
use crate::geo::GeoHandle;
use crate::load::{Load, LoadMeter};
use crate::outlet::Outlet;
use crate::task;
use admin::{HttpId, HttpRequest, HttpResponse};
use base::{FixedMap, NodeId, RegionName, RequestId};
use bookie::disk::DiskEvent;
use broker::io::{ConnId, ConnInfo, Outgoing};
use bytes::Bytes;
use disk::LogDevice;
use meta::MetaHandle;
use meta_api::{MetaEvent, MetaResponse};
use node::{ADMIN_OWNER, Input, Node, Output};
use peer::{FrameKind, FramePermit as PeerPermit, PeerEndpoint, Sent};
use quic::FramePermit;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use wire::bookie::{BookieRequest, BookieResponse};
use wire::cluster::ClusterFrame;
use wire::frame::RawFrame;
use wire::region::RegionFrame;

/// Inputs that may wait for the node; each connection has at most a few of them at a time.
const INPUTS_MAX: usize = 4096;
/// Inputs handled before effects are flushed to sockets.
const BATCH_MAX: usize = 512;

/// What other threads tell the node thread.
#[derive(Debug)]
pub(crate) enum ShardInput {
    ConnOpened { conn: ConnId, info: ConnInfo, outlet: Arc<Outlet> },
    Frames { conn: ConnId, frames: Vec<RawFrame> },
    Garbage { conn: ConnId, reason: String },
    ConnClosed { conn: ConnId },
    Written { conn: ConnId, bytes: u64 },
    Disk(DiskEvent),
    Meta { id: base::RequestId, response: MetaResponse },
    MetaEvents(Vec<MetaEvent>),
    RegionUp { region: RegionName },
    RegionDown { region: RegionName, reason: String },
    Region { from: RegionName, frame: RegionFrame, permit: FramePermit },
    PeerUp { node: NodeId, incarnation: u64 },
    PeerDown { node: NodeId, refused: bool },
    PeerHeard { node: NodeId },
    PeerRequest { from: NodeId, request: BookieRequest, permit: PeerPermit },
    PeerResponse { from: NodeId, response: BookieResponse, permit: PeerPermit },
    ClusterFrame { from: NodeId, frame: ClusterFrame, permit: PeerPermit },
    Leadership(meta::Leadership),
    Members { voters: Vec<NodeId>, learners: Vec<NodeId> },
    Http { request: HttpRequest, reply: oneshot::Sender<HttpResponse> },
    Shutdown,
}

/// The way to the node thread.
#[derive(Clone, Debug)]
pub(crate) struct NodeHandle {
    inputs: mpsc::Sender<ShardInput>,
}

/// The node thread has ended.
#[derive(Debug)]
pub(crate) struct NodeGone;

impl NodeHandle {
    pub(crate) fn channel() -> (Self, mpsc::Receiver<ShardInput>) {
        let (inputs, receiver) = mpsc::channel(INPUTS_MAX);
        (Self { inputs }, receiver)
    }

    /// Whether the node thread has ended.
    pub(crate) fn is_gone(&self) -> bool {
        self.inputs.is_closed()
    }

    /// Waits for room: this is how the node's load slows its sources down.
    pub(crate) async fn send(&self, input: ShardInput) -> Result<(), NodeGone> {
        self.inputs.send(input).await.map_err(|_| NodeGone)
    }

    /// For threads outside of a runtime.
    pub(crate) fn send_blocking(&self, input: ShardInput) {
        // An error means that the process is ending.
        let _ = self.inputs.blocking_send(input);
    }
}

/// What the node thread needs to execute effects.
pub(crate) struct Executors {
    pub clock: Clock,
    pub device: LogDevice,
    pub meta: MetaHandle,
    pub geo: GeoHandle,
    pub pool: Handle,
    pub node: NodeHandle,
    /// `None` for a node that is alone in its region.
    pub peers: Option<Arc<PeerEndpoint>>,
}

/// The node and its surroundings.
pub(crate) struct Shard {
    node: Node,
    executors: Executors,
    outlets: FixedMap<ConnId, Arc<Outlet>>,
    replies: FixedMap<HttpId, oneshot::Sender<HttpResponse>>,
    http_ids: u64,
    outputs: Vec<Output>,
    /// Bytes for sockets of the batch being handled, by connection.
    sends: FixedMap<ConnId, Vec<Outgoing>>,
    touched: Vec<ConnId>,
    /// What sockets took at once, told to the node with the next batch.
    written: Vec<(ConnId, u64)>,
    meter: LoadMeter,
    /// Nodes that frames were queued for in this batch.
    addressed: BTreeSet<NodeId>,
    /// Requests to other nodes that could not be handed over.
    unsent: Vec<(NodeId, RequestId)>,
    stopping: bool,
}

impl Shard {
    pub(crate) fn new(node: Node, executors: Executors, first: Vec<Output>) -> Self {
        Self {
            node,
            executors,
            outlets: FixedMap::default(),
            replies: FixedMap::default(),
            http_ids: 0,
            outputs: first,
            sends: FixedMap::default(),
            touched: Vec::new(),
            written: Vec::new(),
            meter: LoadMeter::default(),
            addressed: BTreeSet::new(),
            unsent: Vec::new(),
            stopping: false,
        }
    }

    /// How busy the thread is.
    pub(crate) fn load(&self) -> Load {
        self.meter.load()
    }

    /// Runs until a shutdown is complete.
    pub(crate) async fn run(mut self, mut inputs: mpsc::Receiver<ShardInput>) -> LogDevice {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        let threads = Handle::current().metrics();
        self.execute();
        loop {
            let deadline = self.node.next_deadline();
            let timer = deadline.map(|at| self.executors.clock.instant(at));
            tokio::select! {
                biased;
                count = inputs.recv_many(&mut batch, BATCH_MAX) => {
                    if count == 0 {
                        return self.executors.device;
                    }
                }
                () = std::future::ready(()), if !self.written.is_empty() => (),
                () = sleep_until(timer) => (),
            }
            for (conn, bytes) in std::mem::take(&mut self.written) {
                self.take(ShardInput::Written { conn, bytes });
            }
            for input in batch.drain(..) {
                self.take(input);
            }
            let now = self.executors.clock.now();
            let worked = threads.worker_total_busy_duration(0);
            self.meter.note(Duration::from_nanos(now.mono.0), worked);
            if self.node.next_deadline().is_some_and(|at| at <= now.mono) {
                self.node.on_deadline(now, &mut self.outputs);
            }
            self.execute();
            if self.stopping && self.node.is_idle() {
                return self.executors.device;
            }
            tokio::task::yield_now().await;
        }
    }

    fn take(&mut self, input: ShardInput) {
        let now = self.executors.clock.now();
        let input = match input {
            ShardInput::ConnOpened { conn, info, outlet } => {
                self.outlets.insert(conn, outlet);
                Input::ConnOpened { conn, info }
            }
            ShardInput::Frames { conn, frames } => {
                for frame in frames {
                    self.node.handle(now, Input::Frame { conn, frame }, &mut self.outputs);
                }
                return;
            }
            ShardInput::Garbage { conn, reason } => Input::Garbage { conn, reason },
            ShardInput::ConnClosed { conn } => {
                self.outlets.remove(&conn);
                Input::ConnClosed { conn }
            }
            ShardInput::Written { conn, bytes } => Input::Written { conn, bytes },
            ShardInput::Disk(event) => Input::Disk(event),
            ShardInput::Meta { id, response } => Input::Meta { id, response },
            ShardInput::MetaEvents(events) => Input::MetaEvents(events),
            ShardInput::RegionUp { region } => Input::RegionUp { region },
            ShardInput::RegionDown { region, reason } => Input::RegionDown { region, reason },
            // The permit goes when the frame has been taken in: what it holds is then bounded by the link's credit.
            ShardInput::Region { from, frame, permit: _permit } => Input::Region { from, frame },
            ShardInput::PeerUp { node, incarnation } => Input::PeerUp { node, incarnation },
            ShardInput::PeerDown { node, refused } => Input::PeerDown { node, refused },
            ShardInput::PeerHeard { node } => Input::PeerHeard { node },
            ShardInput::PeerRequest { from, request, permit: _permit } => Input::PeerRequest { from, request },
            ShardInput::PeerResponse { from, response, permit: _permit } => Input::PeerResponse { from, response },
            ShardInput::ClusterFrame { from, frame, permit: _permit } => Input::ClusterFrame { from, frame },
            ShardInput::Leadership(meta::Leadership { leader, term, apart }) => {
                Input::Leadership { leader, term, apart }
            }
            ShardInput::Members { voters, learners } => Input::Members { voters, learners },
            ShardInput::Http { request, reply } => {
                self.http_ids += 1;
                let id = HttpId(self.http_ids);
                self.replies.insert(id, reply);
                Input::Http { id, request }
            }
            ShardInput::Shutdown => {
                self.stopping = true;
                self.node.begin_shutdown(now, &mut self.outputs);
                return;
            }
        };
        self.node.handle(now, input, &mut self.outputs);
    }

    /// Executes everything that the node wants, then flushes the sockets.
    fn execute(&mut self) {
        let mut outputs = std::mem::take(&mut self.outputs);
        loop {
            for output in outputs.drain(..) {
                self.execute_one(output);
            }
            let Some((to, id)) = self.unsent.pop() else { break };
            let now = self.executors.clock.now();
            self.node.handle(now, Input::PeerUnsent { to, id }, &mut outputs);
        }
        self.outputs = outputs;
        self.flush_peers();
        for conn in std::mem::take(&mut self.touched) {
            self.flush(conn);
            self.sends.remove(&conn);
        }
    }

    fn execute_one(&mut self, output: Output) {
        match output {
            Output::Send { conn, bytes } => {
                let items = self.sends.entry(conn).or_default();
                if items.is_empty() {
                    self.touched.push(conn);
                }
                items.push(bytes);
            }
            Output::Authenticated { conn } => self.with_outlet(conn, Outlet::set_authenticated),
            Output::Close { conn, reason } => {
                tracing::debug!(conn = conn.0, "closing connection: {reason}");
                self.flush(conn);
                self.with_outlet(conn, Outlet::close);
            }
            Output::PauseReads { conn } => self.with_outlet(conn, Outlet::pause),
            Output::ResumeReads { conn } => self.with_outlet(conn, Outlet::resume),
            Output::Disk(op) => self.executors.device.submit(op),
            Output::Meta { id, request } => self.ask_meta(id, |meta| async move { meta.request(request).await }),
            Output::Decide { id, request } => self.ask_meta(id, |meta| async move { meta.decide(request).await }),
            Output::Region { to, group, frame } => self.executors.geo.send(&to, group, frame),
            Output::Http { id, response } => {
                if let Some(reply) = self.replies.remove(&id) {
                    // The client may have gone.
                    let _ = reply.send(response);
                }
            }
            Output::ConnectRegions { active } => self.executors.geo.set_active(active),
            Output::PeerRequest { to, request } => {
                let mut pieces = Vec::new();
                wire::bookie::encode_request(&request, &mut pieces);
                if !self.send_to_node(to, FrameKind::BookieRequest, pieces) {
                    self.unsent.push((to, request.id()));
                }
            }
            Output::PeerResponse { to, response } => {
                let mut pieces = Vec::new();
                wire::bookie::encode_response(&response, &mut pieces);
                // Whoever asked asks again, or another copy.
                self.send_to_node(to, FrameKind::BookieResponse, pieces);
            }
            Output::ClusterFrame { to, frame } => {
                let mut pieces = Vec::new();
                wire::cluster::encode(&frame, &mut pieces);
                // Links notice the gap and go back; operators' questions are answered here then, and their answers are missed.
                if !self.send_to_node(to, FrameKind::Cluster, pieces)
                    && let ClusterFrame::Ask { id, .. } = frame
                {
                    self.unsent.push((to, RequestId::new(ADMIN_OWNER, id)));
                }
            }
            Output::Alarm { text } => tracing::warn!("{text}"),
        }
    }

    /// Has a request answered, and brings the answer back.
    fn ask_meta<A>(&self, id: RequestId, ask: impl FnOnce(MetaHandle) -> A)
    where
        A: Future<Output = MetaResponse> + Send + 'static,
    {
        let (answer, node) = (ask(self.executors.meta.clone()), self.executors.node.clone());
        task::spawn(&self.executors.pool, "meta-request", async move {
            let response = answer.await;
            let _ = node.send(ShardInput::Meta { id, response }).await;
        });
    }

    /// Whether the frame is on its way.
    fn send_to_node(&mut self, to: NodeId, kind: FrameKind, pieces: Vec<Bytes>) -> bool {
        let Some(peers) = &self.executors.peers else { return false };
        self.addressed.insert(to);
        peers.queue(to, kind, pieces) == Sent::Queued
    }

    /// Has the frames of this batch written: a few by this thread, while it has time to spare.
    fn flush_peers(&mut self) {
        let here = !self.meter.load().is_busy();
        while let Some(to) = self.addressed.pop_first() {
            if let Some(peers) = &self.executors.peers {
                peers.flush(to, here);
            }
        }
    }

    fn flush(&mut self, conn: ConnId) {
        if let (Some(items), Some(outlet)) = (self.sends.get_mut(&conn), self.outlets.get(&conn)) {
            let bytes = outlet.push_all(items.drain(..));
            if bytes > 0 {
                self.written.push((conn, bytes));
            }
        }
    }

    fn with_outlet(&self, conn: ConnId, act: impl FnOnce(&Outlet)) {
        if let Some(outlet) = self.outlets.get(&conn) {
            act(outlet);
        }
    }
}

async fn sleep_until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
