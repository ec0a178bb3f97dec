//! A topic's links to other regions: one sender per remote region it replicates to, one receiver per region that sends.
//!
//! **What**  Glue between the link machines and this topic's log: reads for senders, durable link cursors, appends for
//! receivers. Which entries are forwarded is decided here (architecture.md §5 step 2): those published in this region,
//! unless the message names other regions.
//!
//! **Invariants**
//! - I1  a link's cursor is durable before its sender starts, so retention cannot pass what the remote lacks.
//! - I2  an entry that came from another region is never forwarded: loops cannot form.

use crate::core::Core;
use crate::env::SubId;
use crate::io::BrokerEffect;
use crate::outbox::{Note, Outbox};
use crate::topic::call::TopicCall;
use crate::topic::{Topic, TopicEnv};
use base::{Effects, EntryData, Mono, Now, Position, RegionId, RegionName, RequestId, earliest};
use link::{
    EntryVerdict, Forward, LinkEffect, LinkEntry, LinkOptions, LinkReceiver, LinkResume, LinkSender, LogView,
    ReadFailed, ReceiverEffect, ReceiverOptions,
};
use managed::{CursorError, CursorId, Entry, Read, ReadError, ReadId};
use std::collections::BTreeMap;
use wire::payload::PayloadHints;
use wire::region::RegionFrame;
use wire::stored::{Origin, StoredHead};

/// Durable cursors of links are named by this prefix and the remote region.
pub(crate) const CURSOR_PREFIX: &str = "pulsar.repl.";

/// A link to one remote region.
pub(crate) struct OutLink {
    cursor: CursorId,
    /// The context of the cursor's creation while it is not durable yet (I1).
    creating: Option<u64>,
    pub sender: Option<LinkSender>,
    reading: Option<(ReadId, RequestId)>,
}

/// All links of a topic.
#[derive(Default)]
pub(crate) struct Links {
    pub out: BTreeMap<RegionName, OutLink>,
    incoming: BTreeMap<RegionName, LinkReceiver>,
}

impl Links {
    /// A link cursor was found in the log.
    pub(crate) fn recovered(&mut self, region: &str, cursor: CursorId) {
        if let Ok(region) = RegionName::parse(region) {
            self.out.insert(region, OutLink { cursor, creating: None, sender: None, reading: None });
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Mono> {
        let out = self.out.values().filter_map(|link| link.sender.as_ref()?.next_deadline());
        out.chain(self.incoming.values().filter_map(LinkReceiver::next_deadline))
            .fold(None, |a, b| earliest(a, Some(b)))
    }

    /// Ends every link; remote senders open theirs again by themselves.
    pub(crate) fn stop(&mut self, reason: &str, out: &mut Outbox) {
        for (region, link) in std::mem::take(&mut self.out) {
            let mut fx = Effects::new();
            if let Some(mut sender) = link.sender {
                sender.close(reason, &mut fx);
            }
            for effect in fx.take() {
                if let LinkEffect::Send(frame) = effect {
                    send(out, &region, frame);
                }
            }
        }
        for (region, mut receiver) in std::mem::take(&mut self.incoming) {
            let mut fx = Effects::new();
            receiver.close(reason, &mut fx);
            send_all(out, &region, fx);
        }
    }
}

fn group_of(frame: &RegionFrame) -> u64 {
    match frame {
        RegionFrame::Open { link, .. }
        | RegionFrame::Opened { link, .. }
        | RegionFrame::Refused { link, .. }
        | RegionFrame::Entry { link, .. }
        | RegionFrame::Ack { link, .. }
        | RegionFrame::Rewind { link, .. }
        | RegionFrame::Close { link, .. } => link::link_number(*link),
        RegionFrame::Hello { .. } | RegionFrame::Policy { .. } => 0,
    }
}

fn send(out: &mut Outbox, to: &RegionName, frame: RegionFrame) {
    let group = group_of(&frame);
    out.effect(BrokerEffect::Region { to: to.clone(), group, frame });
}

fn send_all(out: &mut Outbox, to: &RegionName, mut fx: Effects<ReceiverEffect>) {
    for ReceiverEffect::Send(frame) in fx.take() {
        send(out, to, frame);
    }
}

impl Topic {
    /// Starts and ends links so that they are what the policies say.
    pub(crate) fn reconcile_links(&mut self, env: &mut TopicEnv<'_>) {
        if !self.name.is_persistent() || !self.is_ready() {
            return;
        }
        let wanted = self.settings.remote_regions.clone();
        let stale: Vec<RegionName> = self.links.out.keys().filter(|r| !wanted.contains(*r)).cloned().collect();
        for region in stale {
            self.drop_link(&region, env);
        }
        for region in wanted {
            match self.links.out.get(&region) {
                None => self.create_link(region, env),
                Some(link) if link.sender.is_none() && link.creating.is_none() => self.start_sender(&region, env),
                Some(_) => (),
            }
        }
    }

    fn create_link(&mut self, region: RegionName, env: &mut TopicEnv<'_>) {
        let ctx = self.requests.context(SubId(0));
        let start = self.ledger.previous_position(self.ledger.first_position());
        let name = format!("{CURSOR_PREFIX}{region}");
        let cursor = self.ledger.create_cursor(env.now, &name, start, BTreeMap::new(), ctx, &mut self.ledger_fx);
        self.links.out.insert(region, OutLink { cursor, creating: Some(ctx), sender: None, reading: None });
    }

    fn drop_link(&mut self, region: &RegionName, env: &mut TopicEnv<'_>) {
        let Some(link) = self.links.out.remove(region) else { return };
        if let Some(mut sender) = link.sender {
            let mut fx = Effects::new();
            sender.close("the namespace no longer replicates to this region", &mut fx);
            self.run_link(region, fx, env);
        }
        let ctx = self.requests.context(SubId(0));
        self.ledger.delete_cursor(env.now, link.cursor, ctx, &mut self.ledger_fx);
    }

    fn log_view(&self) -> LogView {
        let trimmed_up_to = self.ledger.trimmed_up_to();
        LogView { trimmed_up_to, last_confirmed: self.ledger.last_confirmed(), messages_end: self.log.next_index }
    }

    fn start_sender(&mut self, region: &RegionName, env: &mut TopicEnv<'_>) {
        let view = self.log_view();
        let Some(link) = self.links.out.get_mut(region) else { return };
        let Some(cursor) = self.ledger.cursor(link.cursor) else { return };
        let resume = LinkResume::from_properties(cursor.mark_delete(), |name| {
            cursor.properties().get(name).and_then(|text| text.parse().ok())
        });
        let number = env.core.next_link_number();
        env.out.note(Note::LinkStarted { slot: self.slot, number });
        let rng = self.rng.fork(region.as_str());
        let mut sender =
            LinkSender::new(self.slot, number, self.name.clone(), resume, view, LinkOptions::standard(), rng);
        #[cfg(feature = "seeded-bugs")]
        if let Some(bug) = env.core.options.rehearsal.and_then(|rehearsal| rehearsal.link) {
            sender.plant_bug(bug);
        }
        let mut fx = Effects::new();
        if env.core.is_region_up(region) {
            sender.handle_connected(env.now, &mut fx);
        } else {
            sender.handle_disconnected(env.now, &mut fx);
        }
        link.sender = Some(sender);
        self.run_link(region, fx, env);
    }

    /// The connection to a region came up or went down.
    pub(crate) fn handle_region(&mut self, region: &RegionName, up: RegionState, env: &mut TopicEnv<'_>) {
        if up == RegionState::Down {
            self.links.incoming.remove(region);
            // Numbers of links begin anew with each process: a question of a dead connection, answered once the topic is
            // open, would make the questions of the next process look late for ever.
            self.waiters.retain(|call| !matches!(call, TopicCall::LinkOpen { from, .. } if from == region));
        }
        self.with_sender(region, env, |sender, now, fx| match up {
            RegionState::Up => sender.handle_connected(now, fx),
            RegionState::Down => sender.handle_disconnected(now, fx),
        });
    }

    /// A frame that answers one of our links.
    pub(crate) fn handle_sender_frame(&mut self, region: &RegionName, frame: &RegionFrame, env: &mut TopicEnv<'_>) {
        self.with_sender(region, env, |sender, now, fx| sender.handle_frame(now, frame, fx));
    }

    fn with_sender(
        &mut self,
        region: &RegionName,
        env: &mut TopicEnv<'_>,
        act: impl FnOnce(&mut LinkSender, Now, &mut Effects<LinkEffect>),
    ) {
        let mut fx = Effects::new();
        if let Some(sender) = self.links.out.get_mut(region).and_then(|link| link.sender.as_mut()) {
            act(sender, env.now, &mut fx);
        }
        self.run_link(region, fx, env);
    }

    fn run_link(&mut self, region: &RegionName, mut fx: Effects<LinkEffect>, env: &mut TopicEnv<'_>) {
        while !fx.is_empty() {
            for effect in fx.take() {
                match effect {
                    LinkEffect::Send(frame) => send(env.out, region, frame),
                    LinkEffect::ReadFrom { id, from, entries_max, bytes_max } => {
                        self.link_read(region, id, from, (entries_max, bytes_max), &mut fx, env);
                    }
                    LinkEffect::Acked(resume) | LinkEffect::Rewound(resume) => {
                        self.move_link_cursor(region, resume, env)
                    }
                    LinkEffect::Alarm(alarm) => {
                        let text = format!("link of {} to region {region}: {alarm}", self.name);
                        env.out.effect(BrokerEffect::Alarm { text });
                    }
                }
            }
        }
    }

    fn link_read(
        &mut self,
        region: &RegionName,
        id: RequestId,
        from: Position,
        (entries_max, bytes_max): (u32, u64),
        fx: &mut Effects<LinkEffect>,
        env: &mut TopicEnv<'_>,
    ) {
        let read = self.ledger.read(env.now, from, entries_max, bytes_max, &mut self.ledger_fx);
        let Some(link) = self.links.out.get_mut(region) else { return };
        let result = match read {
            Read::Ready(entries) => Ok(entries.into_iter().map(|entry| judge(entry, region)).collect()),
            Read::AtTail => Ok(Vec::new()),
            Read::Busy => Err(ReadFailed),
            Read::Pending(read) => {
                link.reading = Some((read, id));
                return;
            }
        };
        if let Some(sender) = &mut link.sender {
            sender.handle_read(env.now, id, result, fx);
        }
    }

    /// A read of a link is answered; false when it is not a link's.
    pub(crate) fn handle_link_read(
        &mut self,
        read: ReadId,
        result: &mut Option<Result<Vec<Entry>, ReadError>>,
        env: &mut TopicEnv<'_>,
    ) -> bool {
        let found = self.links.out.iter().find(|(_, link)| link.reading.is_some_and(|(id, _)| id == read));
        let Some(region) = found.map(|(region, _)| region.clone()) else { return false };
        let Some((_, id)) = self.links.out.get_mut(&region).and_then(|link| link.reading.take()) else { return false };
        let result = match result.take() {
            Some(Ok(entries)) => Ok(entries.into_iter().map(|entry| judge(entry, &region)).collect()),
            Some(Err(_)) | None => Err(ReadFailed),
        };
        self.with_sender(&region, env, |sender, now, fx| sender.handle_read(now, id, result, fx));
        true
    }

    fn move_link_cursor(&mut self, region: &RegionName, resume: LinkResume, env: &mut TopicEnv<'_>) {
        let Some(link) = self.links.out.get(region) else { return };
        let cursor = link.cursor;
        let properties =
            resume.properties().into_iter().map(|(name, value)| (name.to_owned(), value.to_string())).collect();
        let ctx = self.requests.context(SubId(0));
        self.ledger.set_cursor_properties(env.now, cursor, properties, ctx, &mut self.ledger_fx);
        let ctx = self.requests.context(SubId(0));
        let at = self.ledger.cursor(cursor).map(managed::Cursor::mark_delete);
        match at {
            Some(at) if resume.mark_delete < at => {
                self.ledger.reset_cursor(env.now, cursor, resume.mark_delete, ctx, &mut self.ledger_fx);
            }
            Some(_) => self.ledger.ack_up_to(env.now, cursor, resume.mark_delete, None, ctx, &mut self.ledger_fx),
            None => (),
        }
    }

    /// A cursor operation of the topic itself is done; false when it is not ours.
    pub(crate) fn handle_own_cursor_done(
        &mut self,
        ctx: u64,
        result: &Result<(), CursorError>,
        env: &mut TopicEnv<'_>,
    ) -> bool {
        if crate::env::Requests::owner(ctx) != SubId(0) {
            return false;
        }
        if self.admin.cursor_done(ctx, result, env.out) {
            return true;
        }
        let found = self.links.out.iter().find(|(_, link)| link.creating == Some(ctx));
        let Some(region) = found.map(|(region, _)| region.clone()) else { return true };
        match result {
            Ok(()) => {
                if let Some(link) = self.links.out.get_mut(&region) {
                    link.creating = None;
                }
                self.start_sender(&region, env);
            }
            Err(error) => {
                let text = format!("link of {} to region {region} cannot start: {error}", self.name);
                env.out.effect(BrokerEffect::Alarm { text });
                self.links.out.remove(&region);
            }
        }
        true
    }

    /// The log grew or was trimmed.
    pub(crate) fn wake_links(&mut self, env: &mut TopicEnv<'_>) {
        self.consider_checkpoint(env);
        self.arm_backlog(env);
        if self.links.out.is_empty() {
            return;
        }
        let view = self.log_view();
        let regions: Vec<RegionName> = self.links.out.keys().cloned().collect();
        for region in regions {
            self.with_sender(&region, env, |sender, now, fx| sender.handle_log(now, view, fx));
        }
    }

    pub(crate) fn on_links_deadline(&mut self, env: &mut TopicEnv<'_>) {
        let now = env.now.mono;
        let due = |at: Option<Mono>| at.is_some_and(|at| at <= now);
        let senders = self.links.out.iter().filter(|(_, l)| due(l.sender.as_ref().and_then(LinkSender::next_deadline)));
        let regions: Vec<RegionName> = senders.map(|(region, _)| region.clone()).collect();
        for region in regions {
            self.with_sender(&region, env, |sender, now, fx| sender.on_deadline(now, fx));
        }
        for (region, receiver) in &mut self.links.incoming {
            if due(receiver.next_deadline()) {
                let mut fx = Effects::new();
                receiver.on_deadline(env.now, &self.log.origins, &mut fx);
                send_all(env.out, region, fx);
            }
        }
    }

    // ---- receiving ----

    /// A remote region wants to forward this topic here.
    pub(crate) fn handle_link_open(&mut self, from: RegionName, number: u64, env: &mut TopicEnv<'_>) {
        if self.links.incoming.get(&from).is_some_and(|old| !old.is_replaced_by(number) && old.link() != number) {
            return; // A late question of an attempt that was given up.
        }
        let Some(region) = env.core.region_number(&from) else {
            let reason = format!("region {from} has no number here; register the cluster first");
            return send(env.out, &from, RegionFrame::Refused { link: number, retry: true, reason });
        };
        if !self.settings.replicates_with(&from) {
            let reason = format!("namespace {} does not replicate with region {from} here", self.name.namespace());
            return send(env.out, &from, RegionFrame::Refused { link: number, retry: true, reason });
        }
        let mut fx = Effects::new();
        let incarnation = self.record.value.incarnation;
        let options = ReceiverOptions::standard();
        let receiver = LinkReceiver::open(number, region, incarnation, options, &self.log.origins, &mut fx);
        #[cfg(feature = "seeded-bugs")]
        let receiver = with_bug(receiver, env.core);
        self.links.incoming.insert(from.clone(), receiver);
        env.out.note(Note::LinkAccepted { slot: self.slot, from: from.clone(), link: link::link_number(number) });
        send_all(env.out, &from, fx);
    }

    /// An entry of a remote region.
    pub(crate) fn handle_link_entry(
        &mut self,
        from: &RegionName,
        link: u64,
        previous: Position,
        position: Position,
        data: EntryData,
        env: &mut TopicEnv<'_>,
    ) {
        let Some(mut receiver) = self.links.incoming.remove(from) else { return };
        if receiver.link() == link && self.is_ready() && self.terminated.is_none() {
            let mut fx = Effects::new();
            let verdict = receiver.handle_entry(env.now, &self.log.origins, previous, position, &data, &mut fx);
            if verdict == EntryVerdict::Store {
                let origin = Origin { region: receiver.region(), position };
                if self.publish_replicated(from.clone(), origin, data.body.clone(), env) {
                    receiver.handle_added(&mut self.log.origins, position, &data);
                } else {
                    receiver.handle_refused(env.now);
                }
            }
            send_all(env.out, from, fx);
        }
        if !self.is_gone() {
            self.links.incoming.insert(from.clone(), receiver);
        }
    }

    /// A replicated entry became durable here.
    pub(crate) fn handle_link_stored(&mut self, from: &RegionName, _origin: Position, env: &mut TopicEnv<'_>) {
        if let Some(receiver) = self.links.incoming.get_mut(from) {
            let mut fx = Effects::new();
            receiver.handle_persisted(&self.log.origins, &mut fx);
            send_all(env.out, from, fx);
        }
    }

    /// The remote sender ended its link.
    pub(crate) fn handle_link_closed(&mut self, from: &RegionName, link: u64) {
        if self.links.incoming.get(from).is_some_and(|receiver| receiver.link() == link) {
            self.links.incoming.remove(from);
        }
    }
}

/// A receiver with the bug that a simulation asks for.
#[cfg(feature = "seeded-bugs")]
fn with_bug(mut receiver: LinkReceiver, core: &Core) -> LinkReceiver {
    if let Some(bug) = core.options.rehearsal.and_then(|rehearsal| rehearsal.link) {
        receiver.plant_bug(bug);
    }
    receiver
}

/// Whether a region is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RegionState {
    Up,
    Down,
}

/// Decides whether an entry goes to `region` (I2 and the message's own list of regions).
fn judge(entry: Entry, region: &RegionName) -> LinkEntry {
    let head = StoredHead::decode(&entry.data.head);
    let (forward, messages_end, published_ms) = match &head {
        Ok(head) if head.origin.is_some() => (Forward::Skip, head.index + 1, head.broker_timestamp_ms),
        Ok(head) => (chosen(&entry, region), head.index + 1, head.broker_timestamp_ms),
        Err(_) => (Forward::Skip, 0, 0),
    };
    LinkEntry { position: entry.position, data: entry.data, forward, messages_end, published_ms }
}

fn chosen(entry: &Entry, region: &RegionName) -> Forward {
    let Ok(hints) = PayloadHints::scan(&entry.data.body) else { return Forward::Yes };
    let listed =
        hints.replicate_to.is_empty() || hints.replicate_to.iter().any(|name| name == region.as_str().as_bytes());
    if listed { Forward::Yes } else { Forward::Skip }
}

impl Core {
    /// The number of a region that we know as a cluster.
    pub(crate) fn region_number(&self, region: &RegionName) -> Option<RegionId> {
        self.region_numbers.get(region).copied()
    }
}
