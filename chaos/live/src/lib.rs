//! Real processes, real faults, real clients: runs the Python scenarios of `chaos/live/python` against the real binary.
//!
//! **What**  Each scenario is a script with the official client that starts servers, breaks them, and exits 0 only when every
//! promise held. `MERIDIAN_BIN` names the binary, `MERIDIAN_PYTHON` a Python that has the client; `cargo xtask test` sets both.

use anyhow::{Context, ensure};
use std::path::PathBuf;
use std::process::Command;

/// Runs one scenario in a folder of its own; its output is shown when it fails.
///
/// # Errors
/// When the environment is not set up, or the scenario found a broken promise.
pub fn run(scenario: &str) -> anyhow::Result<()> {
    let python = std::env::var("MERIDIAN_PYTHON")
        .context("MERIDIAN_PYTHON is not set: run the live tests with `cargo xtask test`")?;
    std::env::var("MERIDIAN_BIN").context("MERIDIAN_BIN is not set: run the live tests with `cargo xtask test`")?;
    let scripts = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("python");
    let folder = tempfile::tempdir()?;
    let output = Command::new(python)
        .arg(scripts.join(scenario))
        .arg(folder.path())
        .output()
        .with_context(|| format!("cannot run {scenario}"))?;
    ensure!(
        output.status.success(),
        "{scenario} failed ({})\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
