//! Lines of a Pulsar `broker.conf`: `key=value`, `#` comments.

/// One setting as it is written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// From 1.
    pub(super) line: usize,
    pub(super) key: String,
    pub(super) value: String,
}

/// The settings of a file in their order. A line without `=` is a key without a value, as in Java's properties files.
pub(super) fn entries(content: &str) -> impl Iterator<Item = Entry> {
    content.lines().enumerate().filter_map(|(index, line)| {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', '!']) {
            return None;
        }
        let (key, value) = line.split_once('=').unwrap_or((line, ""));
        Some(Entry { line: index + 1, key: key.trim().to_owned(), value: value.trim().to_owned() })
    })
}
