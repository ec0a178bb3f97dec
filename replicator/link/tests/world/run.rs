//! The driver: picks one thing that may happen after the other, from one seed.

use super::origin::Origin;
use super::remote::Remote;
use super::{Check, Setup, Wish, violation};
use base::{Effects, Mono, Now, OwnerId, Position, RequestId, Rng, TopicName, earliest};
use link::{
    LinkAlarm, LinkEffect, LinkLag, LinkOptions, LinkResume, LinkSender, ReadFailed, ReceiverEffect, Transport,
    link_number,
};
use std::collections::VecDeque;
use std::time::Duration;
use wire::region::RegionFrame;

const OWNER: OwnerId = OwnerId(9);
const LINK: u64 = 5;
const ENTRY_COST_MAX: u64 = 6_200;

#[derive(Debug)]
struct Read {
    id: RequestId,
    from: Position,
    entries_max: u32,
    bytes_max: u64,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) setup: Setup,
    pub(crate) rng: Rng,
    pub(crate) now: Now,
    pub(crate) origin: Origin,
    pub(crate) remote: Remote,
    pub(crate) sender: LinkSender,
    pub(crate) alarms: Vec<LinkAlarm>,
    fx: Effects<LinkEffect>,
    reads: Vec<Read>,
    connected: bool,
    to_remote: VecDeque<RegionFrame>,
    to_origin: VecDeque<RegionFrame>,
    /// No faults from here on.
    pub(crate) calm: bool,
    /// The cursor's last word, for C2; `None` while the copy is known to have lost what it acknowledged.
    pub(crate) cursor_is_checked: bool,
    sender_lives: u64,
}

fn make_sender(origin: &Origin, setup: &Setup, rng: &Rng, life: u64) -> LinkSender {
    let options = LinkOptions {
        window_bytes_max: setup.window_bytes_max,
        read_entries_max: 16,
        read_bytes_max: 2_000,
        open_timeout: Duration::from_secs(2),
        stall_timeout: Duration::from_secs(5),
        backoff_min: Duration::from_millis(100),
        backoff_max: Duration::from_secs(5),
        halted_retry: Duration::from_secs(30),
        report_every: Duration::from_millis(100),
    };
    let topic = TopicName::parse("persistent://acme/orders/t").expect("a name");
    let rng = rng.fork(&format!("sender {life}"));
    let mut sender = LinkSender::new(OWNER, LINK, topic, origin.cursor, origin.view(), options, rng);
    if let Some(bug) = setup.bug {
        sender.plant_bug(bug);
    }
    sender
}

impl World {
    pub(crate) fn new(seed: u64, setup: Setup) -> Self {
        let rng = Rng::new(seed);
        let origin = Origin::new();
        let sender = make_sender(&origin, &setup, &rng, 0);
        let mut world = Self {
            setup,
            now: Now { mono: Mono(1), wall_ms: 1_000_000 },
            origin,
            remote: Remote::new(),
            sender,
            alarms: Vec::new(),
            fx: Effects::new(),
            reads: Vec::new(),
            connected: false,
            to_remote: VecDeque::new(),
            to_origin: VecDeque::new(),
            calm: false,
            cursor_is_checked: true,
            sender_lives: 0,
            rng,
        };
        world.sender.handle_disconnected(world.now, &mut world.fx);
        world
    }

    /// A whole run: faults, then calm, then the final checks.
    pub(crate) fn run(seed: u64, setup: Setup) -> Result<Self, super::Violation> {
        let mut world = Self::new(seed, setup);
        for _ in 0..setup.steps {
            world.step()?;
        }
        world.heal()?;
        Ok(world)
    }

    /// Ends the faults and demands C4 and C5.
    pub(crate) fn heal(&mut self) -> Check {
        self.calm = true;
        for _ in 0..40_000 {
            if self.is_complete() {
                return self.check_end();
            }
            self.step()?;
        }
        violation(format!("C4: not complete, {:?}, cursor {:?}", self.sender.phase(), self.origin.cursor))
    }

    fn is_complete(&self) -> bool {
        let end = self.origin.view().last_confirmed;
        self.connected
            && self.sender.resume().mark_delete == end
            && self.origin.cursor == self.sender.resume()
            && self.sender.lag(self.now) == LinkLag::default()
    }

    fn check_end(&self) -> Check {
        let stored: Vec<Position> = self.remote.log[..self.remote.durable].to_vec();
        let mut expected = self.origin.log.iter().filter(|e| e.position > self.remote.starts_after);
        if let Some(lost) = expected.find(|e| e.wish == Wish::Forward && stored.binary_search(&e.position).is_err()) {
            return violation(format!("C4: {} never arrived", lost.position));
        }
        if self.setup.is_ordered() && !self.alarms.is_empty() && self.cursor_is_checked {
            return violation(format!("C5: {:?}", self.alarms));
        }
        Ok(())
    }

    pub(crate) fn step(&mut self) -> Check {
        // On an ordered channel time passes too slowly for a time-out: what stalls there is a bug (C5).
        let jump = if self.setup.is_ordered() { 50 } else { 1_000 };
        let millis = if self.rng.one_in(50) { jump } else { self.rng.range(0, 10) };
        self.advance(Duration::from_millis(millis));
        match self.rng.below(100) {
            0..20 if !self.calm => self.publish(),
            0..35 => self.deliver_to_remote()?,
            35..50 => self.deliver_to_origin(),
            50..65 => self.complete_read(),
            65..80 => self.remote.persist(&mut self.rng),
            80..90 => self.origin.sync_cursor(&mut self.rng),
            90..92 if self.setup.trim && !self.calm => self.trim(),
            92..96 => self.toggle_transport(),
            _ if !self.connected => self.connect(),
            _ => (),
        }
        if !self.calm {
            self.fault();
        }
        self.fire_deadlines();
        self.settle()
    }

    fn advance(&mut self, by: Duration) {
        // A quiet world jumps to its next deadline, so that time-outs happen but never for want of a delivery.
        let quiet = self.to_remote.is_empty() && self.to_origin.is_empty() && self.reads.is_empty();
        let deadline = earliest(self.sender.next_deadline(), self.receiver_deadline());
        let mono = match deadline.filter(|_| quiet && self.remote.durable == self.remote.log.len()) {
            Some(at) => at.max(self.now.mono),
            None => self.now.mono + by,
        };
        self.now = Now { mono, wall_ms: self.now.wall_ms + mono.since(self.now.mono).as_millis() as u64 };
    }

    fn receiver_deadline(&self) -> Option<Mono> {
        self.remote.receiver.as_ref().and_then(|r| r.next_deadline())
    }

    fn fire_deadlines(&mut self) {
        if self.sender.next_deadline().is_some_and(|at| at <= self.now.mono) {
            self.sender.on_deadline(self.now, &mut self.fx);
        }
        let remote = &mut self.remote;
        if let Some(receiver) = &mut remote.receiver {
            receiver.on_deadline(self.now, &remote.tracker, &mut remote.fx);
        }
    }

    pub(crate) fn publish(&mut self) {
        self.origin.publish(&mut self.rng, self.setup.skip, self.setup.waver, self.now.wall_ms);
        self.sender.handle_log(self.now, self.origin.view(), &mut self.fx);
    }

    fn trim(&mut self) {
        self.origin.trim(&mut self.rng);
        self.sender.handle_log(self.now, self.origin.view(), &mut self.fx);
    }

    fn toggle_transport(&mut self) {
        let full = !self.calm && self.rng.one_in(2);
        let transport = if full { Transport::Full } else { Transport::Writable };
        self.sender.handle_transport(self.now, transport, &mut self.fx);
    }

    fn fault(&mut self) {
        let happens = |rng: &mut Rng, n: u64| n > 0 && rng.one_in(n);
        if happens(&mut self.rng, self.setup.cut_one_in) {
            self.cut();
        }
        if happens(&mut self.rng, self.setup.crash_one_in) {
            match self.rng.below(3) {
                0 => self.crash_sender(),
                1 => self.crash_remote(),
                _ => self.remote.unload(),
            }
        }
    }

    /// The connection dies with everything on it; both sides are told.
    pub(crate) fn cut(&mut self) {
        self.connected = false;
        self.to_remote.clear();
        self.to_origin.clear();
        self.remote.receiver = None;
        self.sender.handle_disconnected(self.now, &mut self.fx);
    }

    pub(crate) fn connect(&mut self) {
        self.connected = true;
        self.sender.handle_connected(self.now, &mut self.fx);
    }

    pub(crate) fn crash_sender(&mut self) {
        self.fx = Effects::new();
        self.cut();
        self.fx = Effects::new();
        self.origin.sync_cursor(&mut self.rng);
        self.origin.cursor_writes.clear();
        self.reads.clear();
        self.sender_lives += 1;
        self.sender = make_sender(&self.origin, &self.setup, &self.rng, self.sender_lives);
        self.sender.handle_disconnected(self.now, &mut self.fx);
    }

    fn crash_remote(&mut self) {
        self.cut();
        self.remote.crash(&mut self.rng);
    }

    /// Which frame comes next, after what the channel does to it.
    fn pick(&mut self, to_remote: bool) -> Option<RegionFrame> {
        let (lose, repeat, reorder) = match self.calm {
            true => (0, 0, 0),
            false => (self.setup.lose, self.setup.repeat, self.setup.reorder),
        };
        let queue = if to_remote { &mut self.to_remote } else { &mut self.to_origin };
        let index = if self.rng.percent(reorder) { self.rng.below(queue.len() as u64) as usize } else { 0 };
        let frame = queue.remove(index)?;
        if self.rng.percent(repeat) {
            let at = self.rng.below(queue.len() as u64 + 1) as usize;
            queue.insert(at, frame.clone());
        }
        (!self.rng.percent(lose)).then_some(frame)
    }

    fn deliver_to_remote(&mut self) -> Check {
        for _ in 0..self.rng.range(1, 4) {
            if let Some(frame) = self.pick(true) {
                let ctx = (&self.setup, &self.origin, &mut self.rng, self.calm);
                self.remote.handle_frame(self.now, frame, ctx)?;
            }
        }
        Ok(())
    }

    fn deliver_to_origin(&mut self) {
        for _ in 0..self.rng.range(1, 4) {
            if let Some(frame) = self.pick(false) {
                self.sender.handle_frame(self.now, &frame, &mut self.fx);
            }
        }
    }

    fn complete_read(&mut self) {
        if self.reads.is_empty() {
            return;
        }
        let index = self.rng.below(self.reads.len() as u64) as usize;
        let read = self.reads.swap_remove(index);
        let result = match !self.calm && self.rng.one_in(30) {
            true => Err(ReadFailed),
            false => Ok(self.origin.read(&mut self.rng, read.from, read.entries_max, read.bytes_max)),
        };
        self.sender.handle_read(self.now, read.id, result, &mut self.fx);
    }

    /// Executes all effects and checks what they promise.
    fn settle(&mut self) -> Check {
        for effect in self.remote.fx.take() {
            let ReceiverEffect::Send(frame) = effect;
            if self.connected {
                self.to_origin.push_back(frame);
            }
        }
        for effect in self.fx.take() {
            match effect {
                LinkEffect::Send(frame) => self.send(frame)?,
                LinkEffect::ReadFrom { id, from, entries_max, bytes_max } => {
                    self.reads.push(Read { id, from, entries_max, bytes_max });
                }
                LinkEffect::Acked(resume) => {
                    self.check_cursor(resume)?;
                    self.origin.cursor_writes.push_back(resume);
                }
                LinkEffect::Rewound(resume) => self.origin.cursor_writes.push_back(resume),
                LinkEffect::Alarm(alarm) => self.alarms.push(alarm),
            }
        }
        self.check_window()
    }

    fn send(&mut self, frame: RegionFrame) -> Check {
        let link = match &frame {
            RegionFrame::Open { link, .. } | RegionFrame::Entry { link, .. } | RegionFrame::Close { link, .. } => *link,
            other => return violation(format!("a sender never sends {other:?}")),
        };
        if link_number(link) != LINK {
            return violation(format!("{link} is not this link's number"));
        }
        if self.connected {
            self.to_remote.push_back(frame);
        }
        Ok(())
    }

    /// C2
    fn check_cursor(&self, resume: LinkResume) -> Check {
        if !self.cursor_is_checked {
            return Ok(());
        }
        let durable = &self.remote.log[..self.remote.durable];
        let covered = self.origin.log.iter().take_while(|e| e.position <= resume.mark_delete);
        let mut forwarded = covered.filter(|e| e.wish == Wish::Forward && e.position > self.remote.starts_after);
        match forwarded.find(|e| durable.binary_search(&e.position).is_err()) {
            Some(lost) => violation(format!("C2: the cursor covers {}, which is not durable there", lost.position)),
            None => Ok(()),
        }
    }

    /// C3
    fn check_window(&self) -> Check {
        let bound = self.setup.window_bytes_max.min(self.setup.credit_bytes).max(ENTRY_COST_MAX);
        let unacked = self.sender.lag(self.now).unacked_bytes;
        if unacked > bound {
            return violation(format!("C3: {unacked} bytes under way, {bound} allowed"));
        }
        Ok(())
    }
}
