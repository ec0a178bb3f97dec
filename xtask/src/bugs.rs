//! `cargo xtask bugs`: plants each seeded bug and tells who catches it.
//!
//! **What**  Runs the simulator's hunt, the model and the crates' own worlds. Each prints a line
//! `seeded bug: BUG | ROOM | HOW MUCH IT TOOK | WHAT WAS SEEN` for each bug and room; these become one table with a sum. A bug
//! counts as caught only by a line of this run.
//!
//! **Not here**  The bugs themselves (features `seeded-bugs`) and the checkers.

use crate::steps;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

/// What begins a line about a bug.
const MARK: &str = "seeded bug: ";
/// How a room says that it did not catch a bug.
const MISSED: &str = "not in ";
/// Of a hundred bugs, so many must be caught.
const CAUGHT_PERCENT_MIN: usize = 95;

/// Tests that hunt seeded bugs: package, arguments of `cargo test`, a name in all of their tests' names.
const TESTS: [(&str, &[&str], &str); 4] = [
    ("model", &["--test", "defects"], ""),
    ("ledger", &["--test", "sim"], "every_seeded_bug_is_caught"),
    ("managed", &["--lib"], "every_seeded_bug_is_noticed"),
    ("link", &["--test", "seeded_bugs"], "caught"),
];

/// How long to hunt.
#[derive(clap::Args)]
pub(crate) struct Bugs {
    /// Seeds of whole regions for each bug, three times; ledgers get fifty times as many.
    #[arg(long, default_value_t = 40)]
    seeds: u64,
    /// The profile to build with.
    #[arg(long, default_value = "ci")]
    profile: String,
}

/// Bug → what each room says of it.
#[derive(Default)]
struct Table {
    rows: BTreeMap<String, Vec<[String; 3]>>,
}

impl Table {
    fn read(&mut self, output: &str) {
        for line in output.lines().filter_map(|line| Some(line.split_once(MARK)?.1)) {
            let mut fields = line.splitn(4, " | ").map(|field| field.trim().to_owned());
            let Some(bug) = fields.next() else { continue };
            let told = [(); 3].map(|()| fields.next().unwrap_or_default());
            self.rows.entry(bug).or_default().push(told);
        }
    }

    fn caught(&self) -> usize {
        self.rows.values().filter(|rooms| rooms.iter().any(|[_, took, _]| !took.starts_with(MISSED))).count()
    }

    fn is_good(&self) -> bool {
        100 * self.caught() >= CAUGHT_PERCENT_MIN * self.rows.len() && !self.rows.is_empty()
    }

    fn text(&self) -> String {
        let mut text = "| bug | caught by | for example |\n|---|---|---|\n".to_owned();
        for (bug, rooms) in &self.rows {
            let by: Vec<String> = rooms.iter().map(|[room, took, _]| format!("{room}: {took}")).collect();
            let example = rooms.iter().find(|[_, took, _]| !took.starts_with(MISSED));
            let example = example.map_or("**missed**", |[_, _, what]| what);
            text.push_str(&format!("| {bug} | {} | {} |\n", by.join("; "), example.replace('|', "/")));
        }
        text.push_str(&format!("\n{} of {} seeded bugs caught\n", self.caught(), self.rows.len()));
        text
    }
}

/// Hunts every bug in every room that there is for it.
///
/// # Errors
/// When a command cannot be started; a bug that is missed is the exit code, not an error.
pub(crate) fn run(root: &Path, wanted: &Bugs) -> Result<ExitCode> {
    let mut table = Table::default();
    let profile = ["--profile", wanted.profile.as_str()];
    let mut sim = steps::cargo(root);
    sim.arg("run").args(profile).args(["-p", "sim", "--bin", "sim", "--", "bugs", "--seeds"]);
    table.read(&listen(sim.arg(wanted.seeds.to_string()))?);
    for (package, arguments, test) in TESTS {
        let mut command = steps::cargo(root);
        command.arg("test").args(profile).args(["-p", package]).args(arguments).args(["--", "--nocapture", test]);
        table.read(&listen(&mut command)?);
    }
    print(&table.text())?;
    Ok(if table.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What a command prints; its errors go where ours go.
fn listen(command: &mut Command) -> Result<String> {
    eprintln!("    {command:?}");
    let output = command.stderr(Stdio::inherit()).output().with_context(|| format!("cannot start {command:?}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn print(text: &str) -> Result<()> {
    use std::io::Write;
    std::io::stdout().write_all(text.as_bytes()).context("cannot print")
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn a_bug_is_caught_when_one_room_catches_it_and_missed_when_none_does() {
        let mut table = Table::default();
        table.read(
            "noise\ntest x ... seeded bug: A | regions | not in 40 seeds | \nseeded bug: B | model | 7 states | lost",
        );
        assert_eq!((table.caught(), table.is_good()), (1, false));
        assert!(table.text().contains("| A | regions: not in 40 seeds | **missed** |"));
        table.read("seeded bug: A | clusters | 3 seeds | Lost: one | two");
        assert_eq!((table.caught(), table.is_good()), (2, true));
        assert!(table.text().contains("clusters: 3 seeds | Lost: one / two |"));
    }

    #[test]
    fn no_bugs_at_all_are_no_success() {
        assert!(!Table::default().is_good());
    }
}
