//! QUIC with mutual TLS between regions.
