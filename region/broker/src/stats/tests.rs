//! The JSON keys are those of facts/pulsar-admin-rest.md §7, sums add up, rates follow what happened.

use super::{
    ConsumerStats, InternalStats, PartitionedTopicStats, PublisherStats, RateMeter, SubscriptionStats, TopicStats,
    iso_time,
};
use base::Mono;
use std::collections::BTreeMap;
use std::time::Duration;

fn keys<T: serde::Serialize>(value: &T) -> Vec<String> {
    let value = serde_json::to_value(value).unwrap();
    let mut keys: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
    keys.sort();
    keys
}

fn has_keys<T: serde::Serialize>(value: &T, wanted: &str) {
    let keys = keys(value);
    for key in wanted.split(',').map(str::trim) {
        assert!(keys.iter().any(|k| k == key), "{key} is missing in {keys:?}");
    }
}

#[test]
fn topic_stats_have_every_key_that_tools_read() {
    has_keys(
        &TopicStats::default(),
        "msgRateIn, msgThroughputIn, msgRateOut, msgThroughputOut, bytesInCounter, msgInCounter, \
         systemTopicBytesInCounter, bytesOutCounter, msgOutCounter, bytesOutInternalCounter, averageMsgSize, \
         msgChunkPublished, storageSize, backlogSize, backlogQuotaLimitSize, backlogQuotaLimitTime, \
         oldestBacklogMessageAgeSeconds, oldestBacklogMessageSubscriptionName, earliestMsgPublishTimeInBacklogs, \
         offloadedStorageSize, publishRateLimitedTimes, ongoingTxnCount, abortedTxnCount, committedTxnCount, \
         waitingPublishers, publishers, subscriptions, replication, deduplicationStatus, \
         nonContiguousDeletedMessagesRanges, nonContiguousDeletedMessagesRangesSerializedSize, \
         delayedMessageIndexSizeInBytes, compaction, ownerBroker, topicEpoch, topicCreationTimeStamp, \
         lastPublishTimeStamp",
    );
    assert_eq!(serde_json::to_value(TopicStats::default()).unwrap()["publishers"], serde_json::json!([]));
}

#[test]
fn producer_subscription_and_consumer_stats_have_every_key_that_tools_read() {
    has_keys(
        &PublisherStats::default(),
        "accessMode, msgRateIn, msgThroughputIn, averageMsgSize, chunkedMessageRate, producerId, \
         supportsPartialProducer, producerName, address, connectedSince, clientVersion, metadata",
    );
    has_keys(
        &SubscriptionStats::default(),
        "msgRateOut, msgThroughputOut, bytesOutCounter, msgOutCounter, msgRateRedeliver, messageAckRate, \
         chunkedMessageRate, msgBacklog, backlogSize, earliestMsgPublishTimeInBacklog, msgBacklogNoDelayed, \
         blockedSubscriptionOnUnackedMsgs, msgDelayed, msgInReplay, unackedMessages, type, activeConsumerName, \
         msgRateExpired, totalMsgExpired, lastExpireTimestamp, lastConsumedFlowTimestamp, lastConsumedTimestamp, \
         lastAckedTimestamp, lastMarkDeleteAdvancedTimestamp, consumers, isDurable, isReplicated, \
         allowOutOfOrderDelivery, keySharedMode, consumersAfterMarkDeletePosition, drainingHashesCount, \
         drainingHashesClearedTotal, drainingHashesUnackedMessages, nonContiguousDeletedMessagesRanges, \
         nonContiguousDeletedMessagesRangesSerializedSize, delayedMessageIndexSizeInBytes, subscriptionProperties, \
         filterProcessedMsgCount, filterAcceptedMsgCount, filterRejectedMsgCount, filterRescheduledMsgCount, durable, \
         replicated",
    );
    let consumer = ConsumerStats { key_hash_ranges: Some(vec!["[0, 65535]".into()]), ..ConsumerStats::default() };
    has_keys(
        &consumer,
        "msgRateOut, msgThroughputOut, bytesOutCounter, msgOutCounter, msgRateRedeliver, messageAckRate, \
         chunkedMessageRate, consumerName, availablePermits, unackedMessages, avgMessagesPerEntry, \
         blockedConsumerOnUnackedMsgs, readPositionWhenJoining, address, connectedSince, clientVersion, \
         lastAckedTimestamp, lastConsumedTimestamp, lastConsumedFlowTimestamp, keyHashRanges, drainingHashesCount, \
         metadata",
    );
}

#[test]
fn internal_and_partitioned_stats_have_every_key_that_tools_read() {
    has_keys(
        &InternalStats::default(),
        "entriesAddedCounter, numberOfEntries, totalSize, currentLedgerEntries, currentLedgerSize, \
         lastLedgerCreatedTimestamp, lastLedgerCreationFailureTimestamp, waitingCursorsCount, \
         pendingAddEntriesCount, lastConfirmedEntry, state, ledgers, cursors, schemaLedgers, compactedLedger",
    );
    has_keys(
        &super::CursorInternals::default(),
        "markDeletePosition, readPosition, waitingReadOp, pendingReadOps, messagesConsumedCounter, cursorLedger, \
         cursorLedgerLastEntry, individuallyDeletedMessages, lastLedgerSwitchTimestamp, state, active, \
         numberOfEntriesSinceFirstNotAckedMessage, totalNonContiguousDeletedMessagesRange, \
         subscriptionHavePendingRead, subscriptionHavePendingReplayRead, properties",
    );
    has_keys(&PartitionedTopicStats::default(), "msgRateIn, publishers, metadata, partitions");
}

#[test]
fn stats_survive_a_round_trip_through_json() {
    let mut stats = TopicStats::default();
    stats.traffic.msg_rate_in = 1.5;
    stats.storage.backlog_quota_limit_size = -1;
    stats.topic_epoch = Some(3);
    stats.subscriptions.insert("s".into(), SubscriptionStats { sub_type: Some("Shared".into()), ..Default::default() });
    let text = serde_json::to_string(&stats).unwrap();
    assert_eq!(serde_json::from_str::<TopicStats>(&text).unwrap(), stats);
}

#[test]
fn partitions_add_up_and_members_of_the_same_name_become_one() {
    let part = |rate: f64, created: u64, consumer: &str| {
        let mut stats = TopicStats::default();
        stats.traffic.msg_rate_in = rate;
        stats.traffic.average_msg_size = rate * 10.0;
        stats.topic_creation_time_stamp = created;
        stats.publishers.push(PublisherStats { producer_name: "p".into(), msg_rate_in: rate, ..Default::default() });
        let mut sub = SubscriptionStats::default();
        sub.backlog.msg_backlog = 7;
        sub.consumers.push(ConsumerStats {
            consumer_name: consumer.into(),
            available_permits: 5,
            ..Default::default()
        });
        stats.subscriptions.insert("s".into(), sub);
        stats
    };
    let parts =
        BTreeMap::from([("t-partition-0".into(), part(1.0, 9, "a")), ("t-partition-1".into(), part(3.0, 5, "a"))]);
    let sum = PartitionedTopicStats::add_up(2, parts);
    assert_eq!(sum.metadata.partitions, 2);
    assert_eq!(sum.sum.traffic.msg_rate_in, 4.0);
    assert_eq!(sum.sum.traffic.average_msg_size, (10.0 + 3.0 * 30.0) / 4.0);
    assert_eq!(sum.sum.topic_creation_time_stamp, 5);
    assert_eq!(sum.sum.publishers.len(), 1);
    assert_eq!(sum.sum.publishers[0].msg_rate_in, 4.0);
    let sub = &sum.sum.subscriptions["s"];
    assert_eq!((sub.backlog.msg_backlog, sub.consumers.len(), sub.consumers[0].available_permits), (14, 1, 10));
}

#[test]
fn a_rate_follows_a_steady_stream_and_decays_when_it_stops() {
    let second = |s: u64| Mono::default() + Duration::from_secs(1000 + s);
    let mut meter = RateMeter::new();
    assert_eq!(meter.rate(second(0)), 0.0);
    for s in 0..300 {
        meter.record(second(s), 50);
        if s > 5 {
            assert!((45.0..61.0).contains(&meter.rate(second(s))), "second {s}: {}", meter.rate(second(s)));
        }
    }
    assert!(meter.rate(second(330)) < 30.0);
    assert_eq!(meter.rate(second(500)), 0.0);
    meter.record(second(900), 10);
    assert_eq!(meter.rate(second(905)), 2.0);
}

#[test]
fn times_are_written_as_iso_text() {
    assert_eq!(iso_time(0), "1970-01-01T00:00:00.000Z");
    assert_eq!(iso_time(951_782_400_000), "2000-02-29T00:00:00.000Z");
    assert_eq!(iso_time(1_742_618_779_286), "2025-03-22T04:46:19.286Z");
    assert_eq!(iso_time(4_107_542_399_999), "2100-02-28T23:59:59.999Z");
    assert_eq!(iso_time(13_574_563_200_000), "2400-02-29T00:00:00.000Z");
}
