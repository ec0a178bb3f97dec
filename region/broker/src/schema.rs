//! The schemas of topics as this broker sees them: every version, newest last.
//!
//! **What**  A view of the metadata keys below `/schemas/`, fed by their changes. A schema belongs to a topic without its
//! partition suffix; versions count from 0 (facts/pulsar-wire.md §12).
//!
//! **Invariants**
//! - I1  a version's content never changes; the same content has one version.
//!
//! **Not here**  Compatibility between versions beyond "the same type" (later); writing (`session::schema`).

use base::TopicName;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;
use std::collections::BTreeMap;
use tenancy::keys;
use wire::pulsar::{Schema, schema};

const FORMAT: u8 = 1;

/// One registered schema.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredSchema {
    pub version: u64,
    pub schema: Schema,
    /// When it was registered, Unix milliseconds.
    pub registered_ms: u64,
}

/// All schemas of the region.
#[derive(Debug, Default)]
pub struct SchemaRegistry {
    by_prefix: BTreeMap<String, BTreeMap<u64, StoredSchema>>,
}

/// What a registration would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Registration {
    /// The content is known.
    Known(u64),
    /// It would become this version.
    New(u64),
    /// Another type than the topic's schemas have.
    OtherType { has: &'static str },
}

impl SchemaRegistry {
    /// Takes in a change below `/schemas/`; other keys are ignored.
    pub fn apply(&mut self, key: &str, value: Option<&[u8]>) {
        let Some((prefix, version)) = split_key(key) else { return };
        match value.and_then(decode) {
            Some((schema, registered_ms)) => {
                let stored = StoredSchema { version, schema, registered_ms };
                self.by_prefix.entry(prefix.to_owned()).or_default().insert(version, stored);
            }
            None => {
                if let Some(versions) = self.by_prefix.get_mut(prefix) {
                    versions.remove(&version);
                    if versions.is_empty() {
                        self.by_prefix.remove(prefix);
                    }
                }
            }
        }
    }

    fn versions(&self, topic: &TopicName) -> Option<&BTreeMap<u64, StoredSchema>> {
        self.by_prefix.get(&keys::schema_key(&topic.partitioned()))
    }

    pub fn latest(&self, topic: &TopicName) -> Option<&StoredSchema> {
        self.versions(topic)?.values().next_back()
    }

    pub fn get(&self, topic: &TopicName, version: u64) -> Option<&StoredSchema> {
        self.versions(topic)?.get(&version)
    }

    /// Every version, oldest first.
    pub fn all(&self, topic: &TopicName) -> impl Iterator<Item = &StoredSchema> + '_ {
        self.versions(topic).into_iter().flat_map(|versions| versions.values())
    }

    /// What registering this schema would do.
    pub fn judge(&self, topic: &TopicName, new: &Schema) -> Registration {
        if let Some(known) = self.all(topic).find(|stored| same_content(&stored.schema, new)) {
            return Registration::Known(known.version);
        }
        match self.latest(topic) {
            Some(latest) if latest.schema.r#type != new.r#type => {
                Registration::OtherType { has: latest.schema.r#type().as_str_name() }
            }
            Some(latest) => Registration::New(latest.version + 1),
            None => Registration::New(0),
        }
    }
}

fn same_content(a: &Schema, b: &Schema) -> bool {
    a.r#type == b.r#type && a.schema_data == b.schema_data
}

fn split_key(key: &str) -> Option<(&str, u64)> {
    if !key.starts_with(keys::SCHEMAS) {
        return None;
    }
    let (prefix, version) = key.rsplit_once('/')?;
    Some((prefix, version.parse().ok()?))
}

/// The value stored under a version's key.
pub fn encode(schema: &Schema, registered_ms: u64) -> Bytes {
    let mut out = BytesMut::with_capacity(9 + schema.encoded_len());
    out.put_u8(FORMAT);
    out.put_u64(registered_ms);
    out.put_slice(&schema.encode_to_vec());
    out.freeze()
}

fn decode(mut value: &[u8]) -> Option<(Schema, u64)> {
    if value.len() < 9 || value.get_u8() != FORMAT {
        return None;
    }
    let registered_ms = value.get_u64();
    Some((Schema::decode(value).ok()?, registered_ms))
}

/// Whether a schema is one that topics keep: bytes without structure are not registered.
pub fn is_registrable(schema: &Schema) -> bool {
    !matches!(schema.r#type(), schema::Type::None | schema::Type::AutoConsume)
}
