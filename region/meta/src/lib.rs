//! meta-api on openraft with a durable log.
