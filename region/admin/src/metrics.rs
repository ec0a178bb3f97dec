//! Numbers for Prometheus, under the names that Pulsar's dashboards read (ux.md §5.4).
//!
//! **What**  [`render`] turns stats into the text format 0.0.4. A family's lines stand together under its one TYPE line.
//!
//! **Not here**  Counting (`broker`), serving (`probes`).

mod entries;
#[cfg(test)]
mod tests;

use base::TopicName;
use broker::admin_command::BrokerStats;
use broker::stats::TopicStats;
use std::collections::BTreeMap;
use std::fmt::Write;

pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Families in order of their names, each with its kind and its lines.
#[derive(Default)]
struct Families {
    by_name: BTreeMap<&'static str, Family>,
}

struct Family {
    kind: &'static str,
    lines: String,
}

/// `key="value"` pairs.
type Labels<'a> = &'a [(&'a str, &'a str)];

impl Families {
    /// One line; `suffix` is what a summary adds to its family's name.
    fn sample(&mut self, name: &'static str, kind: &'static str, suffix: &str, labels: Labels<'_>, value: f64) {
        let family = self.by_name.entry(name).or_insert_with(|| Family { kind, lines: String::new() });
        family.lines.push_str(name);
        family.lines.push_str(suffix);
        for (index, (key, text)) in labels.iter().enumerate() {
            family.lines.push(if index == 0 { '{' } else { ',' });
            family.lines.push_str(key);
            family.lines.push_str("=\"");
            escape(text, &mut family.lines);
            family.lines.push('"');
        }
        if !labels.is_empty() {
            family.lines.push('}');
        }
        // Writing to a String cannot fail.
        let _ = writeln!(family.lines, " {value}");
    }

    fn gauge(&mut self, name: &'static str, labels: Labels<'_>, value: f64) {
        self.sample(name, "gauge", "", labels, value);
    }

    fn counter(&mut self, name: &'static str, labels: Labels<'_>, value: f64) {
        self.sample(name, "counter", "", labels, value);
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (name, family) in &self.by_name {
            let _ = writeln!(text, "# TYPE {name} {}", family.kind);
            text.push_str(&family.lines);
        }
        text
    }
}

fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
}

/// Counters as Prometheus takes them; exact below 2^53.
fn number(count: u64) -> f64 {
    count as f64
}

/// The whole page.
pub(crate) fn render(cluster: &str, version: &str, topics: &[(TopicName, TopicStats)], broker: &BrokerStats) -> String {
    let mut families = Families::default();
    families.gauge("pulsar_version_info", &[("cluster", cluster), ("version", version)], 1.0);
    add_broker(&mut families, cluster, topics, broker);
    for (topic, stats) in topics {
        let (namespace, name) = (topic.namespace().to_string(), topic.to_string());
        let labels = [("cluster", cluster), ("namespace", namespace.as_str()), ("topic", name.as_str())];
        add_topic(&mut families, &labels, stats);
        add_subscriptions(&mut families, &labels, stats);
        add_replication(&mut families, &labels, stats);
    }
    add_lag(&mut families, cluster, topics);
    families.text()
}

fn add_broker(families: &mut Families, cluster: &str, topics: &[(TopicName, TopicStats)], broker: &BrokerStats) {
    let labels = [("cluster", cluster)];
    families.gauge("pulsar_active_connections", &labels, number(broker.connections));
    families.gauge("pulsar_broker_topics_count", &labels, number(broker.topics));
    families.gauge("pulsar_broker_producers_count", &labels, number(broker.producers));
    families.gauge("pulsar_broker_consumers_count", &labels, number(broker.consumers));
    families.gauge("pulsar_broker_subscriptions_count", &labels, number(broker.subscriptions));
    families.gauge("pulsar_ml_cache_used_size", &labels, number(broker.cache_bytes));
    families.gauge("pulsar_ml_cache_hits_rate", &labels, broker.cache.hits_rate);
    families.gauge("pulsar_ml_cache_hits_throughput", &labels, broker.cache.hits_throughput);
    families.gauge("pulsar_ml_cache_misses_rate", &labels, broker.cache.misses_rate);
    families.gauge("pulsar_ml_cache_misses_throughput", &labels, broker.cache.misses_throughput);
    families.gauge("pulsar_ml_cache_evictions", &labels, broker.cache.evictions);
    entries::add_publish_latency(families, cluster, topics.iter().map(|(_, stats)| stats.entries), broker);
    families.gauge("meridian_pending_publish_bytes", &labels, number(broker.pending_publish_bytes));
    add_audit(families, &labels, broker);
    let mut by_namespace: BTreeMap<String, u64> = BTreeMap::new();
    for (topic, _) in topics {
        *by_namespace.entry(topic.namespace().to_string()).or_default() += 1;
    }
    for (namespace, count) in by_namespace {
        families.gauge("pulsar_topics_count", &[("cluster", cluster), ("namespace", &namespace)], number(count));
    }
}

/// BookKeeper's names where it has the number. What lacks copies is told by the node that leads the metadata; it is 0 elsewhere.
fn add_audit(families: &mut Families, labels: Labels<'_>, broker: &BrokerStats) {
    let audit = &broker.audit;
    families.gauge("auditor_NUM_UNDER_REPLICATED_LEDGERS", labels, number(audit.ledgers));
    families.gauge("meridian_under_replicated_entries", labels, number(audit.entries));
    families.gauge("meridian_entries_below_ack_quorum", labels, number(audit.entries_below_ack_quorum));
    families.gauge("meridian_ledgers_in_limbo", labels, number(audit.ledgers_in_limbo));
    families.gauge("meridian_ledgers_unchecked", labels, number(audit.ledgers_unchecked));
    families.gauge("meridian_ledgers_without_copies", labels, number(audit.ledgers_without_copies));
    let ledgers = audit.repaired_ledgers_total;
    families.counter("replication_worker_NUM_FULL_OR_PARTIAL_LEDGERS_REPLICATED", labels, number(ledgers));
    families.counter("replication_worker_NUM_ENTRIES_WRITTEN", labels, number(audit.repaired_entries_total));
    families.counter("replication_worker_NUM_BYTES_WRITTEN", labels, number(audit.repaired_bytes_total));
    families.counter("meridian_failed_repairs_total", labels, number(audit.failed_repairs_total));
}

fn add_topic(families: &mut Families, labels: Labels<'_>, stats: &TopicStats) {
    let (traffic, storage) = (&stats.traffic, &stats.storage);
    let consumers = stats.subscriptions.values().map(|own| own.consumers.len() as u64).sum();
    let backlog = stats.subscriptions.values().map(|own| own.backlog.msg_backlog).sum();
    families.gauge("pulsar_subscriptions_count", labels, number(stats.subscriptions.len() as u64));
    families.gauge("pulsar_producers_count", labels, number(stats.publishers.len() as u64));
    families.gauge("pulsar_consumers_count", labels, number(consumers));
    families.gauge("pulsar_rate_in", labels, traffic.msg_rate_in);
    families.gauge("pulsar_rate_out", labels, traffic.msg_rate_out);
    families.gauge("pulsar_throughput_in", labels, traffic.msg_throughput_in);
    families.gauge("pulsar_throughput_out", labels, traffic.msg_throughput_out);
    // Dashboards tell it from the backlog of links by this label.
    let mut local = labels.to_vec();
    local.push(("remote_cluster", "local"));
    families.gauge("pulsar_msg_backlog", &local, number(backlog));
    families.gauge("pulsar_storage_size", labels, number(storage.storage_size));
    families.gauge("pulsar_storage_backlog_size", labels, number(storage.backlog_size));
    families.gauge("pulsar_storage_backlog_quota_limit", labels, storage.backlog_quota_limit_size as f64);
    families.gauge("pulsar_storage_backlog_quota_limit_time", labels, storage.backlog_quota_limit_time as f64);
    entries::add_entries(families, labels, &stats.entries);
    families.counter("pulsar_in_messages_total", labels, number(traffic.msg_in_counter));
    families.counter("pulsar_in_bytes_total", labels, number(traffic.bytes_in_counter));
    families.counter("pulsar_out_messages_total", labels, number(traffic.msg_out_counter));
    families.counter("pulsar_out_bytes_total", labels, number(traffic.bytes_out_counter));
    families.counter("pulsar_publish_rate_limit_times", labels, number(traffic.publish_rate_limited_times));
}

fn add_subscriptions(families: &mut Families, labels: Labels<'_>, stats: &TopicStats) {
    for (name, own) in &stats.subscriptions {
        let mut with: Vec<(&str, &str)> = labels.to_vec();
        with.push(("subscription", name));
        let (traffic, backlog) = (&own.traffic, &own.backlog);
        families.gauge("pulsar_subscription_back_log", &with, number(backlog.msg_backlog));
        families.gauge("pulsar_subscription_back_log_no_delayed", &with, number(backlog.msg_backlog_no_delayed));
        families.gauge("pulsar_subscription_delayed", &with, number(backlog.msg_delayed));
        families.gauge("pulsar_subscription_unacked_messages", &with, number(backlog.unacked_messages));
        families.gauge("pulsar_subscription_msg_rate_out", &with, traffic.msg_rate_out);
        families.gauge("pulsar_subscription_msg_rate_redeliver", &with, traffic.msg_rate_redeliver);
        families.gauge("pulsar_subscription_msg_throughput_out", &with, traffic.msg_throughput_out);
        families.gauge("pulsar_subscription_consumers_count", &with, number(own.consumers.len() as u64));
        let blocked = if backlog.blocked_subscription_on_unacked_msgs { 1.0 } else { 0.0 };
        families.gauge("pulsar_subscription_blocked_on_unacked_messages", &with, blocked);
        // Consumers of one name become one line: Prometheus refuses two with the same labels.
        let mut redelivered: BTreeMap<&str, f64> = BTreeMap::new();
        for consumer in &own.consumers {
            *redelivered.entry(&consumer.consumer_name).or_default() += consumer.traffic.msg_rate_redeliver;
        }
        for (consumer, rate) in redelivered {
            let mut of_one = with.clone();
            of_one.push(("consumer_name", consumer));
            families.gauge("pulsar_consumer_msg_rate_redeliver", &of_one, rate);
        }
    }
}

fn add_replication(families: &mut Families, labels: Labels<'_>, stats: &TopicStats) {
    for (region, own) in &stats.replication {
        let mut with: Vec<(&str, &str)> = labels.to_vec();
        with.push(("remote_cluster", region));
        families.gauge("pulsar_replication_rate_in", &with, own.msg_rate_in);
        families.gauge("pulsar_replication_rate_out", &with, own.msg_rate_out);
        families.gauge("pulsar_replication_throughput_in", &with, own.msg_throughput_in);
        families.gauge("pulsar_replication_throughput_out", &with, own.msg_throughput_out);
        families.gauge("pulsar_replication_backlog", &with, number(own.replication_backlog));
        families.gauge("pulsar_replication_delay_in_seconds", &with, number(own.replication_delay_in_seconds));
        families.gauge("pulsar_replication_connected_count", &with, if own.connected { 1.0 } else { 0.0 });
    }
}

/// Replication lag of every topic, namespace and tenant: messages add up, of the seconds the worst counts.
fn add_lag(families: &mut Families, cluster: &str, topics: &[(TopicName, TopicStats)]) {
    // (tenant, namespace or nothing, topic or nothing, region) → messages, seconds.
    let mut lags: BTreeMap<(String, String, String, String), (u64, u64)> = BTreeMap::new();
    for (topic, stats) in topics {
        let (tenant, namespace) = (topic.tenant().to_string(), topic.namespace().to_string());
        for (region, own) in &stats.replication {
            let places = [
                (tenant.clone(), String::new(), String::new(), region.clone()),
                (tenant.clone(), namespace.clone(), String::new(), region.clone()),
                (tenant.clone(), namespace.clone(), topic.to_string(), region.clone()),
            ];
            for place in places {
                let lag = lags.entry(place).or_default();
                lag.0 += own.replication_backlog;
                lag.1 = lag.1.max(own.replication_delay_in_seconds);
            }
        }
    }
    for ((tenant, namespace, topic, region), (messages, seconds)) in lags {
        let mut labels = vec![("cluster", cluster), ("tenant", tenant.as_str())];
        if !namespace.is_empty() {
            labels.push(("namespace", namespace.as_str()));
        }
        if !topic.is_empty() {
            labels.push(("topic", topic.as_str()));
        }
        labels.push(("remote_cluster", region.as_str()));
        families.gauge("meridian_replication_lag_messages", &labels, number(messages));
        families.gauge("meridian_replication_lag_seconds", &labels, number(seconds));
    }
}
