//! Several nodes of one region, each a [`Bed`] with a broker of its own, on one metadata store and the same bookies; the
//! test carries what they ask each other.

use super::bed::{Answered, Bed};
use crate::{AdminEffect, Asker, HttpId, Method};
use base::{NamespaceName, NodeId, Rng};
use bytes::Bytes;
use cluster::OwnerRecord;
use managed::testing::Storage;
use meta_api::{MetaEvent, MetaState, Write};
use std::collections::BTreeMap;
use std::time::Duration;
use tenancy::{BundleRange, keys};

/// What one node sends another.
#[derive(Clone, Debug)]
pub(crate) struct Letter {
    pub from: NodeId,
    pub to: NodeId,
    pub says: Says,
}

#[derive(Clone, Debug)]
pub(crate) enum Says {
    Ask { id: u64, content: Bytes },
    Answer { asker: Asker, content: Bytes },
}

pub(crate) struct Town {
    meta: MetaState,
    storage: Storage,
    beds: Vec<Bed>,
    /// Changes that a node has not been told yet.
    untold: BTreeMap<usize, Vec<MetaEvent>>,
    pub letters: Vec<Letter>,
    /// All that were sent.
    pub sent: u64,
    rng: Rng,
}

impl Town {
    /// So many nodes with the namespace `acme/orders` of four bundles; letters come in the order of the seed.
    pub(crate) fn of(count: u64, seed: u64) -> Self {
        let beds = (1..=count).map(|node| Bed::node(node, count)).collect();
        let mut town = Self {
            meta: MetaState::new(),
            storage: Storage::new(1),
            beds,
            untold: BTreeMap::new(),
            letters: Vec::new(),
            sent: 0,
            rng: Rng::new(seed),
        };
        for write in Bed::records(count) {
            town.on(0, |bed| bed.write(write));
        }
        town.settle();
        town.ok(
            1,
            Method::Put,
            "/admin/v2/clusters/east",
            r#"{"serviceUrl":"http://127.0.0.1:8080","regionNumber":1}"#,
        );
        town.ok(1, Method::Put, "/admin/v2/tenants/acme", r#"{"adminRoles":["boss"],"allowedClusters":["east"]}"#);
        town.ok(1, Method::Put, "/admin/v2/namespaces/acme/orders", "");
        town
    }

    /// Bundle `at` of four is the node's, and every node knows.
    pub(crate) fn give(&mut self, at: u32, node: u64, epoch: u64) {
        self.hand(at, node, epoch);
        self.settle();
    }

    /// Bundle `at` of four is the node's from now on.
    pub(crate) fn hand(&mut self, at: u32, node: u64, epoch: u64) {
        let namespace = NamespaceName::parse("acme/orders").unwrap();
        let lower = at * 0x4000_0000;
        let upper = if at == 3 { u32::MAX } else { lower + 0x4000_0000 };
        let record = OwnerRecord { node: NodeId(node), incarnation: 1, epoch, moving_to: None };
        let key = keys::owner_key(&namespace, BundleRange { lower, upper });
        self.on(0, |bed| bed.write(Write::Put { key, value: record.encode() }));
    }

    /// Lets one node act on the metadata and the bookies of all.
    fn on<R>(&mut self, index: usize, act: impl FnOnce(&mut Bed) -> R) -> R {
        let bed = &mut self.beds[index];
        std::mem::swap(&mut bed.meta, &mut self.meta);
        std::mem::swap(&mut bed.storage, &mut self.storage);
        let result = act(bed);
        std::mem::swap(&mut bed.meta, &mut self.meta);
        std::mem::swap(&mut bed.storage, &mut self.storage);
        let events = std::mem::take(&mut bed.committed);
        for other in (0..self.beds.len()).filter(|other| *other != index && !events.is_empty()) {
            self.untold.entry(other).or_default().extend(events.iter().cloned());
        }
        let from = NodeId(index as u64 + 1);
        for effect in std::mem::take(&mut self.beds[index].out) {
            self.sent += 1;
            self.letters.push(match effect {
                AdminEffect::Ask { to, id, content } => Letter { from, to, says: Says::Ask { id, content } },
                AdminEffect::Answer { to: asker, content } => {
                    Letter { from, to: asker.node, says: Says::Answer { asker, content } }
                }
                other => panic!("{other:?} is not for another node"),
            });
        }
        result
    }

    /// Tells a node what it has not been told.
    fn tell(&mut self, index: usize) {
        let events = self.untold.remove(&index).unwrap_or_default();
        self.on(index, |bed| bed.hear(events));
    }

    fn deliver(&mut self, letter: Letter) {
        let index = usize::try_from(letter.to.0 - 1).unwrap();
        self.on(index, |bed| match letter.says {
            Says::Ask { id, content } => bed.asked_by(Asker { node: letter.from, incarnation: 1, id }, &content),
            Says::Answer { asker, content } => bed.answered_by(letter.from, asker.id, &content),
        });
    }

    /// One letter or the changes of one node, whichever the seed says; false when nothing is left.
    pub(crate) fn step(&mut self) -> bool {
        let waiting: Vec<usize> = self.untold.keys().copied().collect();
        let choices = waiting.len() + self.letters.len();
        if choices == 0 {
            return false;
        }
        let choice = usize::try_from(self.rng.below(choices as u64)).unwrap();
        match waiting.get(choice) {
            Some(index) => self.tell(*index),
            None => {
                let letter = self.letters.swap_remove(choice - waiting.len());
                self.deliver(letter);
            }
        }
        true
    }

    pub(crate) fn settle(&mut self) {
        while self.step() {}
    }

    pub(crate) fn start(&mut self, node: u64, method: Method, path: &str, body: &str) -> HttpId {
        self.on(Self::index(node), |bed| bed.start(method, path, body))
    }

    pub(crate) fn answer_to(&mut self, node: u64, id: HttpId) -> Option<Answered> {
        self.beds[Self::index(node)].answer_to(id)
    }

    pub(crate) fn ask(&mut self, node: u64, method: Method, path: &str, body: &str) -> Answered {
        let id = self.start(node, method, path, body);
        self.settle();
        self.answer_to(node, id).unwrap_or_else(|| panic!("{method:?} {path} was not answered"))
    }

    /// A request that must succeed.
    pub(crate) fn ok(&mut self, node: u64, method: Method, path: &str, body: &str) -> Answered {
        let answer = self.ask(node, method, path, body);
        assert!((200..300).contains(&answer.status), "{method:?} {path}: {} {}", answer.status, answer.body);
        answer
    }

    /// A node hears that another is lost.
    pub(crate) fn lose(&mut self, node: u64, lost: u64) {
        self.on(Self::index(node), |bed| bed.lose(NodeId(lost)));
    }

    /// A question of a node could not be sent.
    pub(crate) fn send_back(&mut self, letter: &Letter) {
        let Says::Ask { id, .. } = letter.says else { panic!("{letter:?} is no question") };
        self.on(Self::index(letter.from.0), |bed| bed.sent_back(letter.to, id));
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        for index in 0..self.beds.len() {
            self.on(index, |bed| bed.pass(time));
        }
    }

    pub(crate) fn become_role(&mut self, role: Option<&str>) {
        self.beds.iter_mut().for_each(|bed| bed.become_role(role));
    }

    fn index(node: u64) -> usize {
        usize::try_from(node - 1).unwrap()
    }
}
