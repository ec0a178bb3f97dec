//! Sends one topic's log to one remote region.

use crate::seeded::Planted;
use crate::{LinkAlarm, LinkOptions, LinkResume, LogView};
use base::{Effects, EntryData, Mono, Now, OwnerId, Position, RequestId, Rng, TopicName};
use wire::region::RegionFrame;

/// Whether an entry is to be forwarded on this link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    Yes,
    /// It came from another region, `replicate_to` excludes the remote, …: it leaves no trace there.
    Skip,
}

/// One entry of the log, as the owner read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkEntry {
    pub position: Position,
    pub data: EntryData,
    pub forward: Forward,
    /// Messages of the topic up to and including this entry.
    pub messages_end: u64,
    /// When the broker took the entry, Unix milliseconds.
    pub published_ms: u64,
}

/// A read that did not give entries; it is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadFailed;

/// Whether the connection takes more frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Writable,
    Full,
}

/// What a sender wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEffect {
    /// Send this frame to the remote region, in order with the link's other frames.
    Send(RegionFrame),
    /// Read the log from `from` (inclusive; the next readable position if it does not exist) and answer with
    /// `handle_read`: at least one entry if there is one, an empty list at the end of the log.
    ReadFrom { id: RequestId, from: Position, entries_max: u32, bytes_max: u64 },
    /// Move the durable link cursor forward: properties first or together with the mark-delete.
    Acked(LinkResume),
    /// Move the durable link cursor back, at once, so that retention keeps what is sent again.
    Rewound(LinkResume),
    Alarm(LinkAlarm),
}

/// Where a sender stands, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkPhase {
    /// No connection to the remote region.
    Offline,
    /// Asked the remote to take the topic.
    Opening,
    Streaming,
    /// Waiting to open again.
    BackingOff,
    /// Stopped by an alarm; evaluated anew from time to time and on every connection.
    Halted,
    Closed,
}

/// How far the remote is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkLag {
    /// Messages in this region's log that the link has not yet dealt with.
    pub messages: u64,
    /// Age of the oldest entry that is to be forwarded and not yet acknowledged, milliseconds; 0 when there is none.
    pub oldest_ms: u64,
    /// Sent and not yet acknowledged.
    pub unacked_bytes: u64,
}

/// Counters since the sender was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkStats {
    pub entries_sent: u64,
    pub bytes_sent: u64,
    pub entries_acked: u64,
    pub entries_skipped: u64,
    pub rewinds: u64,
    pub opens: u64,
}

/// The sending end of one link.
#[derive(Debug)]
pub struct LinkSender {
    owner: OwnerId,
    number: u64,
    topic: TopicName,
    durable: LinkResume,
    log: LogView,
    options: LinkOptions,
    rng: Rng,
    planted: Planted,
}

impl LinkSender {
    /// A sender that waits for `handle_connected` or `handle_disconnected`, whichever is true.
    ///
    /// `number` is unique among the senders of this process and below 2^40; frames carry it with an attempt, see
    /// [`crate::link_number`].
    pub fn new(
        owner: OwnerId,
        number: u64,
        topic: TopicName,
        resume: LinkResume,
        log: LogView,
        options: LinkOptions,
        rng: Rng,
    ) -> Self {
        Self { owner, number, topic, durable: resume, log, options, rng, planted: Planted::default() }
    }

    /// The remote region is connected.
    pub fn handle_connected(&mut self, now: Now, fx: &mut Effects<LinkEffect>) {
        let _ = (now, fx, &self.owner, &self.number, &self.topic, &self.durable, &self.log, &self.options, &self.rng);
        let _ = self.planted;
        unimplemented!()
    }

    /// The connection to the remote region is gone.
    pub fn handle_disconnected(&mut self, now: Now, fx: &mut Effects<LinkEffect>) {
        let _ = (now, fx);
        unimplemented!()
    }

    /// One of `Opened`, `Refused`, `Ack`, `Rewind`, `Close` whose `link_number` is this sender's.
    pub fn handle_frame(&mut self, now: Now, frame: &RegionFrame, fx: &mut Effects<LinkEffect>) {
        let _ = (now, frame, fx);
        unimplemented!()
    }

    /// The answer to a `ReadFrom`; entries ascend.
    pub fn handle_read(
        &mut self,
        now: Now,
        id: RequestId,
        result: Result<Vec<LinkEntry>, ReadFailed>,
        fx: &mut Effects<LinkEffect>,
    ) {
        let _ = (now, id, result, fx);
        unimplemented!()
    }

    /// The log grew or was trimmed. A trim is told before any read that it affected is answered.
    pub fn handle_log(&mut self, now: Now, log: LogView, fx: &mut Effects<LinkEffect>) {
        let _ = (now, log, fx);
        unimplemented!()
    }

    /// The connection filled up or has room again.
    pub fn handle_transport(&mut self, now: Now, transport: Transport, fx: &mut Effects<LinkEffect>) {
        let _ = (now, transport, fx);
        unimplemented!()
    }

    /// Ends the link for good (policy changed, topic unloaded).
    pub fn close(&mut self, reason: &str, fx: &mut Effects<LinkEffect>) {
        let _ = (reason, fx);
        unimplemented!()
    }

    pub fn next_deadline(&self) -> Option<Mono> {
        None
    }

    pub fn on_deadline(&mut self, now: Now, fx: &mut Effects<LinkEffect>) {
        let _ = (now, fx);
    }

    /// The owner's number of this link.
    pub fn number(&self) -> u64 {
        self.number
    }

    pub fn phase(&self) -> LinkPhase {
        LinkPhase::Offline
    }

    /// How far the remote is behind.
    pub fn lag(&self, now: Now) -> LinkLag {
        let _ = now;
        LinkLag::default()
    }

    pub fn stats(&self) -> LinkStats {
        LinkStats::default()
    }
}
