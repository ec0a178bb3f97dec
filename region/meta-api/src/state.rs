//! The pure state machine of the metadata store.
