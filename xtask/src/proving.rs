//! `cargo xtask test`: everything that must hold, from a clean clone with only Rust and Python 3.
//!
//! **What**  Python environment → release binary → unit and property tests → the simulator's campaign → live tests with
//! the official Python client. A failing step does not hide the later ones; what cannot run says what is missing.
//! Live scenarios that need more rights than there are come at the end of the summary.

use crate::metadata::{Metadata, Scope};
use crate::steps::{self, Outcome, Steps};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// What the live tests import, with exact versions.
const REQUIREMENTS: &str = "chaos/live/requirements.txt";
/// The environment of the live tests' clients.
const VENV: &str = ".venv";
/// In the environment: the requirements that were installed completely.
const STAMP: &str = "installed-requirements.txt";
/// In the target folder: the live scenarios that this machine could not run, a line each.
const NOT_RUN: &str = "live-not-run";
/// Seeds of the simulator in each run.
const CAMPAIGN_SEEDS: &str = "2000";
/// Those of them with regions of several nodes are slower, and fewer.
const CAMPAIGN_CLUSTER_SEEDS: &str = "400";
/// The profile of tests, shared with clippy so that little is built twice.
const PROFILE: &str = "ci";
/// All tests but the live ones.
const TESTS: [&str; 6] = ["test", "--profile", PROFILE, "--workspace", "--exclude", "live"];

/// Runs all steps.
///
/// # Errors
/// When cargo cannot describe the workspace; failing steps are the exit code, not errors.
pub(crate) fn run(root: &Path) -> Result<ExitCode> {
    let metadata = Metadata::read(root, Scope::Workspace)?;
    let mut steps = Steps::default();
    let python = steps.run("python environment", || python_environment(root));
    let release = steps.run("release binary", || release_binary(root));
    steps.run("unit and property tests", || steps::execute(steps::cargo(root).args(TESTS).arg("--no-fail-fast")));
    steps.run("simulator campaign", || campaign(root, &metadata));
    let not_run = metadata.target_directory.join(NOT_RUN);
    // What an earlier run left; when it cannot be removed, the list is longer than it should be.
    let _ = std::fs::remove_file(&not_run);
    steps.run("live tests", || live(root, &metadata, &not_run, &[&python, &release]));
    for scenario in std::fs::read_to_string(&not_run).unwrap_or_default().lines() {
        steps.leave_out(scenario);
    }
    Ok(steps.finish())
}

/// Builds the program and measures it.
///
/// # Errors
/// When cargo cannot describe the workspace; a failing step is the exit code, not an error.
pub(crate) fn bench(root: &Path, out: &Path, parts: &[String]) -> Result<ExitCode> {
    script(root, "measurements", |command| {
        command.arg(root.join("chaos/live/python/measure.py")).arg(out).args(parts);
    })
}

/// How long chaos lasts and what it does.
#[derive(clap::Args)]
pub(crate) struct Chaos {
    /// Where report.md, report.json, history.jsonl and the nodes' own files go.
    #[arg(default_value = "target/chaos")]
    out: PathBuf,
    /// How long nodes are hurt.
    #[arg(long, default_value_t = 30.0)]
    minutes: f64,
    /// Chooses the order of the faults and whom they meet [default: by chance, and printed].
    #[arg(long)]
    seed: Option<u32>,
    /// How often each fault is done, however long it takes; `--minutes` then says nothing.
    #[arg(long)]
    trials: Option<u32>,
    /// Faults by name, such as "kill owner" [default: all].
    faults: Vec<String>,
}

/// Builds the program and hurts a region of it for a stated time.
///
/// # Errors
/// When cargo cannot describe the workspace; a failing step is the exit code, not an error.
pub(crate) fn chaos(root: &Path, wanted: &Chaos) -> Result<ExitCode> {
    script(root, "chaos", |command| {
        let seed = wanted.seed.map_or_else(|| "chance".to_owned(), |seed| seed.to_string());
        command.arg(root.join("chaos/live/python/chaos.py")).arg(&wanted.out);
        command.arg(wanted.minutes.to_string()).arg(seed);
        if let Some(trials) = wanted.trials {
            command.arg("--trials").arg(trials.to_string());
        }
        command.args(&wanted.faults);
    })
}

/// Builds what a script needs and runs it.
fn script(root: &Path, name: &str, arguments: impl FnOnce(&mut Command)) -> Result<ExitCode> {
    let metadata = Metadata::read(root, Scope::Workspace)?;
    let mut steps = Steps::default();
    let python = steps.run("python environment", || python_environment(root));
    let release = steps.run("release binary", || release_binary(root));
    steps.run(name, || {
        if [&python, &release].iter().any(|outcome| **outcome != Outcome::Passed) {
            return Outcome::Missing("a step that it needs has failed".to_owned());
        }
        let mut command = Command::new(venv_python(root));
        arguments(&mut command);
        command.env("MERIDIAN_BIN", binary(&metadata));
        steps::execute(&mut command)
    });
    Ok(steps.finish())
}

fn release_binary(root: &Path) -> Outcome {
    steps::execute(steps::cargo(root).args(["build", "--release", "-p", "meridian"]))
}

fn binary(metadata: &Metadata) -> PathBuf {
    metadata.target_directory.join("release").join("meridian")
}

fn campaign(root: &Path, metadata: &Metadata) -> Outcome {
    if !metadata.own("sim").is_some_and(|sim| sim.has_target("bin", Some("sim"))) {
        return Outcome::Missing("the crate chaos/sim has no binary `sim`".to_owned());
    }
    // The tests have built it. By itself it would be built again, with its crates: they have fewer features without tests.
    let built = steps::execute(steps::cargo(root).args(TESTS).arg("--no-run"));
    if built != Outcome::Passed {
        return built;
    }
    let seeds = ["campaign", "--seeds", CAMPAIGN_SEEDS, "--cluster-seeds", CAMPAIGN_CLUSTER_SEEDS];
    steps::execute(Command::new(metadata.target_directory.join(PROFILE).join("sim")).args(seeds))
}

fn live(root: &Path, metadata: &Metadata, not_run: &Path, needed: &[&Outcome]) -> Outcome {
    if !metadata.own("live").is_some_and(|live| live.has_target("test", None)) {
        return Outcome::Missing("the crate chaos/live has no tests".to_owned());
    }
    if needed.iter().any(|outcome| **outcome != Outcome::Passed) {
        return Outcome::Missing("a step that it needs has failed".to_owned());
    }
    let mut command = steps::cargo(root);
    command.args(["test", "--profile", PROFILE, "-p", "live", "--no-fail-fast"]);
    command.env("MERIDIAN_BIN", binary(metadata)).env("MERIDIAN_PYTHON", venv_python(root));
    command.env("MERIDIAN_NOT_RUN", not_run);
    steps::execute(&mut command)
}

/// Creates the environment when the requirements are not what it holds.
fn python_environment(root: &Path) -> Outcome {
    let wanted = match std::fs::read_to_string(root.join(REQUIREMENTS)) {
        Ok(text) => text,
        Err(error) => return Outcome::Missing(format!("{REQUIREMENTS}: {error}")),
    };
    let venv = root.join(VENV);
    if is_up_to_date(&venv, &wanted) {
        eprintln!("    {VENV} holds {REQUIREMENTS} already");
        return Outcome::Passed;
    }
    let created = steps::execute(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv));
    if created != Outcome::Passed {
        return created;
    }
    let mut pip = Command::new(venv_python(root));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]).arg(root.join(REQUIREMENTS));
    let installed = steps::execute(&mut pip);
    if installed != Outcome::Passed {
        return installed;
    }
    match std::fs::write(venv.join(STAMP), wanted).context("cannot write the stamp") {
        Ok(()) => Outcome::Passed,
        Err(error) => {
            eprintln!("    {error:#}");
            Outcome::Failed(1)
        }
    }
}

/// The stamp is written last, so an interrupted installation is done again.
fn is_up_to_date(venv: &Path, wanted: &str) -> bool {
    let stamp = std::fs::read_to_string(venv.join(STAMP));
    stamp.is_ok_and(|installed| installed == wanted) && venv.join("bin").join("python").exists()
}

fn venv_python(root: &Path) -> PathBuf {
    root.join(VENV).join("bin").join("python")
}
