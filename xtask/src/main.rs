//! The developer's tool: test, bench, chaos, bugs, tidy, codegen.
//!
//! **What**  `cargo xtask test` proves a clone from nothing but Rust and Python, `cargo xtask bench` measures it, `cargo xtask tidy` keeps the house in the
//! shape that docs/ARCHITECTURE.md describes, `cargo xtask codegen` writes the protocol module.

mod bugs;
mod codegen;
mod metadata;
mod proving;
mod source;
mod steps;
mod tidy;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Everything a developer of Meridian runs besides cargo itself.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run every test: units and properties, the simulator's campaign, the real program under real clients.
    Test,
    /// Check levels, sizes, module docs, words, duplicate versions, licences and numbered invariants.
    Tidy,
    /// Measure the release build and keep the raw data (takes some minutes; nothing else should run).
    Bench {
        /// Where raw data and summary.json go.
        #[arg(default_value = "target/bench")]
        out: PathBuf,
        /// Parts to measure: start_and_rest latency publish official_client topics recovery geo [default: all].
        parts: Vec<String>,
    },
    /// Hurt a region of three real nodes for a stated time, and write a report with the history.
    Chaos(proving::Chaos),
    /// Plant each seeded bug and tell who catches it (some minutes).
    Bugs(bugs::Bugs),
    /// Generate the Rust code of the Pulsar protocol from wire/proto/pulsar.proto.
    Codegen {
        /// Only compare with the committed code; fail when they differ.
        #[arg(long)]
        check: bool,
    },
}

fn main() -> Result<ExitCode> {
    let root = workspace_root()?;
    match Arguments::parse().task {
        Task::Test => proving::run(&root),
        Task::Bench { out, parts } => proving::bench(&root, &out, &parts),
        Task::Chaos(chaos) => proving::chaos(&root, &chaos),
        Task::Bugs(wanted) => bugs::run(&root, &wanted),
        Task::Tidy => tidy::run(&root),
        Task::Codegen { check } => {
            let mode = if check { codegen::Mode::Check } else { codegen::Mode::Write };
            codegen::run(&root, mode)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The folder of the workspace's Cargo.toml.
fn workspace_root() -> Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(here.parent().context("xtask has no parent folder")?.to_path_buf())
}
