//! Real processes, real faults, real clients: runs the Python scenarios of `chaos/live/python` against the real binary.
//!
//! **What**  Each scenario is a script with the official client that starts servers, breaks them, and exits 0 only when every
//! promise held. One that this machine cannot run says `NOT RUN: ` and why. `MERIDIAN_BIN` names the binary, `MERIDIAN_PYTHON` a Python that has the client; `cargo xtask test` sets both.

use anyhow::{Context, ensure};
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

/// Names the file that tells `cargo xtask test` which scenarios could not run, a line each.
const NOT_RUN_FILE: &str = "MERIDIAN_NOT_RUN";
/// When it is set, a scenario that cannot run has failed.
const STRICT: &str = "MERIDIAN_LIVE_STRICT";

/// Runs one scenario in a folder of its own; its output is shown when it fails.
///
/// # Errors
/// When the environment is not set up, or the scenario found a broken promise; under `MERIDIAN_LIVE_STRICT` also when this
/// machine lacks what the scenario needs.
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
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "{scenario} failed ({})\n{said}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    for why in not_run(&said) {
        ensure!(std::env::var_os(STRICT).is_none(), "{scenario} was not run: {why}");
        note(&format!("{scenario}: {why}\n"))?;
    }
    Ok(())
}

/// What a scenario says that it could not do here, and why.
fn not_run(said: &str) -> impl Iterator<Item = &str> {
    said.lines().filter_map(|line| line.strip_prefix("NOT RUN: "))
}

/// Passes it on past the test harness, which shows nothing of a test that passes.
fn note(line: &str) -> anyhow::Result<()> {
    std::io::stderr().write_all(format!("NOT RUN: {line}").as_bytes())?;
    let Some(path) = std::env::var_os(NOT_RUN_FILE) else { return Ok(()) };
    let mut file = File::options().create(true).append(true).open(&path)?;
    file.write_all(line.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::not_run;

    #[test]
    fn what_a_scenario_could_not_do_is_taken_from_its_words() {
        let said = "12 messages\nNOT RUN: needs root\nwas NOT RUN: no line of its own\n";
        assert_eq!(not_run(said).collect::<Vec<_>>(), ["needs root"]);
    }
}
