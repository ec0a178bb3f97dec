//! The objects that policies are made of, in Pulsar's JSON.
//!
//! **What**  Plain data with lenient reading, and `check` functions for the values that Pulsar refuses with 412.

use crate::backlog::BacklogQuotas;
use crate::lenient;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A policy value that is refused; the text is what the HTTP answer gives as `reason`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PolicyError(pub String);

fn refuse<T>(reason: impl Into<String>) -> Result<T, PolicyError> {
    Err(PolicyError(reason.into()))
}

/// Copies per ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Persistence {
    #[serde(deserialize_with = "lenient::number")]
    pub bookkeeper_ensemble: u32,
    #[serde(deserialize_with = "lenient::number")]
    pub bookkeeper_write_quorum: u32,
    #[serde(deserialize_with = "lenient::number")]
    pub bookkeeper_ack_quorum: u32,
    /// Mark-deletes per second and cursor; 0 is no limit.
    #[serde(deserialize_with = "lenient::float")]
    pub managed_ledger_max_mark_delete_rate: f64,
}

impl Persistence {
    /// # Errors
    /// [`PolicyError`] unless ensemble ≥ write quorum ≥ ack quorum ≥ 1.
    pub fn check(&self) -> Result<(), PolicyError> {
        let (ensemble, write, ack) =
            (self.bookkeeper_ensemble, self.bookkeeper_write_quorum, self.bookkeeper_ack_quorum);
        if ack == 0 || ack > write || write > ensemble {
            return refuse(format!(
                "bookkeeperEnsemble {ensemble} >= bookkeeperWriteQuorum {write} >= bookkeeperAckQuorum {ack} >= 1 must hold"
            ));
        }
        if !self.managed_ledger_max_mark_delete_rate.is_finite() || self.managed_ledger_max_mark_delete_rate < 0.0 {
            return refuse("managedLedgerMaxMarkDeleteRate must be 0 or more");
        }
        Ok(())
    }
}

/// How long and how much is kept after every subscription has acknowledged it. −1 is without limit, 0 keeps nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Retention {
    #[serde(rename = "retentionTimeInMinutes", deserialize_with = "lenient::number")]
    pub minutes: i32,
    #[serde(rename = "retentionSizeInMB", deserialize_with = "lenient::number")]
    pub megabytes: i64,
}

impl Retention {
    /// # Errors
    /// [`PolicyError`] for numbers below −1, and when only one of the two is 0: that would keep nothing.
    pub fn check(&self) -> Result<(), PolicyError> {
        if self.minutes < -1 || self.megabytes < -1 {
            return refuse("retentionTimeInMinutes and retentionSizeInMB must be -1 (no limit) or more");
        }
        if (self.minutes == 0) != (self.megabytes == 0) {
            return refuse("retention needs both retentionTimeInMinutes and retentionSizeInMB, or 0 for both");
        }
        Ok(())
    }

    /// Whether what is retained leaves room for the backlog that `quotas` allow: a bounded retention must be larger.
    ///
    /// # Errors
    /// [`PolicyError`] naming the quota that exceeds the retention.
    pub fn check_against(&self, quotas: &BacklogQuotas) -> Result<(), PolicyError> {
        let (Ok(minutes @ 1..), Ok(megabytes @ 1..)) = (u64::try_from(self.minutes), u64::try_from(self.megabytes))
        else {
            return Ok(());
        };
        for quota in quotas.values() {
            if quota.limit_bytes.is_some_and(|limit| limit >= megabytes.saturating_mul(1024 * 1024)) {
                return refuse(format!(
                    "the backlog quota by size exceeds the retention of {megabytes} MB: raise retention first"
                ));
            }
            if quota.limit_s.is_some_and(|limit_s| limit_s >= minutes * 60) {
                return refuse(format!(
                    "the backlog quota by time exceeds the retention of {minutes} min: raise retention first"
                ));
            }
        }
        Ok(())
    }
}

/// Messages that ask to be delivered later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DelayedDelivery {
    /// Precision in milliseconds.
    #[serde(deserialize_with = "lenient::number")]
    pub tick_time: i64,
    #[serde(deserialize_with = "lenient::flag")]
    pub active: bool,
    /// 0 is no limit.
    #[serde(deserialize_with = "lenient::number")]
    pub max_delivery_delay_in_millis: i64,
}

impl Default for DelayedDelivery {
    fn default() -> Self {
        Self { tick_time: 1000, active: true, max_delivery_delay_in_millis: 0 }
    }
}

/// When an inactive topic may be deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InactiveTopicDeleteMode {
    #[default]
    DeleteWhenNoSubscriptions,
    DeleteWhenSubscriptionsCaughtUp,
}

/// What happens to topics that nobody uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct InactiveTopics {
    #[serde(deserialize_with = "lenient::or_default")]
    pub inactive_topic_delete_mode: InactiveTopicDeleteMode,
    #[serde(deserialize_with = "lenient::number")]
    pub max_inactive_duration_seconds: i32,
    #[serde(deserialize_with = "lenient::flag")]
    pub delete_while_inactive: bool,
}

/// What a client's first use of a missing topic creates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct AutoTopicCreation {
    #[serde(deserialize_with = "lenient::flag")]
    pub allow_auto_topic_creation: bool,
    /// `partitioned` or `non-partitioned`; empty or absent only where creation is off.
    pub topic_type: Option<String>,
    #[serde(deserialize_with = "lenient::maybe_number")]
    pub default_num_partitions: Option<i32>,
}

impl AutoTopicCreation {
    /// Checks the combination; the texts are those that Pulsar's Go client tests compare (facts/pulsar-admin-rest.md §11).
    ///
    /// # Errors
    /// [`PolicyError`] with the text for the HTTP answer.
    pub fn check(&self) -> Result<(), PolicyError> {
        let detail = match (self.topic_type.as_deref().unwrap_or(""), self.default_num_partitions) {
            _ if !self.allow_auto_topic_creation => return Ok(()),
            ("partitioned", None) => "[defaultNumPartitions] cannot be null when the type is partitioned.",
            ("partitioned", Some(count)) if count < 1 => {
                "[defaultNumPartitions] cannot be less than 1 for partition type."
            }
            ("non-partitioned", Some(_)) => {
                "[defaultNumPartitions] is not allowed to be set when the type is non-partition."
            }
            ("partitioned" | "non-partitioned", _) => return Ok(()),
            _ => "[topicType] must be partitioned or non-partitioned.",
        };
        refuse(format!("Invalid configuration for autoTopicCreationOverride. the detail is {detail}"))
    }

    /// How many partitions a new topic gets; `None`: it is not partitioned.
    pub fn partitions(&self) -> Option<u32> {
        let partitioned = self.topic_type.as_deref() == Some("partitioned");
        self.default_num_partitions.filter(|_| partitioned).and_then(|count| u32::try_from(count).ok())
    }
}

/// Whether a consumer's first use of a missing subscription creates it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct AutoSubscriptionCreation {
    #[serde(deserialize_with = "lenient::flag")]
    pub allow_auto_subscription_creation: bool,
}

/// Which storage nodes a namespace prefers; stored and returned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BookieAffinity {
    pub bookkeeper_affinity_group_primary: Option<String>,
    pub bookkeeper_affinity_group_secondary: Option<String>,
}

/// Names of entry filters; stored and returned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EntryFilters {
    #[serde(deserialize_with = "lenient::or_default")]
    pub entry_filter_names: String,
}

/// Offload settings (facts/pulsar-admin-rest.md §8); stored and returned with every key that was given.
pub type OffloadPolicies = Map<String, Value>;

/// Whether subscriptions must carry the role as a prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SubscriptionAuthMode {
    #[default]
    None,
    Prefix,
}

/// The four ways to share a subscription, in Pulsar's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SubscriptionKind {
    Exclusive,
    Shared,
    Failover,
    #[serde(rename = "Key_Shared")]
    KeyShared,
}

/// Which new schemas a topic accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SchemaCompatibility {
    /// Not set here: the broker's default holds.
    #[default]
    Undefined,
    AlwaysIncompatible,
    AlwaysCompatible,
    Backward,
    Forward,
    Full,
    BackwardTransitive,
    ForwardTransitive,
    FullTransitive,
}
