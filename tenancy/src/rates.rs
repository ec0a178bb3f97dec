//! Rates as policies hold them, and the limiter's [`Rate`] that they turn into.
//!
//! **What**  Pulsar's rate objects: −1 (or 0, or absent) means no limit. A negative number of any size is no limit too.

use crate::lenient;
use serde::{Deserialize, Serialize};

/// What a limiter enforces: at most so much per second; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// Messages per `period_s`; at least 1.
    pub messages: Option<u64>,
    /// Bytes per `period_s`; at least 1.
    pub bytes: Option<u64>,
    /// Seconds over which the two are meant, 1 where 0 is given.
    pub period_s: u32,
}

impl Rate {
    /// No limit.
    pub const NONE: Self = Self { messages: None, bytes: None, period_s: 1 };

    /// `messages` per second; 0 is no limit.
    pub fn messages_per_s(messages: u64) -> Self {
        Self { messages: Some(messages).filter(|count| *count > 0), ..Self::NONE }
    }

    /// `bytes` per second; 0 is no limit.
    pub fn bytes_per_s(bytes: u64) -> Self {
        Self { bytes: Some(bytes).filter(|count| *count > 0), ..Self::NONE }
    }

    /// Whether nothing is limited.
    pub fn is_none(self) -> bool {
        self.messages.is_none() && self.bytes.is_none()
    }
}

fn limit(value: i64) -> Option<u64> {
    u64::try_from(value).ok().filter(|limit| *limit > 0)
}

/// How much producers may publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PublishRate {
    #[serde(deserialize_with = "lenient::number_or_unset")]
    pub publish_throttling_rate_in_msg: i32,
    #[serde(deserialize_with = "lenient::number_or_unset")]
    pub publish_throttling_rate_in_byte: i64,
}

impl Default for PublishRate {
    fn default() -> Self {
        Self { publish_throttling_rate_in_msg: -1, publish_throttling_rate_in_byte: -1 }
    }
}

impl PublishRate {
    pub fn rate(self) -> Rate {
        Rate {
            messages: limit(i64::from(self.publish_throttling_rate_in_msg)),
            bytes: limit(self.publish_throttling_rate_in_byte),
            period_s: 1,
        }
    }
}

/// How much is delivered to consumers or to another region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DispatchRate {
    #[serde(deserialize_with = "lenient::number_or_unset")]
    pub dispatch_throttling_rate_in_msg: i32,
    #[serde(deserialize_with = "lenient::number_or_unset")]
    pub dispatch_throttling_rate_in_byte: i64,
    /// The rate is what the topic takes in plus these numbers.
    #[serde(deserialize_with = "lenient::flag")]
    pub relative_to_publish_rate: bool,
    #[serde(deserialize_with = "lenient::number")]
    pub rate_period_in_second: i32,
}

impl Default for DispatchRate {
    fn default() -> Self {
        Self {
            dispatch_throttling_rate_in_msg: -1,
            dispatch_throttling_rate_in_byte: -1,
            relative_to_publish_rate: false,
            rate_period_in_second: 1,
        }
    }
}

impl DispatchRate {
    /// The absolute part; whoever knows the publish rate adds it where `relative_to_publish_rate` says so.
    pub fn rate(self) -> Rate {
        Rate {
            messages: limit(i64::from(self.dispatch_throttling_rate_in_msg)),
            bytes: limit(self.dispatch_throttling_rate_in_byte),
            period_s: u32::try_from(self.rate_period_in_second).unwrap_or(1).max(1),
        }
    }
}

/// How often one consumer may subscribe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SubscribeRate {
    #[serde(deserialize_with = "lenient::number_or_unset")]
    pub subscribe_throttling_rate_per_consumer: i32,
    #[serde(deserialize_with = "lenient::number")]
    pub rate_period_in_second: i32,
}

impl Default for SubscribeRate {
    fn default() -> Self {
        Self { subscribe_throttling_rate_per_consumer: -1, rate_period_in_second: 30 }
    }
}

impl SubscribeRate {
    /// Counts subscribe commands as messages.
    pub fn rate(self) -> Rate {
        Rate {
            messages: limit(i64::from(self.subscribe_throttling_rate_per_consumer)),
            bytes: None,
            period_s: u32::try_from(self.rate_period_in_second).unwrap_or(30).max(1),
        }
    }
}
