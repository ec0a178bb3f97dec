//! A topic's log as a chain of ledgers, and its durable cursors.
