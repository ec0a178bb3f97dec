//! The names of the dashboards, and the format.

use super::render;
use base::TopicName;
use broker::admin_command::BrokerStats;
use broker::stats::{ConsumerStats, ReplicatorStats, SubscriptionStats, TopicStats};
use std::collections::BTreeSet;

/// The core names that mean something here (ux.md §5.4); those left out are listed in docs/operating.md.
const CORE: &str = "topics_count subscriptions_count producers_count consumers_count rate_in rate_out throughput_in \
    throughput_out msg_backlog storage_size storage_backlog_size storage_backlog_quota_limit storage_write_rate \
    storage_read_rate storage_write_latency_le_0_5 storage_write_latency_le_1 storage_write_latency_le_5 \
    storage_write_latency_le_10 storage_write_latency_le_20 storage_write_latency_le_50 storage_write_latency_le_100 \
    storage_write_latency_le_200 storage_write_latency_le_1000 storage_write_latency_overflow \
    storage_write_latency_count entry_size_le_128 entry_size_le_512 entry_size_le_1_kb entry_size_le_2_kb \
    entry_size_le_4_kb entry_size_le_16_kb entry_size_le_100_kb entry_size_le_1_mb entry_size_overflow \
    in_messages_total in_bytes_total out_messages_total out_bytes_total subscription_back_log subscription_delayed \
    subscription_msg_rate_out subscription_msg_rate_redeliver subscription_msg_throughput_out \
    subscription_unacked_messages consumer_msg_rate_redeliver replication_rate_in replication_rate_out \
    replication_throughput_in replication_throughput_out replication_backlog ml_cache_used_size ml_cache_evictions \
    ml_cache_hits_rate ml_cache_hits_throughput ml_cache_misses_rate ml_cache_misses_throughput \
    broker_publish_latency version_info";

fn page() -> String {
    let mut stats = TopicStats::default();
    stats.entries.write_latency = [1, 2, 0, 0, 0, 0, 0, 0, 0, 1];
    stats.entries.size = [4, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut sub = SubscriptionStats::default();
    let consumer = |rate: f64| {
        let mut one = ConsumerStats { consumer_name: "c".into(), ..ConsumerStats::default() };
        one.traffic.msg_rate_redeliver = rate;
        one
    };
    sub.consumers = vec![consumer(1.0), consumer(2.0)];
    stats.subscriptions.insert("s\"1\\".into(), sub);
    stats.replication.insert("west".into(), ReplicatorStats::default());
    let topics: Vec<(TopicName, TopicStats)> = ["a", "b"]
        .map(|name| (TopicName::parse(&format!("persistent://acme/orders/{name}")).unwrap(), stats.clone()))
        .into();
    render("east", "test", &topics, &BrokerStats::default())
}

#[test]
fn every_core_name_with_a_meaning_is_there_and_the_others_are_not() {
    let page = page();
    for name in CORE.split_whitespace() {
        assert!(
            page.contains(&format!("\n# TYPE pulsar_{name} ")) || page.starts_with(&format!("# TYPE pulsar_{name} ")),
            "{name}"
        );
    }
    assert!(!page.contains("offload") && !page.contains("read_latency"), "what does not exist is not shown as 0");
}

#[test]
fn families_have_one_type_their_lines_stand_below_it_and_no_line_comes_twice() {
    let page = page();
    let (mut kinds, mut series) = (BTreeSet::new(), BTreeSet::new());
    let mut family = "";
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            family = rest.split(' ').next().unwrap();
            assert!(kinds.insert(family), "{family} has two TYPE lines");
            continue;
        }
        let (labelled, value) = line.rsplit_once(' ').unwrap();
        let name = labelled.split('{').next().unwrap();
        assert!(
            name == family || [format!("{family}_sum"), format!("{family}_count")].contains(&name.to_owned()),
            "{line}"
        );
        assert!(value.parse::<f64>().is_ok() && labelled.contains("cluster=\"east\""), "{line}");
        assert!(series.insert(labelled), "twice: {line}");
    }
}

#[test]
fn values_stand_under_the_labels_that_dashboards_filter_by() {
    let page = page();
    let topic = "cluster=\"east\",namespace=\"acme/orders\",topic=\"persistent://acme/orders/a\"";
    for line in [
        format!("pulsar_storage_write_latency_le_1{{{topic}}} 2"),
        format!("pulsar_storage_write_latency_count{{{topic}}} 4"),
        format!("pulsar_entry_size_le_128{{{topic}}} 4"),
        format!("pulsar_msg_backlog{{{topic},remote_cluster=\"local\"}} 0"),
        format!("pulsar_replication_backlog{{{topic},remote_cluster=\"west\"}} 0"),
        format!("pulsar_consumer_msg_rate_redeliver{{{topic},subscription=\"s\\\"1\\\\\",consumer_name=\"c\"}} 3"),
    ] {
        assert!(page.lines().any(|own| own == line), "{line}\n{page}");
    }
}
