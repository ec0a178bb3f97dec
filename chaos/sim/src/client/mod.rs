//! Simulated Pulsar clients: real frames, no sockets.
//!
//! **What**  A client owns at most one connection. It is told what happens to it and answers through [`Io`].

mod consumer;
mod holding;
mod producer;

pub use consumer::{Acking, Consumer, ConsumerPlan};
pub use producer::{Pace, Producer};

use crate::history::History;
use crate::queue::Time;
use base::Rng;
use bytes::{Bytes, BytesMut};
use wire::frame::{FrameLimits, FrameSplitter, decode_command, encode_command};
use wire::payload::PayloadView;
use wire::pulsar::base_command::Command;
use wire::pulsar::{BaseCommand, CommandConnect, ProtocolVersion};

/// What a client may do while it handles one event.
pub struct Io<'a> {
    pub now: Time,
    pub rng: &'a mut Rng,
    pub history: &'a mut History,
    /// Counts what happens in the world.
    pub step: u64,
    /// When the bytes being handled left the server: step of the world, instant, life of the server.
    pub left: Left,
    /// Bytes for the connection, in order.
    pub sends: Vec<Bytes>,
    /// The client gives its connection up.
    pub close: bool,
    /// The client wants a connection.
    pub dial: bool,
    /// The client wants to be woken at this instant.
    pub wake: Option<Time>,
}

/// When bytes left a server.
#[derive(Clone, Copy, Debug, Default)]
pub struct Left {
    pub step: u64,
    pub at: Time,
    pub boot: u64,
}

impl Io<'_> {
    fn command(&mut self, command: impl Into<BaseCommand>) {
        self.sends.push(encode_command(&command.into()));
    }

    /// Asks to be woken within `longest`.
    fn wake_within(&mut self, longest: Time) {
        self.wake = Some(self.now + 1 + self.rng.below(longest.max(1)));
    }
}

/// Any client.
pub enum Client {
    Producer(Producer),
    Consumer(Consumer),
}

impl Client {
    pub fn region(&self) -> usize {
        match self {
            Self::Producer(producer) => producer.region,
            Self::Consumer(consumer) => consumer.plan.region,
        }
    }

    pub fn topic(&self) -> &str {
        match self {
            Self::Producer(producer) => producer.topic(),
            Self::Consumer(consumer) => &consumer.plan.sub.topic,
        }
    }

    pub fn on_open(&mut self, io: &mut Io<'_>) {
        io.command(CommandConnect {
            client_version: "sim".to_owned(),
            protocol_version: Some(ProtocolVersion::V21 as i32),
            ..CommandConnect::default()
        });
        match self {
            Self::Producer(producer) => producer.on_open(io),
            Self::Consumer(consumer) => consumer.on_open(io),
        }
    }

    pub fn on_command(&mut self, command: Command, body: Option<&Bytes>, io: &mut Io<'_>) {
        match (command, self) {
            (Command::Ping(_), _) => io.command(wire::commands::pong()),
            (command, Self::Producer(producer)) => producer.on_command(command, io),
            (command, Self::Consumer(consumer)) => consumer.on_command(command, body, io),
        }
    }

    pub fn on_closed(&mut self, io: &mut Io<'_>) {
        match self {
            Self::Producer(producer) => producer.on_closed(io),
            Self::Consumer(consumer) => consumer.on_closed(io),
        }
    }

    pub fn on_wake(&mut self, io: &mut Io<'_>) {
        match self {
            Self::Producer(producer) => producer.on_wake(io),
            Self::Consumer(consumer) => consumer.on_wake(io),
        }
    }
}

/// The client's end of a stream: bytes in, commands out.
pub struct Stream {
    splitter: FrameSplitter,
    buffer: BytesMut,
}

impl Default for Stream {
    fn default() -> Self {
        Self { splitter: FrameSplitter::new(FrameLimits::connected(5 << 20)), buffer: BytesMut::new() }
    }
}

impl Stream {
    /// Takes bytes in.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next command and what stands behind it.
    ///
    /// # Errors
    /// What the server sent is no command.
    pub fn next_command(&mut self) -> Result<Option<(Command, Option<Bytes>)>, String> {
        let Some(frame) = self.splitter.next(&mut self.buffer).map_err(|error| error.to_string())? else {
            return Ok(None);
        };
        let command = decode_command(&frame.command).map_err(|error| error.to_string())?;
        let command = command.command.ok_or_else(|| "a command without content".to_owned())?;
        Ok(Some((command, frame.payload)))
    }
}

/// How long a client waits for any answer before it gives its connection up.
pub(crate) const PATIENCE: Time = 20 * crate::queue::SECOND;

/// Parses the messages of a body; payloads are `producer:number:padding`.
pub(crate) fn messages_of(body: &Bytes) -> Option<Vec<crate::history::Message>> {
    let view = PayloadView::parse(body).ok()?;
    let count = u32::try_from(view.metadata.num_messages_in_batch.unwrap_or(0)).unwrap_or(0);
    if count == 0 {
        return Some(vec![message_of(&view.payload)?]);
    }
    wire::payload::BatchView::new(view.payload, count).map(|one| message_of(&one.ok()?.payload)).collect()
}

fn message_of(payload: &[u8]) -> Option<crate::history::Message> {
    let text = std::str::from_utf8(payload).ok()?;
    let mut parts = text.split(':');
    Some(crate::history::Message { producer: parts.next()?.parse().ok()?, number: parts.next()?.parse().ok()? })
}
