//! Takes the entries of one link into the topic's copy and acknowledges what is durable.

use crate::seeded::Planted;
use crate::{OriginTracker, ReceiverOptions};
use base::{Effects, EntryData, Mono, Now, Position, RegionId};
use wire::region::RegionFrame;

/// What a receiver wants done.
#[derive(Debug, PartialEq, Eq)]
pub enum ReceiverEffect {
    /// Send this frame to the region the link comes from.
    Send(RegionFrame),
}

/// What the owner does with an entry, at once and before the next frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum EntryVerdict {
    /// Append it to the log, with its origin inside the record; then call `handle_added` or `handle_refused`.
    Store,
    /// Nothing: it was a duplicate or came out of turn.
    Drop,
}

/// The receiving end of one link.
#[derive(Debug)]
pub struct LinkReceiver {
    link: u64,
    region: RegionId,
    options: ReceiverOptions,
    planted: Planted,
}

impl LinkReceiver {
    /// Answers an `Open` once the topic's log is open: `incarnation` is the number of this copy of the topic, fixed when
    /// the copy was created.
    pub fn open(
        link: u64,
        region: RegionId,
        incarnation: u64,
        options: ReceiverOptions,
        tracker: &OriginTracker,
        fx: &mut Effects<ReceiverEffect>,
    ) -> Self {
        let _ = (incarnation, tracker, fx);
        Self { link, region, options, planted: Planted::default() }
    }

    /// Judges one `Entry` frame of this link.
    pub fn handle_entry(
        &mut self,
        now: Now,
        tracker: &OriginTracker,
        previous: Position,
        position: Position,
        data: &EntryData,
        fx: &mut Effects<ReceiverEffect>,
    ) -> EntryVerdict {
        let _ = (now, tracker, previous, position, data, fx);
        unimplemented!()
    }

    /// The entry last judged [`EntryVerdict::Store`] was handed to the log.
    pub fn handle_added(&mut self, tracker: &mut OriginTracker, position: Position, data: &EntryData) {
        let _ = (tracker, position, data);
        unimplemented!()
    }

    /// The topic did not take the entry last judged [`EntryVerdict::Store`] (queue full, quota): it will be asked for again.
    pub fn handle_refused(&mut self, now: Now) {
        let _ = now;
        unimplemented!()
    }

    /// The tracker's durable watermark may have grown.
    pub fn handle_persisted(&mut self, tracker: &OriginTracker, fx: &mut Effects<ReceiverEffect>) {
        let _ = (tracker, fx);
        unimplemented!()
    }

    /// The `link` field of this link's frames.
    pub fn link(&self) -> u64 {
        self.link
    }

    pub fn region(&self) -> RegionId {
        self.region
    }

    /// Whether an `Open` with this number replaces this receiver; if not, the `Open` is late and is ignored.
    pub fn is_replaced_by(&self, link: u64) -> bool {
        link > self.link
    }

    /// Ends the link (topic unloaded or deleted); the sender opens it again by itself.
    pub fn close(&mut self, reason: &str, fx: &mut Effects<ReceiverEffect>) {
        fx.push(ReceiverEffect::Send(RegionFrame::Close { link: self.link, reason: reason.to_owned() }));
    }

    pub fn next_deadline(&self) -> Option<Mono> {
        None
    }

    pub fn on_deadline(&mut self, now: Now, tracker: &OriginTracker, fx: &mut Effects<ReceiverEffect>) {
        let _ = (now, tracker, fx, &self.options, self.planted);
    }
}
