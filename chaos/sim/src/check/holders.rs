//! Who holds what in Shared and Key_Shared subscriptions.
//!
//! **What**  Plays what left servers and clients in the order of steps. A client holds an entry from when it left the server
//! until the client lets it go, its connection ends or the server closes its consumer. Entries of another life of the
//! server are held by nobody.
//!
//! **Invariants** checked
//! - H1  an entry is never sent to a consumer while another one holds it.
//! - H2  Key_Shared: an entry is never sent to a consumer while another one holds an entry of the same key.
//! - H3  Key_Shared: entries of one key go out for the first time in log order.
//! - H4  the redelivery count of an entry never falls, unless the server or the topic began anew.

use super::loads::Loads;
use super::{Kind, Violation};
use crate::history::{Delivered, History, SubKey, key_of};
use base::Position;
use std::collections::BTreeMap;

enum Event<'a> {
    Sent(&'a Delivered),
    Released { client: u64, position: Position },
    Ended { client: u64, closed: Option<&'a SubKey> },
}

#[derive(Default)]
struct Holders {
    /// Position → client and key.
    held: BTreeMap<Position, (u64, Option<u64>)>,
    /// Key → the last entry that went out for the first time.
    newest: BTreeMap<u64, Position>,
    redeliveries: BTreeMap<Position, u32>,
    /// Of which process, and when it had opened the topic.
    life: (u64, Option<u64>),
}

/// All subscriptions that several consumers share.
pub(super) fn check_holders(history: &History, found: &mut Vec<Violation>) {
    let mut events: Vec<(u64, Event<'_>)> = Vec::new();
    let shared = history.delivered.iter().filter(|delivered| delivered.sub.name.contains("shared"));
    events.extend(shared.map(|delivered| (delivered.step, Event::Sent(delivered))));
    events.extend(
        history
            .released
            .iter()
            .map(|released| (released.step, Event::Released { client: released.client, position: released.position })),
    );
    events.extend(
        history.ended.iter().map(|end| (end.step, Event::Ended { client: end.client, closed: end.closed.as_ref() })),
    );
    events.sort_by_key(|(step, _)| *step);
    let loads = Loads::of(history);
    let mut subs: BTreeMap<&SubKey, Holders> = BTreeMap::new();
    for (_, event) in events {
        match event {
            Event::Sent(delivered) => {
                let began = loads.began(&delivered.sub, delivered.boot, delivered.step);
                subs.entry(&delivered.sub).or_default().send(delivered, began, found);
            }
            Event::Released { client, position } => {
                for holders in subs.values_mut() {
                    if holders.held.get(&position).is_some_and(|(holder, _)| *holder == client) {
                        holders.held.remove(&position);
                    }
                }
            }
            Event::Ended { client, closed } => {
                subs.values_mut().for_each(|holders| holders.held.retain(|_, (holder, _)| *holder != client));
                if let Some(holders) = closed.and_then(|sub| subs.get_mut(sub)) {
                    *holders = Holders { life: holders.life, ..Holders::default() };
                }
            }
        }
    }
}

impl Holders {
    fn send(&mut self, delivered: &Delivered, began: Option<u64>, found: &mut Vec<Violation>) {
        let Delivered { sub, position, boot, redelivery, .. } = delivered;
        let client = delivered.client();
        if self.life != (*boot, began) {
            *self = Self { life: (*boot, began), ..Self::default() };
        }
        let mut note = |text: String| found.push(Violation::new(Kind::Sharing, format!("{sub:?}: {text}")));
        if let Some((other, _)) = self.held.get(position).filter(|(other, _)| *other != client) {
            note(format!("H1: {position} was sent to client {client} while client {other} held it"));
        }
        let key = delivered.messages.first().filter(|_| sub.name == "key-shared").map(key_of);
        if let Some(key) = key {
            let other = self.held.iter().find(|(_, (other, held))| *other != client && *held == Some(key));
            if let Some((held, (other, _))) = other {
                note(format!("H2: {position} of key {key} was sent to client {client}, client {other} held {held}"));
            }
            let newest = self.newest.entry(key).or_insert(*position);
            if *redelivery == 0 && *position < *newest && !self.redeliveries.contains_key(position) {
                note(format!("H3: {position} of key {key} was sent for the first time after {newest}"));
            }
            *newest = (*newest).max(*position);
        }
        let before = self.redeliveries.insert(*position, *redelivery);
        if let Some(before) = before.filter(|before| before > redelivery) {
            note(format!("H4: {position} was sent with count {redelivery} after {before}"));
        }
        self.held.insert(*position, (client, key));
    }
}
