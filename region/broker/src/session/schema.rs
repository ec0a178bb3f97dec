//! Registering and reading schemas.

use crate::broker::Broker;
use crate::io::ConnId;
use crate::schema::{self, Registration};
use crate::session::auth::Refusal;
use crate::session::waiting::Waiter;
use crate::topic::call::{Handle, TopicCall};
use crate::topic::open::CreateTopic;
use base::{Now, TopicName};
use bytes::Bytes;
use meta_api::{Compare, MetaRequest, MetaResponse, Write};
use tenancy::{Operation, keys};
use wire::commands;
use wire::pulsar::{CommandGetOrCreateSchema, CommandGetSchema, Schema, ServerError};

/// Largest schema definition, in bytes.
const SCHEMA_BYTES_MAX: usize = 512 * 1024;

/// What goes on when the version is known.
#[derive(Debug)]
pub(crate) enum SchemaWait {
    /// A producer or consumer.
    Call {
        create: CreateTopic,
        call: TopicCall,
    },
    Answer {
        conn: ConnId,
        request_id: u64,
    },
}

/// A registration under way.
#[derive(Clone, Debug)]
pub(crate) struct SchemaWrite {
    topic: TopicName,
    schema: Schema,
    version: u64,
}

impl Broker {
    /// Registers a schema unless it is known, then goes on with `then`.
    pub(crate) fn with_schema(&mut self, now: Now, conn: ConnId, topic: &TopicName, schema: Schema, then: SchemaWait) {
        if !schema::is_registrable(&schema) {
            return self.schema_known(now, topic, None, then);
        }
        match self.schemas.judge(topic, &schema) {
            Registration::Known(version) => self.schema_known(now, topic, Some(version), then),
            Registration::OtherType { has } => {
                let text = format!("topic {topic} has schemas of type {has}, not {}", schema.r#type().as_str_name());
                self.schema_refused(then, ServerError::IncompatibleSchema, &text);
            }
            Registration::New(version) => match self.check_new_schema(conn, topic, &schema, version) {
                Ok(()) => self.write_schema(now, SchemaWrite { topic: topic.clone(), schema, version }, then),
                // A consumer without the right to register reads with what is there.
                Err(_) if matches!(then, SchemaWait::Call { call: TopicCall::Subscribe(_), .. }) => {
                    self.schema_known(now, topic, None, then);
                }
                Err((code, text)) => self.schema_refused(then, code, &text),
            },
        }
    }

    fn check_new_schema(&self, conn: ConnId, topic: &TopicName, schema: &Schema, version: u64) -> Result<(), Refusal> {
        self.permit(conn, Operation::PutSchema, tenancy::Object::Topic(topic))?;
        if schema.schema_data.len() > SCHEMA_BYTES_MAX {
            let text = format!("a schema has at most {SCHEMA_BYTES_MAX} bytes, this one {}", schema.schema_data.len());
            return Err((ServerError::IncompatibleSchema, text));
        }
        let policies = self.core.directory.effective(topic);
        if version > 0 && policies.is_some_and(|policies| !policies.allow_auto_update_schema) {
            let text = format!("Schema not found and schema auto updating is disabled on topic {topic}");
            return Err((ServerError::IncompatibleSchema, text));
        }
        Ok(())
    }

    fn write_schema(&mut self, now: Now, write: SchemaWrite, then: SchemaWait) {
        let key = keys::schema_version_key(&write.topic.partitioned(), write.version);
        let namespace = keys::namespace_key(write.topic.namespace());
        let value = schema::encode(&write.schema, now.wall_ms);
        let compare = vec![Compare::Exists { key: namespace }, Compare::Absent { key: key.clone() }];
        let request = MetaRequest::Txn { compare, writes: vec![Write::Put { key, value }] };
        self.ask_meta(request, Waiter::Schema { write, then });
    }

    pub(crate) fn handle_schema_written(
        &mut self,
        now: Now,
        mut write: SchemaWrite,
        then: SchemaWait,
        response: MetaResponse,
    ) {
        match response {
            MetaResponse::Committed { .. } => {
                let value = schema::encode(&write.schema, now.wall_ms);
                let key = keys::schema_version_key(&write.topic.partitioned(), write.version);
                self.schemas.apply(&key, Some(&value));
                self.schema_known(now, &write.topic, Some(write.version), then);
            }
            // Somebody registered at the same time: if it is the same schema, theirs is ours; else the next version.
            MetaResponse::Conflict { index: 1, actual } => {
                let key = keys::schema_version_key(&write.topic.partitioned(), write.version);
                self.schemas.apply(&key, actual.as_ref().map(|versioned| versioned.value.as_ref()));
                match self.schemas.judge(&write.topic, &write.schema) {
                    Registration::Known(version) => self.schema_known(now, &write.topic, Some(version), then),
                    Registration::New(version) => {
                        write.version = version;
                        self.write_schema(now, write, then);
                    }
                    Registration::OtherType { has } => {
                        let text = format!("topic {} has schemas of type {has}", write.topic);
                        self.schema_refused(then, ServerError::IncompatibleSchema, &text);
                    }
                }
            }
            other => {
                let text = format!("the schema of topic {} could not be stored: {other:?}", write.topic);
                self.schema_refused(then, ServerError::ServiceNotReady, &text);
            }
        }
    }

    fn schema_known(&mut self, now: Now, topic: &TopicName, version: Option<u64>, then: SchemaWait) {
        match then {
            SchemaWait::Call { create, mut call } => {
                if let TopicCall::Produce(spec) = &mut call {
                    spec.schema_version = version;
                }
                let owner = call.handle();
                self.call(now, topic, create, call);
                self.fill_slot(owner, topic);
            }
            SchemaWait::Answer { conn, request_id } => {
                self.out.command(conn, &commands::schema_registered(request_id, version.unwrap_or(0)));
            }
        }
    }

    /// The topic of a producer or consumer that waited for its schema is known now.
    fn fill_slot(&mut self, owner: Option<Handle>, topic: &TopicName) {
        let Some(slot) = self.topics.by_name.get(topic).copied() else { return };
        match owner {
            Some(Handle::Producer(key)) => {
                let session = self.sessions.get_mut(&key.conn);
                if let Some(handle) = session.and_then(|session| session.producers.get_mut(&key.producer_id)) {
                    handle.slot = slot;
                }
            }
            Some(Handle::Consumer(key)) => {
                let session = self.sessions.get_mut(&key.conn);
                if let Some(handle) = session.and_then(|session| session.consumers.get_mut(&key.consumer_id)) {
                    handle.slot = slot;
                }
            }
            None => (),
        }
    }

    fn schema_refused(&mut self, then: SchemaWait, code: ServerError, text: &str) {
        match then {
            SchemaWait::Call { call, .. } => call.refuse(code, text, &mut self.out),
            SchemaWait::Answer { conn, request_id } => {
                self.out.command(conn, &commands::schema_not_registered(request_id, code, text));
            }
        }
    }

    pub(crate) fn on_get_schema(&mut self, conn: ConnId, command: CommandGetSchema) {
        let request_id = command.request_id;
        let reply = match self.find_schema(conn, &command) {
            Ok((schema, version)) => commands::schema(request_id, schema, version),
            Err((code, text)) => commands::schema_failed(request_id, code, &text),
        };
        self.out.command(conn, &reply);
    }

    fn find_schema(&self, conn: ConnId, command: &CommandGetSchema) -> Result<(Schema, u64), Refusal> {
        let topic = self.permitted_topic(conn, &command.topic, Operation::GetSchema)?;
        let found = match &command.schema_version {
            None => self.schemas.latest(&topic),
            Some(bytes) => {
                let wanted = version_of(bytes)?;
                self.schemas.get(&topic, wanted)
            }
        };
        found.map(|stored| (stored.schema.clone(), stored.version)).ok_or_else(|| {
            (ServerError::TopicNotFound, format!("Topic not found or no-schema: {topic} has no such schema"))
        })
    }

    pub(crate) fn on_get_or_create_schema(&mut self, now: Now, conn: ConnId, command: CommandGetOrCreateSchema) {
        let request_id = command.request_id;
        let topic = self.permitted_topic(conn, &command.topic, Operation::Produce).and_then(|topic| {
            let directory = &self.core.directory;
            let exists = directory.has_topic(&topic) || directory.partitions(&topic).is_some();
            if exists || self.topics.by_name.contains_key(&topic) {
                return Ok(topic);
            }
            Err((ServerError::TopicNotFound, format!("Topic not found {topic}")))
        });
        match topic {
            Ok(topic) => self.with_schema(now, conn, &topic, command.schema, SchemaWait::Answer { conn, request_id }),
            Err((code, text)) => self.out.command(conn, &commands::schema_not_registered(request_id, code, &text)),
        }
    }
}

fn version_of(bytes: &Bytes) -> Result<u64, Refusal> {
    commands::schema_version(bytes).ok_or_else(|| (ServerError::IncompatibleSchema, "Empty schema version".to_owned()))
}
