//! Lookup and partition metadata, with automatic creation.

use crate::broker::Broker;
use crate::io::ConnId;
use crate::session::auth::Refusal;
use crate::session::waiting::Waiter;
use crate::topic::open::CreateTopic;
use base::{Now, TopicName};
use meta_api::{Compare, MetaRequest, Write};
use std::collections::BTreeMap;
use tenancy::{Operation, PartitionedRecord, keys};
use wire::commands;
use wire::pulsar::{CommandLookupTopic, CommandPartitionedTopicMetadata, ServerError};

/// Most partitions that a topic may have.
const PARTITIONS_MAX: u32 = 10_000;

impl Broker {
    pub(crate) fn on_lookup(&mut self, now: Now, conn: ConnId, command: CommandLookupTopic) {
        let request_id = command.request_id;
        let listener = command.advertised_listener_name.as_deref().unwrap_or_default();
        let answer = if !listener.is_empty() && listener != "internal" {
            let text = format!("the broker do not have {listener} listener");
            Err((ServerError::ServiceNotReady, text))
        } else {
            self.permitted_topic(conn, &command.topic, Operation::Lookup)
                .and_then(|name| self.require_namespace(&name).map(|()| name))
        };
        match answer {
            Ok(name) => self.look_up(now, conn, request_id, &name),
            Err((code, text)) => self.out.command(conn, &commands::lookup_failed(request_id, code, &text)),
        }
    }

    pub(crate) fn require_namespace(&self, name: &TopicName) -> Result<(), Refusal> {
        if self.core.directory.namespace(name.namespace()).is_some() {
            return Ok(());
        }
        Err((ServerError::TopicNotFound, format!("namespace {} does not exist; create it first", name.namespace())))
    }

    pub(crate) fn on_partition_metadata(&mut self, _now: Now, conn: ConnId, command: CommandPartitionedTopicMetadata) {
        let request_id = command.request_id;
        let create = command.metadata_auto_creation_enabled();
        match self.permitted_topic(conn, &command.topic, Operation::Lookup) {
            Ok(name) => self.answer_partitions(conn, request_id, &name, create),
            Err((code, text)) => self.out.command(conn, &commands::partition_metadata_failed(request_id, code, &text)),
        }
    }

    fn answer_partitions(&mut self, conn: ConnId, request_id: u64, name: &TopicName, may_create: bool) {
        let directory = &self.core.directory;
        let known = match (name.partition(), directory.partitions(name)) {
            (Some(_), _) => Some(0),
            (None, Some(count)) => Some(count),
            (None, None) if directory.has_topic(name) || self.topics.by_name.contains_key(name) => Some(0),
            (None, None) => None,
        };
        if let Some(count) = known {
            return self.out.command(conn, &commands::partition_metadata(request_id, count));
        }
        let Some(policies) = directory.effective_of_namespace(name.namespace()) else {
            let failed = commands::partition_metadata_failed(request_id, ServerError::TopicNotFound, "");
            return self.out.command(conn, &failed);
        };
        let creation = policies.auto_topic_creation;
        if !may_create || !creation.allow_auto_topic_creation {
            let failed = commands::partition_metadata_failed(request_id, ServerError::TopicNotFound, "");
            return self.out.command(conn, &failed);
        }
        let partitioned = creation.topic_type.as_deref() == Some("partitioned");
        let count = creation.default_num_partitions.and_then(|count| u32::try_from(count).ok()).unwrap_or(1);
        if !partitioned || count == 0 {
            return self.out.command(conn, &commands::partition_metadata(request_id, 0));
        }
        self.create_partitioned(conn, request_id, name, count.min(PARTITIONS_MAX));
    }

    fn create_partitioned(&mut self, conn: ConnId, request_id: u64, name: &TopicName, partitions: u32) {
        let record = PartitionedRecord { partitions, properties: BTreeMap::new() };
        let key = keys::partitioned_key(name);
        let value = serde_json::to_vec(&record).unwrap_or_default().into();
        let namespace = keys::namespace_key(name.namespace());
        let compare = vec![Compare::Exists { key: namespace }, Compare::Absent { key: key.clone() }];
        let request = MetaRequest::Txn { compare, writes: vec![Write::Put { key, value }] };
        self.ask_meta(request, Waiter::Partitions { conn, request_id, topic: name.clone(), partitions });
    }

    /// Whether a topic may be opened, and what to do when it does not exist.
    ///
    /// # Errors
    /// TopicNotFound, or the limit that a new topic would pass.
    pub(crate) fn creation_rule(&self, name: &TopicName, may_create: bool) -> Result<CreateTopic, Refusal> {
        self.require_namespace(name)?;
        self.require_ours(name)?;
        let directory = &self.core.directory;
        if directory.has_topic(name) || self.topics.by_name.contains_key(name) {
            return Ok(CreateTopic::Never);
        }
        let fresh = CreateTopic::IfAbsent { properties: BTreeMap::new() };
        if self.is_existing_partition(name) {
            return Ok(fresh);
        }
        if directory.partitions(name).is_some_and(|count| count > 0) {
            let text = format!("topic {name} is partitioned; use its partitions");
            return Err((ServerError::NotAllowedError, text));
        }
        let policies = directory.effective_of_namespace(name.namespace());
        let allowed = policies.as_ref().is_some_and(|p| p.auto_topic_creation.allow_auto_topic_creation);
        if !may_create || !allowed {
            return Err((ServerError::TopicNotFound, format!("Topic {name} does not exist; create it first")));
        }
        self.check_topic_limits(name, policies.and_then(|policies| policies.limits.topics_per_namespace))?;
        Ok(fresh)
    }

    fn check_topic_limits(&self, name: &TopicName, namespace_max: Option<u32>) -> Result<(), Refusal> {
        let directory = &self.core.directory;
        if namespace_max.is_some_and(|max| directory.topic_count(name.namespace()) >= max as usize) {
            let text = format!(
                "Exceed maximum number of topics in namespace {}: its limit maxTopicsPerNamespace is {}",
                name.namespace(),
                namespace_max.unwrap_or(0)
            );
            return Err((ServerError::NotAllowedError, text));
        }
        let limit = directory.tenant(name.tenant()).and_then(|tenant| tenant.limits().topics_max);
        if limit.is_some_and(|max| directory.topic_count_of_tenant(name.tenant()) >= max as usize) {
            let text = format!(
                "tenant {} has reached its limit maxTopics of {}: delete topics or raise it",
                name.tenant(),
                limit.unwrap_or(0)
            );
            return Err((ServerError::NotAllowedError, text));
        }
        Ok(())
    }
}
