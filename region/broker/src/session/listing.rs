//! The topics of a namespace.

use crate::broker::Broker;
use crate::io::ConnId;
use crate::session::auth::Refusal;
use base::{Domain, NamespaceName, TopicName};
use regex::RegexBuilder;
use std::collections::BTreeSet;
use tenancy::{Object, Operation};
use wire::commands::{self, Listing};
use wire::pulsar::command_get_topics_of_namespace::Mode;
use wire::pulsar::{CommandGetTopicsOfNamespace, ServerError};

/// Longest pattern evaluated here; longer ones are left to the client (facts/pulsar-wire.md §13).
const PATTERN_BYTES_MAX: usize = 50;
/// Most names in one answer (security.md C6 asks for a bound; the wire has no pages).
const NAMES_MAX: usize = 100_000;
const REGEX_BYTES_MAX: usize = 1 << 20;

impl Broker {
    pub(crate) fn on_topics_of_namespace(&mut self, conn: ConnId, command: CommandGetTopicsOfNamespace) {
        let reply = match self.list_topics(conn, &command) {
            Ok(reply) => reply,
            Err((code, text)) => commands::error(command.request_id, code, &text),
        };
        self.out.command(conn, &reply);
    }

    fn list_topics(
        &self,
        conn: ConnId,
        command: &CommandGetTopicsOfNamespace,
    ) -> Result<wire::pulsar::BaseCommand, Refusal> {
        let namespace = NamespaceName::parse(&command.namespace)
            .map_err(|error| (ServerError::InvalidTopicName, error.to_string()))?;
        self.permit(conn, Operation::ListTopics, Object::Namespace(&namespace))?;
        let mut names: Vec<String> = self.topic_names(&namespace, command.mode()).into_iter().collect();
        let pattern = command.topics_pattern.as_deref().filter(|pattern| pattern.len() <= PATTERN_BYTES_MAX);
        let listing = match pattern {
            Some(pattern) => {
                retain_matching(&mut names, pattern)?;
                Listing::Filtered
            }
            None => Listing::Whole,
        };
        if names.len() > NAMES_MAX {
            let text = format!(
                "namespace {namespace} has {} topics, more than the {NAMES_MAX} of one answer; use a narrower pattern",
                names.len()
            );
            return Err((ServerError::TooManyRequests, text));
        }
        let hash = topics_hash(&names);
        if command.topics_hash.as_deref() == Some(hash.as_str()) {
            return Ok(commands::topics_unchanged(command.request_id, listing, hash));
        }
        Ok(commands::topics_of_namespace(command.request_id, names, listing, hash))
    }

    /// Every topic, partitions one by one, system topics left out, in order.
    pub fn topic_names(&self, namespace: &NamespaceName, mode: Mode) -> BTreeSet<String> {
        if mode == Mode::NonPersistent {
            return BTreeSet::new();
        }
        let directory = &self.core.directory;
        let mut names: BTreeSet<TopicName> = directory
            .topics_of(namespace, Domain::Persistent, None, usize::MAX)
            .into_iter()
            .filter(|name| !name.is_system())
            .collect();
        for (name, partitions) in directory.partitioned_of(namespace, Domain::Persistent, None, usize::MAX) {
            names.extend((0..partitions).map(|index| name.with_partition(index)));
        }
        names.iter().map(ToString::to_string).collect()
    }
}

/// Patterns match the name without its domain and partition suffix.
fn retain_matching(names: &mut Vec<String>, pattern: &str) -> Result<(), Refusal> {
    let bare = pattern.split_once("://").map_or(pattern, |(_, rest)| rest);
    let regex = RegexBuilder::new(&format!("^(?:{bare})$")).size_limit(REGEX_BYTES_MAX).build().map_err(|error| {
        (ServerError::InvalidTopicName, format!("the topic pattern '{pattern}' is not a regular expression: {error}"))
    })?;
    names.retain(|name| {
        let Ok(topic) = TopicName::parse(name) else { return false };
        let topic = topic.partitioned().to_string();
        topic.split_once("://").is_some_and(|(_, rest)| regex.is_match(rest))
    });
    Ok(())
}

/// CRC32C over the sorted names joined by commas, little-endian in hexadecimal (facts/pulsar-wire.md §13).
fn topics_hash(names: &[String]) -> String {
    let crc = crc32c::crc32c(names.join(",").as_bytes());
    crc.to_le_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}
