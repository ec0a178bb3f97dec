//! Clients and their connections.

use super::{Event, Phase, World, life};
use crate::bugs::Bug;
use crate::client::{Client, Io, Left, Stream};
use crate::history::Ended;
use crate::queue::{MS, Time};
use crate::region::url_of;
use broker::io::{ConnId, ConnInfo, Outgoing};
use bytes::{Bytes, BytesMut};
use node::Input;
use std::collections::VecDeque;
use wire::frame::{FrameLimits, FrameSplitter, RawFrame, decode_command, encode_command};
use wire::pulsar::base_command::Command;
use wire::pulsar::{CommandConnected, CommandLookupTopic};

/// One connection, both ends.
pub(super) struct Conn {
    client: usize,
    host: usize,
    boot: u64,
    /// It is the node that serves the client's topic, as that node said.
    found: bool,
    /// The server still knows it.
    server_open: bool,
    /// The client still knows it.
    client_open: bool,
    splitter: FrameSplitter,
    buffer: BytesMut,
    /// The server does not read; what came meanwhile.
    paused: bool,
    held: VecDeque<RawFrame>,
    to_node_at: Time,
    to_client_at: Time,
    stream: Stream,
}

impl Conn {
    pub(super) fn client(&self) -> usize {
        self.client
    }

    /// Whether it is with this node, which serves the client's topic.
    pub(super) fn serves(&self, host: usize) -> bool {
        self.host == host && self.found && self.server_open
    }
}

impl World {
    /// Sets a client's alarm.
    pub(super) fn wake_at(&mut self, client: usize, at: Time) {
        self.wakes.insert(client, at);
        self.queue.plan(at, Event::Wake { client });
    }

    pub(super) fn on_wake(&mut self, client: usize) {
        if self.wakes.get(&client) == Some(&self.now) {
            self.wakes.remove(&client);
            self.tell_client(client, Left::default(), |client, io| client.on_wake(io));
        }
    }

    /// Runs `act` on a client and does what it wants.
    pub(super) fn tell_client(&mut self, index: usize, left: Left, act: impl FnOnce(&mut Client, &mut Io<'_>)) {
        let mut io = Io {
            now: self.now,
            rng: &mut self.rng.clients,
            history: &mut self.history,
            step: self.step,
            left,
            sends: Vec::new(),
            close: false,
            dial: false,
            wake: None,
        };
        act(&mut self.clients[index], &mut io);
        let Io { sends, close, dial, wake, .. } = io;
        if let Some(at) = wake {
            self.wake_at(index, at);
        }
        if dial && !self.conn_of.contains_key(&index) {
            self.dial(index);
        }
        let Some(id) = self.conn_of.get(&index).copied() else { return };
        for bytes in sends {
            self.send_to_node(id, bytes);
        }
        if close {
            self.kill_conn(id);
        }
    }

    fn send_to_node(&mut self, id: ConnId, bytes: Bytes) {
        let delay = self.rng.net.below(self.options.client_delay);
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.to_node_at = conn.to_node_at.max(self.now + delay);
        self.queue.plan(conn.to_node_at, Event::ToNode { conn: id, bytes });
    }

    /// A client connects, or finds nobody.
    pub(super) fn dial(&mut self, client: usize) {
        if self.conn_of.contains_key(&client) {
            return;
        }
        let host = self.host_for(client);
        let Some(process) = self.hosts[host].process.as_mut() else {
            // Refused: try again in a while.
            let wait = 100 * MS + self.rng.clients.below(400 * MS);
            self.queue.plan(self.now + wait, Event::Dial { client });
            return;
        };
        self.last_conn += 1;
        let id = ConnId(self.last_conn);
        process.conns.insert(id);
        let boot = self.hosts[host].boot;
        let conn = Conn {
            client,
            host,
            boot,
            found: self.options.nodes == 1,
            server_open: true,
            client_open: true,
            splitter: FrameSplitter::new(FrameLimits::HANDSHAKE),
            buffer: BytesMut::new(),
            paused: false,
            held: VecDeque::new(),
            to_node_at: self.now,
            to_client_at: self.now,
            stream: Stream::default(),
        };
        self.conns.insert(id, conn);
        self.conn_of.insert(client, id);
        let info = ConnInfo { peer: format!("client:{client}"), tls_common_name: None, tls: false };
        self.feed(host, boot, Input::ConnOpened { conn: id, info });
        self.tell_client(client, Left::default(), |client, io| client.on_open(io));
    }

    /// The connection breaks: the client knows at once, the server a little later.
    pub(super) fn kill_conn(&mut self, id: ConnId) {
        let delay = self.rng.net.below(50 * MS);
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if std::mem::take(&mut conn.server_open) {
            let (host, boot) = (conn.host, conn.boot);
            self.history.ended.push(Ended { client: conn.client as u64, closed: None, step: self.step });
            let input = Box::new(Input::ConnClosed { conn: id });
            self.queue.plan(self.now + delay, Event::Input { host, boot, input });
        }
        self.on_client_closed(id);
    }

    /// The server died: clients notice a little later, and nothing more arrives.
    pub(super) fn drop_conn(&mut self, id: ConnId) {
        let delay = self.rng.net.below(50 * MS);
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.server_open = false;
            self.history.ended.push(Ended { client: conn.client as u64, closed: None, step: self.step });
            self.queue.plan(self.now + delay, Event::ClientClosed { conn: id });
        }
    }

    pub(super) fn on_client_closed(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if std::mem::take(&mut conn.client_open) {
            let client = conn.client;
            self.conn_of.remove(&client);
            self.tell_client(client, Left::default(), |client, io| client.on_closed(io));
        }
    }

    pub(super) fn on_bytes_to_node(&mut self, id: ConnId, bytes: &Bytes) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if !conn.server_open {
            return;
        }
        conn.buffer.extend_from_slice(bytes);
        while let Ok(Some(frame)) = conn.splitter.next(&mut conn.buffer) {
            conn.held.push_back(frame);
        }
        self.pass_frames(id);
    }

    fn pass_frames(&mut self, id: ConnId) {
        loop {
            let Some(conn) = self.conns.get_mut(&id).filter(|conn| conn.server_open && !conn.paused) else { return };
            let Some(frame) = conn.held.pop_front() else { return };
            let (host, boot) = (conn.host, conn.boot);
            let command = decode_command(&frame.command).ok().and_then(|command| command.command);
            let (early, reaches) = command.map_or((None, true), |command| self.mistakes.early_answer(&command));
            if let Some(bytes) = early {
                self.send_to_client(id, Outgoing::One(bytes));
            }
            if reaches {
                self.feed(host, boot, Input::Frame { conn: id, frame });
            }
        }
    }

    pub(super) fn set_paused(&mut self, id: ConnId, paused: bool) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.paused = paused;
        }
        if !paused {
            // Not within the output that resumed it.
            self.queue.plan(self.now, Event::ToNode { conn: id, bytes: Bytes::new() });
        }
    }

    pub(super) fn set_authenticated(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.splitter.set_limits(FrameLimits::connected(5 << 20));
        }
    }

    pub(super) fn send_to_client(&mut self, id: ConnId, bytes: Outgoing) {
        let delay = self.rng.net.below(self.options.client_delay);
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.to_client_at = conn.to_client_at.max(self.now + delay);
        let at = conn.to_client_at;
        let left = Left { step: self.step, at: self.now, boot: life(conn.host, conn.boot) };
        let (host, boot) = (conn.host, conn.boot);
        let len = bytes.len() as u64;
        let is_message = matches!(bytes, Outgoing::Two(..));
        let bytes = match bytes {
            Outgoing::One(bytes) => bytes,
            Outgoing::Two(first, second) => [first, second].concat().into(),
        };
        if is_message && matches!(self.phase, Phase::Faults { .. }) && self.mistakes.strikes(Bug::DeliveryLost) {
            return;
        }
        self.queue.plan(at, Event::ToClient { conn: id, bytes, left });
        let input = Box::new(Input::Written { conn: id, bytes: len });
        self.queue.plan(at, Event::Input { host, boot, input });
    }

    /// The server closes: what was sent before still arrives.
    pub(super) fn close_from_server(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if std::mem::take(&mut conn.server_open) {
            self.history.ended.push(Ended { client: conn.client as u64, closed: None, step: self.step });
            let (host, boot, at) = (conn.host, conn.boot, conn.to_client_at.max(self.now));
            self.queue.plan(at, Event::ClientClosed { conn: id });
            let input = Box::new(Input::ConnClosed { conn: id });
            self.queue.plan(at, Event::Input { host, boot, input });
        }
    }

    pub(super) fn on_bytes_to_client(&mut self, id: ConnId, bytes: &Bytes, left: Left) {
        let Some(conn) = self.conns.get_mut(&id).filter(|conn| conn.client_open) else { return };
        conn.stream.push(bytes);
        loop {
            let Some(conn) = self.conns.get_mut(&id).filter(|conn| conn.client_open) else { return };
            let client = conn.client;
            match conn.stream.next_command() {
                Ok(Some((command, _))) if !conn.found => self.look_up(id, client, command),
                Ok(Some((command, body))) => {
                    self.tell_client(client, left, |client, io| client.on_command(command, body.as_ref(), io));
                }
                Ok(None) => return,
                Err(error) => {
                    self.broken = Some(format!("a server sent what is no command: {error}"));
                    return;
                }
            }
        }
    }
    // ---- which node serves a topic

    /// Where a client connects: to where it was sent, or to any node of its region.
    fn host_for(&mut self, client: usize) -> usize {
        let hosts = self.hosts_of(self.clients[client].region());
        let any = if hosts.len() < 2 { None } else { self.rng.clients.pick(&hosts).copied() };
        self.targets.remove(&client).or(any).unwrap_or(hosts[0])
    }

    /// What a client library does before it uses a topic: it asks for its node and goes there.
    fn look_up(&mut self, id: ConnId, client: usize, command: Command) {
        match command {
            Command::Connected(_) => {
                let topic = self.clients[client].topic().to_owned();
                let lookup = CommandLookupTopic { topic, request_id: 0, ..CommandLookupTopic::default() };
                self.send_to_node(id, encode_command(&lookup.into()));
            }
            Command::Ping(_) => self.send_to_node(id, encode_command(&wire::commands::pong())),
            Command::LookupTopicResponse(answer) => {
                let found = answer.broker_service_url.as_deref().and_then(|url| self.host_at(url));
                let Some(conn) = self.conns.get_mut(&id) else { return };
                if found == Some(conn.host) {
                    conn.found = true;
                    let connected = Command::Connected(CommandConnected::default());
                    self.tell_client(client, Left::default(), |client, io| client.on_command(connected, None, io));
                    return;
                }
                if let Some(host) = found {
                    self.targets.insert(client, host);
                }
                self.kill_conn(id);
            }
            _ => self.kill_conn(id),
        }
    }

    fn host_at(&self, url: &str) -> Option<usize> {
        self.hosts.iter().position(|host| url_of(&self.regions[host.region].name, host.node) == url)
    }
}
