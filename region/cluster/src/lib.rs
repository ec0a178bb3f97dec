//! Which node serves which topic.
