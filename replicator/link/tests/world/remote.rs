//! The copy: a log whose tail is not durable yet, the tracker derived from it, and the receiver of the link.

use super::origin::{ORIGIN, Origin};
use super::{Check, Setup, Wish, violation};
use base::{Effects, EntryData, Now, Position, Rng};
use link::{EntryVerdict, LinkReceiver, OriginTracker, ReceiverEffect, ReceiverOptions};
use std::time::Duration;
use wire::region::RegionFrame;

#[derive(Debug)]
pub(crate) struct Remote {
    pub(crate) incarnation: u64,
    /// Origin positions in log order; the first `durable` of them survive a crash.
    pub(crate) log: Vec<Position>,
    pub(crate) durable: usize,
    /// The copy may begin here instead of at the first entry (it was replaced and history was gone).
    pub(crate) starts_after: Position,
    pub(crate) tracker: OriginTracker,
    /// A checkpoint of the tracker, and how many entries the log had then.
    checkpoint: (Vec<u8>, usize),
    pub(crate) receiver: Option<LinkReceiver>,
    pub(crate) fx: Effects<ReceiverEffect>,
    pub(crate) pending_bytes_max: u64,
}

impl Remote {
    pub(crate) fn new() -> Self {
        Self {
            incarnation: 100,
            log: Vec::new(),
            durable: 0,
            starts_after: Position::EARLIEST,
            tracker: OriginTracker::new(),
            checkpoint: (OriginTracker::new().encode(), 0),
            receiver: None,
            fx: Effects::new(),
            pending_bytes_max: 0,
        }
    }

    pub(crate) fn handle_frame(
        &mut self,
        now: Now,
        frame: RegionFrame,
        ctx: (&Setup, &Origin, &mut Rng, bool),
    ) -> Check {
        let (setup, origin, rng, calm) = ctx;
        match frame {
            RegionFrame::Open { link, .. } => self.handle_open(link, setup, rng, calm),
            RegionFrame::Entry { link, previous, position, data }
                if self.receiver.as_ref().is_some_and(|r| r.link() == link) =>
            {
                let refuse = !calm && rng.percent(setup.refuse);
                return self.handle_entry(now, (previous, position, data), origin, refuse);
            }
            RegionFrame::Close { link, .. } if self.receiver.as_ref().is_some_and(|r| r.link() == link) => {
                self.receiver = None;
            }
            _ => (),
        }
        Ok(())
    }

    fn handle_open(&mut self, link: u64, setup: &Setup, rng: &mut Rng, calm: bool) {
        if self.receiver.as_ref().is_some_and(|r| !r.is_replaced_by(link)) {
            return;
        }
        if !calm && rng.percent(setup.refuse) {
            let reason = "the topic is being loaded".to_owned();
            self.fx.push(ReceiverEffect::Send(RegionFrame::Refused { link, retry: true, reason }));
            return;
        }
        let options = ReceiverOptions { credit_bytes: setup.credit_bytes, refused_retry: Duration::from_millis(20) };
        let mut receiver = LinkReceiver::open(link, ORIGIN, self.incarnation, options, &self.tracker, &mut self.fx);
        if let Some(bug) = setup.bug {
            receiver.plant_bug(bug);
        }
        self.receiver = Some(receiver);
    }

    fn handle_entry(
        &mut self,
        now: Now,
        (previous, position, data): (Position, Position, EntryData),
        origin: &Origin,
        refuse: bool,
    ) -> Check {
        let Some(receiver) = &mut self.receiver else { return Ok(()) };
        let verdict = receiver.handle_entry(now, &self.tracker, previous, position, &data, &mut self.fx);
        match verdict {
            EntryVerdict::Drop => Ok(()),
            EntryVerdict::Store if refuse => {
                receiver.handle_refused(now);
                Ok(())
            }
            EntryVerdict::Store => {
                check_stored(self.log.last().copied().unwrap_or(self.starts_after), position, &data, origin)?;
                receiver.handle_added(&mut self.tracker, position, &data);
                self.pending_bytes_max = self.pending_bytes_max.max(receiver.pending_bytes());
                self.log.push(position);
                Ok(())
            }
        }
    }

    /// Makes a part of the log durable, as one group.
    pub(crate) fn persist(&mut self, rng: &mut Rng) {
        let waiting = self.log.len() - self.durable;
        if waiting == 0 {
            return;
        }
        let upto = self.durable + rng.range(1, waiting as u64) as usize;
        for &position in &self.log[self.durable..upto] {
            self.tracker.persisted(wire::stored::Origin { region: ORIGIN, position });
        }
        self.durable = upto;
        if rng.one_in(5) {
            self.checkpoint = (self.tracker.encode(), self.durable);
        }
        if let Some(receiver) = &mut self.receiver {
            receiver.handle_persisted(&self.tracker, &mut self.fx);
        }
    }

    /// The process dies: a random part of what was not known to be durable survives.
    pub(crate) fn crash(&mut self, rng: &mut Rng) {
        let waiting = self.log.len() - self.durable;
        self.log.truncate(self.durable + rng.below(waiting as u64 + 1) as usize);
        self.reopen();
    }

    /// The topic is closed in order and opened again.
    pub(crate) fn unload(&mut self) {
        let mut fx = std::mem::take(&mut self.fx);
        if let Some(receiver) = &mut self.receiver {
            receiver.close("the topic is unloaded", &mut fx);
        }
        self.reopen();
        self.fx = fx;
    }

    /// Opens the topic from its log.
    pub(crate) fn reopen(&mut self) {
        self.durable = self.log.len();
        self.receiver = None;
        self.fx = Effects::new();
        let (bytes, upto) = &self.checkpoint;
        self.tracker = match *upto <= self.log.len() {
            true => OriginTracker::decode(bytes).expect("own checkpoint"),
            false => OriginTracker::new(),
        };
        for &position in &self.log {
            self.tracker.observe(wire::stored::Origin { region: ORIGIN, position });
        }
    }

    /// The copy loses durable entries and does not know it.
    pub(crate) fn lose_durable(&mut self, keep: usize) {
        self.log.truncate(keep);
        self.checkpoint = (OriginTracker::new().encode(), 0);
        self.reopen();
    }
}

/// C1 for one entry that the copy stores behind `last`.
fn check_stored(last: Position, position: Position, data: &EntryData, origin: &Origin) -> Check {
    if position <= last {
        return violation(format!("C1: {position} was stored behind {last}"));
    }
    match origin.get(position) {
        None => return violation(format!("C1: {position} is no entry of the origin")),
        Some(entry) if entry.wish == Wish::Skip => return violation(format!("C1: {position} is not to be forwarded")),
        Some(entry) if entry.data != *data => return violation(format!("C1: {position} has other bytes")),
        Some(_) => (),
    }
    let from = origin.log.partition_point(|e| e.position <= last);
    let missed = origin.log[from..].iter().take_while(|e| e.position < position).find(|e| e.wish == Wish::Forward);
    match missed {
        Some(entry) => violation(format!("C1: {} was left out before {position}", entry.position)),
        None => Ok(()),
    }
}
