//! One log on its storage, driven to rest after every call.

use crate::testing::Storage;
use crate::{
    AckSet, Checkpoint, CursorError, CursorId, ManagedEffect, ManagedEvent, ManagedLedger, ManagedOptions, OpenMode,
    Read,
};
use base::{Effects, EntryData, Mono, Now, OwnerId, Position, RegionId};
use bytes::Bytes;
use ledger::ReplicationConfig;
use std::collections::BTreeMap;
use std::time::Duration;

pub(super) const KEY: &str = "/ml/t";

/// One log on its storage.
pub(super) struct Rig {
    pub(super) storage: Storage,
    pub(super) log: ManagedLedger,
    pub(super) fx: Effects<ManagedEffect>,
    pub(super) now: Now,
    pub(super) owner: u64,
    pub(super) ctx: u64,
    pub(super) events: Vec<ManagedEvent>,
}

pub(super) fn options() -> ManagedOptions {
    let replication = ReplicationConfig::new(3, 3, 2).unwrap();
    ManagedOptions { ledger_entries_max: 4, ..ManagedOptions::new(RegionId(1), replication) }
}

pub(super) fn data(n: u64) -> EntryData {
    EntryData::new(Bytes::from(vec![7; 3]), Bytes::from(n.to_le_bytes().to_vec()))
}

impl Rig {
    pub(super) fn new(options: ManagedOptions) -> Self {
        let mut storage = Storage::new(3);
        let (mut fx, now) = (Effects::new(), Now { mono: Mono(0), wall_ms: 1_000_000 });
        let nodes = storage.nodes();
        let mut log =
            ManagedLedger::open(OwnerId(1), KEY.into(), OpenMode::CreateIfAbsent, options, nodes, now, &mut fx);
        let events = storage.drive(now, &mut log, &mut fx);
        assert_eq!(events, [ManagedEvent::Opened { checkpoint: None }]);
        Self { storage, log, fx, now, owner: 1, ctx: 0, events: Vec::new() }
    }

    pub(super) fn drive(&mut self) {
        self.events.extend(self.storage.drive(self.now, &mut self.log, &mut self.fx));
    }

    pub(super) fn take(&mut self) -> Vec<ManagedEvent> {
        self.drive();
        std::mem::take(&mut self.events)
    }

    /// The owner dies; another opens.
    pub(super) fn reopen(&mut self) -> Option<Checkpoint> {
        self.owner += 1;
        let (options, nodes) = (self.log.options().clone(), self.storage.nodes());
        self.fx.take();
        self.events.clear();
        let owner = OwnerId(self.owner);
        self.log = ManagedLedger::open(owner, KEY.into(), OpenMode::MustExist, options, nodes, self.now, &mut self.fx);
        match self.take().as_slice() {
            [ManagedEvent::Opened { checkpoint }] => checkpoint.clone(),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now.mono = self.now.mono + time;
        self.now.wall_ms += u64::try_from(time.as_millis()).unwrap();
        while self.log.next_deadline().is_some_and(|due| due <= self.now.mono) {
            self.log.on_deadline(self.now, &mut self.fx);
            self.drive();
        }
    }

    pub(super) fn next_ctx(&mut self) -> u64 {
        self.ctx += 1;
        self.ctx
    }

    /// Adds entries with the numbers `from..to`; answers their positions.
    pub(super) fn add(&mut self, numbers: std::ops::Range<u64>) -> Vec<Position> {
        for n in numbers {
            self.log.add(self.now, n, data(n), &mut self.fx).unwrap();
        }
        let persisted = |event| match event {
            ManagedEvent::Persisted { position, .. } => Some(position),
            _ => None,
        };
        self.take().into_iter().filter_map(persisted).collect()
    }

    pub(super) fn cursor(&mut self, name: &str, mark: Position) -> CursorId {
        let ctx = self.next_ctx();
        let id = self.log.create_cursor(self.now, name, mark, BTreeMap::new(), ctx, &mut self.fx);
        assert!(self.take().contains(&ManagedEvent::CursorDone { ctx, result: Ok(()) }));
        id
    }

    pub(super) fn by_name(&self, name: &str) -> CursorId {
        self.log.cursors().find(|(_, cursor)| cursor.name() == name).unwrap().0
    }

    pub(super) fn result(&mut self, ctx: u64) -> Result<(), CursorError> {
        let events = self.take();
        let done = events.into_iter().find_map(|event| match event {
            ManagedEvent::CursorDone { ctx: done, result } if done == ctx => Some(result),
            _ => None,
        });
        done.unwrap()
    }

    pub(super) fn ack(&mut self, id: CursorId, acks: &[(Position, Option<AckSet>)]) -> Result<(), CursorError> {
        let ctx = self.next_ctx();
        self.log.ack_each(self.now, id, acks, ctx, &mut self.fx);
        self.result(ctx)
    }

    pub(super) fn ack_up_to(&mut self, id: CursorId, position: Position) -> Result<(), CursorError> {
        let ctx = self.next_ctx();
        self.log.ack_up_to(self.now, id, position, None, ctx, &mut self.fx);
        self.result(ctx)
    }

    /// Everything readable from `from` on, as numbers.
    pub(super) fn numbers(&mut self, from: Position) -> Vec<u64> {
        let (mut next, mut numbers) = (from, Vec::new());
        loop {
            let entries = match self.log.read(self.now, next, 100, 1 << 20, &mut self.fx) {
                Read::Ready(entries) => entries,
                Read::AtTail => return numbers,
                Read::Busy => panic!("busy"),
                Read::Pending(read) => {
                    let find = |event| match event {
                        ManagedEvent::ReadDone { read: done, result } if done == read => Some(result.unwrap()),
                        _ => None,
                    };
                    self.take().into_iter().find_map(find).unwrap()
                }
            };
            for entry in entries {
                assert!(entry.position >= next);
                next = entry.position.next();
                numbers.push(u64::from_le_bytes(entry.data.body.as_ref().try_into().unwrap()));
            }
        }
    }
}
