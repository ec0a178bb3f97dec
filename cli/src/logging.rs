//! Logs: one line per event on standard error, text for people, JSON for machines, `RUST_LOG` respected.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// openraft complains ten times per second and node of those that do not answer; `peer` says once that they are gone.
const QUIET: &str = "info,openraft=off";

/// Starts logging. A second call changes nothing.
pub(crate) fn start() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(QUIET));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // An error means that somebody else set it up before, which is as good.
    let _ = if std::io::stderr().is_terminal() {
        let colour = std::env::var_os("NO_COLOR").is_none();
        log.with_ansi(colour).with_target(false).try_init()
    } else {
        log.json().flatten_event(true).with_current_span(false).try_init()
    };
}
