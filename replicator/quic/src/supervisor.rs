//! The task that owns all others: one per peer, one per handshake that a peer began.
//!
//! **What**  Lets connections in, within bounds: above `handshakes_before_retry` under way a stranger must first prove its
//! address, above `handshakes_max` it is turned away. Nothing that a stranger sends is parsed before its certificate was
//! checked. A proven connection goes to its peer's task.

use crate::Peer;
use crate::arbiter::{ConnectionFacts, DialledBy};
use crate::close::{CloseCode, close};
use crate::endpoint::Slots;
use crate::greeting::{self, Candidate, GreetingError};
use crate::peer::PeerTask;
use crate::shared::{PeerSlot, Shared};
use base::RegionName;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// Proven connections that wait for a peer's task.
const CANDIDATES_MAX: usize = 4;

struct Entry {
    slot: Arc<PeerSlot>,
    /// Dropping it gives the peer up.
    candidates: mpsc::Sender<Candidate>,
    task: JoinSet<()>,
}

impl Entry {
    async fn stop(mut self) {
        drop(self.candidates);
        self.task.join_next().await;
    }
}

pub(crate) struct Supervisor {
    shared: Arc<Shared>,
    slots: Slots,
    entries: BTreeMap<RegionName, Entry>,
    handshakes: JoinSet<Option<(RegionName, Candidate)>>,
}

impl Supervisor {
    pub(crate) fn new(shared: Arc<Shared>, slots: Slots) -> Self {
        Self { shared, slots, entries: BTreeMap::new(), handshakes: JoinSet::new() }
    }

    /// Runs until told to stop; then closes everything.
    pub(crate) async fn run(mut self, mut stop: oneshot::Receiver<()>) {
        let mut peers = self.shared.peers.clone();
        loop {
            tokio::select! {
                _ = &mut stop => break,
                changed = peers.changed() => match changed {
                    Ok(()) => {
                        let table = Arc::clone(&peers.borrow_and_update());
                        self.apply(table.iter()).await;
                    }
                    Err(_) => break, // The handle is gone.
                },
                incoming = self.shared.endpoint.accept() => match incoming {
                    Some(incoming) => self.let_in(incoming),
                    None => break,
                },
                Some(done) = self.handshakes.join_next() => {
                    if let Ok(Some((region, candidate))) = done {
                        self.hand_over(&region, candidate);
                    }
                }
            }
        }
        self.apply(std::iter::empty()).await;
        self.handshakes.shutdown().await;
        self.shared.endpoint.close((CloseCode::Stopping as u32).into(), b"this region is stopping");
        self.shared.endpoint.wait_idle().await;
    }

    /// Ends the tasks of peers that are gone or changed, then starts those that are missing.
    async fn apply(&mut self, wanted: impl Iterator<Item = &Peer>) {
        let wanted: BTreeMap<&RegionName, &Peer> =
            wanted.filter(|p| p.region != self.shared.config.region).map(|p| (&p.region, p)).collect();
        let stays = |entry: &Entry| wanted.get(&entry.slot.peer().region).is_some_and(|p| *p == entry.slot.peer());
        let leaving: Vec<Entry> = self.entries.extract_if(.., |_, entry| !stays(entry)).map(|(_, e)| e).collect();
        for entry in leaving {
            entry.stop().await;
        }
        for (region, peer) in wanted {
            if !self.entries.contains_key(region) {
                let entry = self.start(peer.clone());
                self.entries.insert(region.clone(), entry);
            }
        }
        let slots = self.entries.iter().map(|(region, entry)| (region.clone(), Arc::clone(&entry.slot))).collect();
        *self.slots.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(slots);
    }

    fn start(&self, peer: Peer) -> Entry {
        let slot = Arc::new(PeerSlot::new(peer));
        let (candidates, queue) = mpsc::channel(CANDIDATES_MAX);
        let mut task = JoinSet::new();
        task.spawn(PeerTask::new(Arc::clone(&self.shared), Arc::clone(&slot), queue).run());
        Entry { slot, candidates, task }
    }

    fn let_in(&mut self, incoming: quinn::Incoming) {
        let limits = &self.shared.config.limits;
        let under_way = self.handshakes.len();
        if under_way >= limits.handshakes_max {
            return incoming.refuse();
        }
        if under_way >= limits.handshakes_before_retry && incoming.may_retry() {
            // Only a repeated refusal could fail here, and then the stranger just tries again.
            let _ = incoming.retry();
            return;
        }
        let shared = Arc::clone(&self.shared);
        let timeout = limits.handshake_timeout;
        self.handshakes.spawn(async move {
            let address = incoming.remote_address();
            let reason = match tokio::time::timeout(timeout, welcome(&shared, incoming)).await {
                Ok(Ok(proven)) => return Some(proven),
                Ok(Err(reason)) => reason,
                Err(_) => "the handshake took too long".to_owned(),
            };
            tracing::warn!(%address, reason, "a connection from another region was refused");
            None
        });
    }

    fn hand_over(&mut self, region: &RegionName, candidate: Candidate) {
        let connection = candidate.connection.clone();
        let handed = self.entries.get(region).is_some_and(|entry| entry.candidates.try_send(candidate).is_ok());
        if !handed {
            close(&connection, CloseCode::Removed, "the region is not a peer here");
        }
    }
}

/// Takes one connection through its handshake and greeting.
async fn welcome(shared: &Shared, incoming: quinn::Incoming) -> Result<(RegionName, Candidate), String> {
    let connection = incoming.await.map_err(|error| match error {
        quinn::ConnectionError::TransportError(e) => {
            format!("its certificate is not one of a peer of this region, or it is no region at all: {}", e.reason)
        }
        other => other.to_string(),
    })?;
    let (greeting, control_recv, leftover) = match greeting::receive(&connection).await {
        Ok(received) => received,
        Err(GreetingError::Connection(error)) => return Err(error.to_string()),
        Err(GreetingError::Said(reason)) => {
            close(&connection, CloseCode::WrongHello, &reason);
            return Err(reason);
        }
    };
    let table = Arc::clone(&shared.peers.borrow());
    if let Err(reason) = greeting::check(&greeting, &connection, &table) {
        close(&connection, CloseCode::WrongHello, &reason);
        return Err(reason);
    }
    let facts = ConnectionFacts { dialled_by: DialledBy::Peer, peer_instance: greeting.instance };
    let candidate = Candidate { connection, facts, control_send: None, control_recv, leftover };
    Ok((greeting.region, candidate))
}
