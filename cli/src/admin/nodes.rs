//! `meridian admin cluster status` as a table: one line per node.

use serde_json::Value;

const HEADS: [&str; 8] = ["node", "zone", "state", "start", "metadata", "gateway", "bundles", "clients"];

/// The lines.
pub(super) fn table(status: &Value) -> Vec<String> {
    let nodes = status["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut lines = vec![HEADS.map(str::to_owned)];
    lines.extend(nodes.iter().map(line));
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEADS.len()).map(width).collect();
    let padded = |line: &[String; 8]| {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    lines.iter().map(padded).collect()
}

fn line(node: &Value) -> [String; 8] {
    let text = |key: &str| match &node[key] {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    let is = |key: &str| node[key].as_bool().unwrap_or(false);
    let state = match (is("up"), is("draining")) {
        (true, true) => "draining",
        (true, false) => "up",
        (false, _) => "down",
    };
    let gateway = if is("gateway") { "yes" } else { "-" };
    let (state, gateway) = (state.to_owned(), gateway.to_owned());
    [
        text("id"),
        text("zone"),
        state,
        text("incarnation"),
        text("metadata"),
        gateway,
        text("bundles"),
        text("pulsarUrl"),
    ]
}

#[cfg(test)]
mod tests {
    use super::table;
    use serde_json::json;

    #[test]
    fn each_node_is_a_line_of_aligned_columns() {
        let node = |id: u64, up: bool| {
            json!({ "id": id, "zone": null, "up": up, "draining": false, "incarnation": 12, "metadata": "voter",
                "gateway": false, "bundles": 3, "pulsarUrl": "pulsar://a:1" })
        };
        let lines = table(&json!({ "nodes": [node(1, true), node(10, false)] }));
        assert_eq!(lines[0], "node  zone  state  start  metadata  gateway  bundles  clients");
        assert_eq!(lines[1], "1     -     up     12     voter     -        3        pulsar://a:1");
        assert_eq!(lines[2], "10    -     down   12     voter     -        3        pulsar://a:1");
    }
}
