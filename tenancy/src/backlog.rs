//! Backlog quotas: how much a topic may hold for slow subscriptions, and what happens beyond it.
//!
//! **What**  Pulsar's two limits (bytes, age of the oldest unacknowledged message) with their three policies, and
//! [`check_backlog`], which turns one measurement into a verdict.
//!
//! **Invariants**
//! - I1  a backlog within its limits changes nothing: the verdict is `Within`.
//! - I2  no verdict evicts unless the exceeded limit's own policy says `consumer_backlog_eviction`.
//!
//! **Not here**  Measuring a backlog, moving cursors, telling producers.

use crate::lenient;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a topic does with new messages while a subscription is too far behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BacklogPolicy {
    /// Producers wait: a new producer is not answered with a receipt until the backlog shrinks.
    #[default]
    ProducerRequestHold,
    /// Producers are refused.
    ProducerException,
    /// The oldest messages of the slowest subscription are skipped.
    ConsumerBacklogEviction,
}

/// Which of the two limits a quota is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BacklogQuotaType {
    #[default]
    DestinationStorage,
    MessageAge,
}

impl BacklogQuotaType {
    /// The value of `backlogQuotaType=`; `None` for an unknown one.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "destination_storage" => Some(Self::DestinationStorage),
            "message_age" => Some(Self::MessageAge),
            _ => None,
        }
    }
}

/// One backlog quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "RawQuota", into = "RawQuota")]
pub struct BacklogQuota {
    pub limit_bytes: Option<u64>,
    pub limit_s: Option<u64>,
    pub policy: BacklogPolicy,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawQuota {
    /// The old name of `limitSize`.
    #[serde(default = "unset", deserialize_with = "lenient::number_or_unset")]
    limit: i64,
    #[serde(default = "unset", deserialize_with = "lenient::number_or_unset")]
    limit_size: i64,
    #[serde(default = "unset", deserialize_with = "lenient::number_or_unset")]
    limit_time: i64,
    #[serde(default, deserialize_with = "lenient::or_default")]
    policy: BacklogPolicy,
}

fn unset() -> i64 {
    -1
}

impl From<RawQuota> for BacklogQuota {
    fn from(raw: RawQuota) -> Self {
        let positive = |value: i64| u64::try_from(value).ok().filter(|limit| *limit > 0);
        Self {
            limit_bytes: positive(raw.limit_size).or_else(|| positive(raw.limit)),
            limit_s: positive(raw.limit_time),
            policy: raw.policy,
        }
    }
}

impl From<BacklogQuota> for RawQuota {
    fn from(quota: BacklogQuota) -> Self {
        let number = |limit: Option<u64>| limit.map_or(-1, |limit| i64::try_from(limit).unwrap_or(i64::MAX));
        let bytes = number(quota.limit_bytes);
        Self { limit: bytes, limit_size: bytes, limit_time: number(quota.limit_s), policy: quota.policy }
    }
}

/// Pulsar's `backlog_quota_map`.
pub type BacklogQuotas = BTreeMap<BacklogQuotaType, BacklogQuota>;

/// A topic's backlog, measured: bytes from the slowest durable subscription on, and the age of its oldest message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    pub bytes: u64,
    pub oldest_age_s: u64,
}

/// What must happen now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BacklogVerdict {
    Within,
    /// Producers wait.
    HoldProducers(BacklogExcess),
    /// Producers get ProducerBlockedQuotaExceededException.
    RefuseProducers(BacklogExcess),
    /// Skip for the subscriptions that are behind until at most this is left.
    Evict {
        down_to_bytes: Option<u64>,
        down_to_age_s: Option<u64>,
    },
}

/// Which limit was passed, for the text of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BacklogExcess {
    Bytes { bytes: u64, limit: u64 },
    Age { age_s: u64, limit_s: u64 },
}

impl std::fmt::Display for BacklogExcess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bytes { bytes, limit } => write!(
                f,
                "the backlog of {bytes} bytes exceeds the backlog quota of {limit} bytes: consume it or raise backlogQuota"
            ),
            Self::Age { age_s, limit_s } => write!(
                f,
                "the oldest unacknowledged message is {age_s} s old, the backlog quota is {limit_s} s: consume it or raise \
                 backlogQuota"
            ),
        }
    }
}

/// Judges a backlog by both quotas. Refusing wins over holding, holding over evicting: a policy that protects messages is
/// not undone by one that drops them.
pub fn check_backlog(by_bytes: &BacklogQuota, by_age: &BacklogQuota, backlog: Backlog) -> BacklogVerdict {
    let bytes_limit = by_bytes.limit_bytes.filter(|limit| backlog.bytes > *limit);
    let age_limit = by_age.limit_s.filter(|limit_s| backlog.oldest_age_s > *limit_s);
    let by_policy = |policy: BacklogPolicy| {
        let bytes = bytes_limit.filter(|_| by_bytes.policy == policy);
        let age = age_limit.filter(|_| by_age.policy == policy);
        bytes
            .map(|limit| BacklogExcess::Bytes { bytes: backlog.bytes, limit })
            .or_else(|| age.map(|limit_s| BacklogExcess::Age { age_s: backlog.oldest_age_s, limit_s }))
    };
    if let Some(excess) = by_policy(BacklogPolicy::ProducerException) {
        return BacklogVerdict::RefuseProducers(excess);
    }
    if let Some(excess) = by_policy(BacklogPolicy::ProducerRequestHold) {
        return BacklogVerdict::HoldProducers(excess);
    }
    if bytes_limit.is_none() && age_limit.is_none() {
        return BacklogVerdict::Within; // I1
    }
    BacklogVerdict::Evict { down_to_bytes: bytes_limit, down_to_age_s: age_limit }
}
