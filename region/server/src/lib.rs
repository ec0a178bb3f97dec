//! Listeners, threads, config, supervision.
