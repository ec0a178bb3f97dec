//! A broker whose only bookie runs out of space while messages are on their way.

use crate::broker::Broker;
use crate::core::{BrokerOptions, Core, LOG_FULL};
use crate::io::{BrokerEffect, BrokerInput, ConnId, ConnInfo, Outgoing};
use auth::Authenticator;
use base::{Mono, NamespaceName, NodeId, Now, RegionId, RegionName, Rng};
use managed::ManagedEffect;
use managed::testing::{Answer, Executed, Storage};
use meta_api::{MetaRequest, MetaState, Write};
use std::time::Duration;
use tenancy::keys::{namespace_key, tenant_key};
use tenancy::{Authorization, BrokerDefaults, PolicyRecord, TenantInfo};
use wire::bookie::{AddOutcome, BookieRequest, BookieResponse};
use wire::commands::BrokerUrls;
use wire::frame::{RawFrame, decode_command, encode_command};
use wire::payload::build_body;
use wire::pulsar::base_command::Command;
use wire::pulsar::{BaseCommand, CommandConnect, CommandProducer, CommandSend, MessageMetadata, ServerError};
use wire::stored::StoredHead;

const CONN: ConnId = ConnId(1);

struct Bed {
    broker: Broker,
    meta: MetaState,
    storage: Storage,
    /// The bookie takes no entry.
    is_full: bool,
    /// Messages that were stored, without records of cursors.
    stored: usize,
    now: Now,
    answers: Vec<Command>,
}

impl Bed {
    /// A region with deduplication and a producer that had one message stored.
    fn new() -> Self {
        let options = BrokerOptions {
            node: NodeId(1),
            incarnation: 0,
            shared: false,
            region_name: RegionName::parse("east").unwrap(),
            region: RegionId(1),
            urls: BrokerUrls { plain: None, tls: None },
            http_url: String::new(),
            server_version: "Meridian-test".to_owned(),
            message_bytes_max: 5 << 20,
            keep_alive: Duration::from_secs(3600),
            auth_check: Duration::from_secs(3600),
            pending_bytes_max: 1 << 30,
            topic_cache_bytes: 1 << 20,
            cache_bytes_max: 16 << 20,
            connections_max: 100,
            rehearsal: None,
        };
        let core = Core::new(options, BrokerDefaults::standalone(), Authenticator::Off, Authorization::Off);
        let mut bed = Self {
            broker: Broker::new(core, Rng::new(7)),
            meta: MetaState::new(),
            storage: Storage::new(1),
            is_full: false,
            stored: 0,
            now: Now { mono: Mono(1_000_000_000), wall_ms: 1_700_000_000_000 },
            answers: Vec::new(),
        };
        let namespace = NamespaceName::parse("acme/orders").unwrap();
        let mut policies = PolicyRecord::default();
        policies.policies.deduplication_enabled = Some(true);
        bed.put(tenant_key(namespace.tenant()), serde_json::to_vec(&TenantInfo::default()).unwrap());
        bed.put(namespace_key(&namespace), serde_json::to_vec(&policies).unwrap());
        let info = ConnInfo { peer: "127.0.0.1:9".to_owned(), tls_common_name: None, tls: false };
        bed.hear(BrokerInput::ConnOpened { conn: CONN, info });
        let connect = CommandConnect { protocol_version: Some(21), ..CommandConnect::default() };
        bed.frame(&connect.into(), None);
        let producer = CommandProducer {
            topic: "persistent://acme/orders/t".to_owned(),
            producer_id: 1,
            request_id: 1,
            producer_name: Some("p".to_owned()),
            ..CommandProducer::default()
        };
        bed.frame(&producer.into(), None);
        assert!(matches!(bed.answers.last(), Some(Command::ProducerSuccess(_))), "{:?}", bed.answers);
        bed.send(0);
        assert_eq!((bed.taken(), bed.stored), (vec![Ok(0)], 1));
        bed
    }

    fn put(&mut self, key: String, value: Vec<u8>) {
        let writes = vec![Write::Put { key, value: value.into() }];
        let (_, events) = self.meta.apply(&MetaRequest::Txn { compare: Vec::new(), writes });
        self.hear(BrokerInput::MetaEvents(events));
    }

    fn frame(&mut self, command: &BaseCommand, payload: Option<bytes::Bytes>) {
        let frame = RawFrame { command: encode_command(command).slice(8..), payload };
        self.hear(BrokerInput::Frame { conn: CONN, frame });
    }

    fn send(&mut self, sequence_id: u64) {
        let metadata = MessageMetadata { producer_name: "p".to_owned(), sequence_id, ..MessageMetadata::default() };
        let command = CommandSend { producer_id: 1, sequence_id, ..CommandSend::default() };
        self.frame(&command.into(), Some(build_body(&metadata, b"payload")));
    }

    fn set_full(&mut self, full: bool) {
        self.is_full = full;
        self.broker.set_log_full(full);
        self.carry_out();
    }

    fn hear(&mut self, input: BrokerInput) {
        self.broker.handle(self.now, input);
        self.carry_out();
    }

    /// Lets seconds pass, one by one.
    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now.mono = self.now.mono + Duration::from_secs(1);
            self.now.wall_ms += 1000;
            self.broker.on_deadline(self.now);
            self.carry_out();
        }
    }

    fn carry_out(&mut self) {
        for effect in self.broker.take_effects() {
            match effect {
                BrokerEffect::Send { bytes: Outgoing::One(frame), .. } => {
                    self.answers.extend(decode_command(&frame.slice(8..)).unwrap().command);
                }
                BrokerEffect::Meta { id, request } => {
                    let (response, events) = self.meta.apply(&request);
                    self.hear(BrokerInput::Meta { id, response });
                    self.hear(BrokerInput::MetaEvents(events));
                }
                BrokerEffect::Bookie { to, request } => self.ask_bookie(to, request),
                BrokerEffect::Send { .. } | BrokerEffect::Close { .. } => panic!("unexpected {effect:?}"),
                _ => (),
            }
        }
    }

    fn ask_bookie(&mut self, to: NodeId, request: BookieRequest) {
        if let BookieRequest::Add { id, ledger, entry, data, .. } = &request {
            let (id, ledger, entry) = (*id, *ledger, *entry);
            if self.is_full {
                let response = BookieResponse::Added { id, ledger, entry, outcome: AddOutcome::ReadOnly };
                return self.hear(BrokerInput::Bookie { from: to, response });
            }
            self.stored += usize::from(StoredHead::decode(&data.head).is_ok());
        }
        let Executed::Answer(Answer::Bookie { from, response }) =
            self.storage.execute(ManagedEffect::Bookie { to, request })
        else {
            panic!("a bookie answers");
        };
        self.hear(BrokerInput::Bookie { from, response });
    }

    /// Receipts and errors since the last call, in order, by sequence id.
    fn taken(&mut self) -> Vec<Result<u64, (u64, i32, String)>> {
        let answers = std::mem::take(&mut self.answers).into_iter();
        let outcome = |answer| match answer {
            Command::SendReceipt(receipt) => Some(Ok(receipt.sequence_id)),
            Command::SendError(error) => Some(Err((error.sequence_id, error.error, error.message))),
            _ => None,
        };
        answers.filter_map(outcome).collect()
    }
}

fn refused(sequence_id: u64) -> Result<u64, (u64, i32, String)> {
    Err((sequence_id, ServerError::PersistenceError as i32, LOG_FULL.to_owned()))
}

#[test]
fn what_was_accepted_before_the_disk_was_full_is_refused_once_and_stored_in_its_place() {
    let mut bed = Bed::new();
    bed.is_full = true; // The broker hears of it a moment later.
    bed.send(1);
    bed.send(2);
    bed.set_full(true);
    bed.pass(4);
    assert_eq!(bed.taken(), []);
    bed.pass(2);
    assert_eq!(bed.taken(), [refused(1), refused(2)], "overdue I2");
    bed.send(3);
    assert_eq!(bed.taken(), [refused(3)], "new messages are refused at once");
    bed.pass(60);
    assert_eq!((bed.taken(), bed.stored), (vec![], 1), "overdue I1");
    bed.set_full(false);
    bed.send(1);
    assert_eq!(bed.taken(), [], "a message that is not stored yet has no receipt");
    bed.pass(12);
    assert_eq!((bed.taken(), bed.stored), (vec![Ok(1)], 3), "it is stored once");
    bed.send(2);
    bed.send(3);
    assert_eq!((bed.taken(), bed.stored), (vec![Ok(2), Ok(3)], 4));
}

#[test]
fn what_finds_space_in_time_gets_its_receipt() {
    let mut bed = Bed::new();
    bed.is_full = true;
    bed.send(1);
    bed.set_full(true);
    bed.pass(3);
    bed.set_full(false);
    bed.pass(12);
    assert_eq!((bed.taken(), bed.stored), (vec![Ok(1)], 2));
}
