//! What a person sees: where things listen, what to try, and one line that lives.

use super::node::NodeState;
use super::setup::{LOAD_TOPIC, ROLES, token_file};
use super::world::{Status, World};
use crate::term::{self, paint};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The introduction.
pub(super) fn welcome(world: &World, data: &Path, control: SocketAddr, no_load: bool) -> Vec<String> {
    let bold = |text: &str| paint("1", text);
    let mut lines = vec![
        String::new(),
        bold("A world of regions, each a real server process, joined by a link that you may break."),
    ];
    lines.push(String::new());
    for place in world.places() {
        lines.push(format!("  {:<7} {}   {}", bold(&place.id), place.pulsar_url(), place.http_url()));
    }
    lines.push(String::new());
    lines.push("  namespaces  acme/orders     replicated everywhere".to_owned());
    lines.push("              globex/events   at most 100 messages/s".to_owned());
    lines.push("              public/default  for everybody with a token".to_owned());
    for role in ROLES {
        lines.push(format!("  token       {role:<7} {}", token_file(data, role).display()));
    }
    if !no_load {
        lines.push(format!("  load        numbered messages from every region on {LOAD_TOPIC}"));
    }
    lines.push(String::new());
    lines.push(bold("Try, in another terminal:"));
    lines.extend(suggestions(world, data, control));
    lines.push(String::new());
    lines
}

fn suggestions(world: &World, data: &Path, control: SocketAddr) -> Vec<String> {
    let mut lines = Vec::new();
    let token = token_file(data, "acme");
    let port =
        if control.port() == super::CONTROL_PORT { String::new() } else { format!(" --control http://{control}") };
    let places: Vec<_> = world.places().collect();
    if let [first, .., last] = places.as_slice() {
        let consume = format!("meridian consume acme/orders/hello -s me --service-url {}", last.pulsar_url());
        let produce = format!("meridian produce acme/orders/hello -m hi --service-url {}", first.pulsar_url());
        lines.push(format!("  1. {consume} --auth-token {}", token.display()));
        lines.push(format!("     {produce} --auth-token {}", token.display()));
        lines.push(format!(
            "  2. meridian playground cut {0} {1} --both{port}   … wait …   meridian playground heal {0} {1} --both{port}",
            first.region, last.region
        ));
        lines.push(format!(
            "  3. meridian playground kill {0}{port}   … then …   meridian playground start {0}{port}",
            last.id
        ));
    } else if let [only] = places.as_slice() {
        lines.push(format!(
            "  1. meridian produce acme/orders/hello -m hi --service-url {} --auth-token {}",
            only.pulsar_url(),
            token.display()
        ));
        lines.push(format!(
            "  2. meridian playground kill {0}{port}   … then …   meridian playground start {0}{port}",
            only.id
        ));
    }
    lines.push(format!(
        "  Everything at a glance: meridian playground status{port}   (or curl http://{control}/status)"
    ));
    lines
}

/// Keeps the last line of a terminal up to date. Elsewhere it only looks after the children.
pub(super) async fn live(world: Arc<World>) {
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    loop {
        seconds.tick().await;
        let status = world.status();
        if term::is_terminal() {
            term::status_line(&summary(&status));
        }
    }
}

/// One line of at most a terminal's width.
pub(super) fn summary(status: &Status) -> String {
    let node = |id: &str, state: NodeState| match state {
        NodeState::Running => format!("{id} {}", paint("32", "up")),
        NodeState::Frozen => format!("{id} {}", paint("36", "frozen")),
        NodeState::Killed | NodeState::Stopped | NodeState::Crashed => format!("{id} {}", paint("31", state.word())),
    };
    let nodes: Vec<String> = status.nodes.iter().map(|shown| node(&shown.region, shown.state)).collect();
    let links = status.links.iter().map(|link| {
        let lag = if link.settings.cut { paint("31", "cut") } else { paint_lag(link.lag_ms) };
        format!("{}→{} {lag}", link.from, link.to)
    });
    let links: Vec<String> = links.take(4).collect();
    let totals = status.invariants;
    let bad = |count: u64, word: &str| paint(if count == 0 { "32" } else { "1;31" }, &format!("{count} {word}"));
    format!(
        "{} │ {} │ {} out {} in │ {} · {} · {}",
        nodes.join(" "),
        links.join(" "),
        totals.published,
        totals.delivered,
        bad(totals.missing, "missing"),
        bad(totals.duplicated, "twice"),
        bad(totals.reordered, "reordered"),
    )
}

fn paint_lag(lag_ms: u64) -> String {
    let text = if lag_ms < 10_000 { format!("{lag_ms} ms") } else { format!("{} s", lag_ms / 1000) };
    paint(if lag_ms < 1_000 { "32" } else { "33" }, &text)
}

/// The whole status, for `meridian playground status`.
pub(super) fn table(status: &serde_json::Value) -> Vec<String> {
    let text = |value: &serde_json::Value, key: &str| match value.get(key) {
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(serde_json::Value::Null) | None => "-".to_owned(),
        Some(other) => other.to_string(),
    };
    let rows = |key: &str| status.get(key).and_then(|rows| rows.as_array()).cloned().unwrap_or_default();
    let mut lines = Vec::new();
    for node in rows("nodes") {
        let (id, state, pid) = (text(&node, "id"), text(&node, "state"), text(&node, "pid"));
        lines.push(format!("{id:<9} {state:<8} pid {pid:<8} {}  {}", text(&node, "pulsar"), text(&node, "http")));
    }
    for link in rows("links") {
        let cut = if link.get("cut") == Some(&serde_json::Value::Bool(true)) { "cut " } else { "open" };
        lines.push(format!(
            "{:<5} → {:<6} {cut}  delay {} ms  loss {}  rate {} Mbit/s  lag {} ms",
            text(&link, "from"),
            text(&link, "to"),
            text(&link, "delay_ms"),
            text(&link, "loss"),
            text(&link, "rate_mbit"),
            text(&link, "lag_ms"),
        ));
    }
    if let Some(totals) = status.get("invariants") {
        let words = ["published", "delivered", "missing", "duplicated", "reordered", "lag_ms"];
        lines.push(words.map(|word| format!("{word} {}", text(totals, word))).join("  "));
    }
    lines
}
