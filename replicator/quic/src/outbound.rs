//! Frames waiting to be written to one connection, bounded in bytes.
//!
//! **What**  One queue per lane: lane 0 is the control stream, the others carry groups. Frames of one lane keep their order.
//! Above `bytes_max` the sender is told to stop, at twice that frames are refused, at three times that answers and policies
//! too; when half of it is left the sender is told to go on.
//!
//! **Invariants**
//! - I1  queued bytes ≤ 3 × `bytes_max` + one frame, of groups ≤ 2 × `bytes_max` + one frame.
//! - I2  after `Full` was answered a notification follows, unless the connection ends.

use crate::{SendRefusal, SendRefused, Sent};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::mpsc;
use wire::region::RegionFrame;

/// What a frame costs beside its bytes.
const FRAME_OVERHEAD_BYTES: u64 = 128;

/// The lane of the control stream.
const CONTROL_LANE: usize = 0;

/// A frame in its lane, with what it takes from the bound.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) frame: RegionFrame,
    pub(crate) cost: u64,
}

/// The sending half, shared by all who send.
#[derive(Debug)]
pub(crate) struct Outbound {
    lanes: Vec<mpsc::Sender<Queued>>,
    bytes_max: u64,
    queued_bytes: AtomicU64,
    told_full: AtomicBool,
}

impl Outbound {
    /// A control lane and `streams` others, with the receiving half of each.
    pub(crate) fn new(streams: u16, bytes_max: u64) -> (Self, Vec<mpsc::Receiver<Queued>>) {
        // The bound in bytes is reached before any lane holds this many frames.
        let frames_max = usize::try_from(3 * bytes_max / FRAME_OVERHEAD_BYTES + 1).unwrap_or(usize::MAX >> 4);
        let (lanes, queues) = (0..=streams).map(|_| mpsc::channel(frames_max)).unzip();
        let outbound = Self { lanes, bytes_max, queued_bytes: AtomicU64::new(0), told_full: AtomicBool::new(false) };
        (outbound, queues)
    }

    /// Queues a frame in its lane.
    pub(crate) fn send(&self, group: u64, frame: RegionFrame) -> Result<Sent, SendRefused> {
        let cost = frame_cost(&frame);
        let lane = self.lane_of(group, &frame);
        let bound = if lane == CONTROL_LANE { 3 * self.bytes_max } else { 2 * self.bytes_max };
        if self.queued_bytes.load(Ordering::Relaxed) >= bound {
            return Err(SendRefused { refusal: SendRefusal::Overflow, frame: Box::new(frame) }); // I1
        }
        self.queued_bytes.fetch_add(cost, Ordering::Relaxed);
        if let Err(error) = self.lanes[lane].try_send(Queued { frame, cost }) {
            self.queued_bytes.fetch_sub(cost, Ordering::Relaxed);
            let (refusal, queued) = match error {
                mpsc::error::TrySendError::Full(queued) => (SendRefusal::Overflow, queued),
                mpsc::error::TrySendError::Closed(queued) => (SendRefusal::Down, queued),
            };
            return Err(SendRefused { refusal, frame: Box::new(queued.frame) });
        }
        if self.queued_bytes.load(Ordering::SeqCst) <= self.bytes_max {
            return Ok(Sent::Room);
        }
        self.told_full.store(true, Ordering::SeqCst);
        // I2: the writers may have drained everything between the two lines above, and then nobody would notify.
        if self.has_room() && self.told_full.swap(false, Ordering::SeqCst) {
            return Ok(Sent::Room);
        }
        Ok(Sent::Full)
    }

    /// Notes what was written. Answers whether the sender is to be notified that there is room again.
    #[must_use]
    pub(crate) fn release(&self, cost: u64) -> bool {
        self.queued_bytes.fetch_sub(cost, Ordering::SeqCst);
        self.has_room() && self.told_full.swap(false, Ordering::SeqCst)
    }

    pub(crate) fn queued_bytes(&self) -> u64 {
        self.queued_bytes.load(Ordering::Relaxed)
    }

    fn has_room(&self) -> bool {
        self.queued_bytes.load(Ordering::SeqCst) <= self.bytes_max / 2
    }

    /// Lane 0 for what answers entries and for policies, so that no bulk data delays it; else by group.
    fn lane_of(&self, group: u64, frame: &RegionFrame) -> usize {
        match frame {
            RegionFrame::Hello { .. }
            | RegionFrame::Opened { .. }
            | RegionFrame::Refused { .. }
            | RegionFrame::Ack { .. }
            | RegionFrame::Rewind { .. }
            | RegionFrame::Policy { .. } => CONTROL_LANE,
            RegionFrame::Open { .. } | RegionFrame::Entry { .. } | RegionFrame::Close { .. } => {
                let streams = self.lanes.len() as u64 - 1;
                // Multiplying by an odd constant spreads consecutive groups.
                let spread = group.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
                1 + usize::try_from(spread % streams).unwrap_or(0)
            }
        }
    }
}

/// What a frame takes from a bound, in bytes: about its encoded length.
pub(crate) fn frame_cost(frame: &RegionFrame) -> u64 {
    let variable = match frame {
        RegionFrame::Entry { data, .. } => data.len(),
        RegionFrame::Policy { key, value, .. } => key.len() + value.as_ref().map_or(0, bytes::Bytes::len),
        RegionFrame::Refused { reason, .. } | RegionFrame::Close { reason, .. } => reason.len(),
        RegionFrame::Open { topic, .. } => topic.local().len() + topic.namespace().local().len(),
        RegionFrame::Hello { .. }
        | RegionFrame::Opened { .. }
        | RegionFrame::Ack { .. }
        | RegionFrame::Rewind { .. } => 0,
    };
    variable as u64 + FRAME_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::{EntryData, Position};
    use bytes::Bytes;

    fn entry(bytes: usize) -> RegionFrame {
        let data = EntryData::new(Bytes::new(), Bytes::from(vec![0; bytes]));
        RegionFrame::Entry { link: 1, previous: Position::EARLIEST, position: Position::EARLIEST, data }
    }

    #[test]
    fn the_sender_is_stopped_at_the_bound_refused_at_twice_it_and_told_when_half_is_left() {
        let (outbound, mut queues) = Outbound::new(4, 1_000);
        assert_eq!(outbound.send(1, entry(872)).unwrap(), Sent::Room);
        assert_eq!(outbound.send(1, entry(872)).unwrap(), Sent::Full);
        let refused = outbound.send(1, entry(10)).unwrap_err();
        assert_eq!((refused.refusal, *refused.frame), (SendRefusal::Overflow, entry(10)));
        let ack = RegionFrame::Ack { link: 1, position: Position::EARLIEST, credit_bytes: 1 };
        assert_eq!(outbound.send(1, ack).unwrap(), Sent::Full, "answers have more room");
        assert!(!outbound.release(queues[CONTROL_LANE].try_recv().unwrap().cost));
        let lane = queues.iter_mut().find(|q| !q.is_empty()).unwrap();
        assert!(!outbound.release(lane.try_recv().unwrap().cost));
        assert!(outbound.release(lane.try_recv().unwrap().cost));
        assert_eq!(outbound.queued_bytes(), 0);
        assert_eq!(outbound.send(1, entry(10)).unwrap(), Sent::Room);
    }

    #[test]
    fn frames_of_a_group_share_a_lane_and_answers_have_their_own() {
        let (outbound, _queues) = Outbound::new(4, 1_000);
        let lanes: std::collections::BTreeSet<usize> = (0..64).map(|g| outbound.lane_of(g, &entry(1))).collect();
        assert_eq!(lanes, (1..=4).collect());
        let ack = RegionFrame::Ack { link: 1, position: Position::EARLIEST, credit_bytes: 1 };
        assert_eq!(outbound.lane_of(3, &ack), 0);
    }

    #[test]
    fn without_a_receiver_frames_come_back() {
        let (outbound, queues) = Outbound::new(1, 1_000);
        drop(queues);
        assert_eq!(outbound.send(1, entry(1)).unwrap_err().refusal, SendRefusal::Down);
        assert_eq!(outbound.queued_bytes(), 0);
    }
}
