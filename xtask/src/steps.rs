//! Runs named steps one after another, times them, and remembers the first that failed.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Exit code 0.
    Passed,
    /// Another exit code; 1 stands for a signal or a program that could not start.
    Failed(u8),
    /// Something that the step needs does not exist: said aloud, never skipped in silence.
    Missing(String),
}

/// The steps that have run.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    done: Vec<(String, Outcome, Duration)>,
    /// Parts of steps that this machine could not run.
    left_out: Vec<String>,
}

impl Steps {
    /// Runs one step; its words and its commands' output go where they come from.
    pub(crate) fn run(&mut self, name: &str, work: impl FnOnce() -> Outcome) -> Outcome {
        eprintln!("\n==> {name}");
        let started = now();
        let outcome = work();
        let took = now().duration_since(started);
        eprintln!("<== {}", line(name, &outcome, took));
        self.done.push((name.to_owned(), outcome.clone(), took));
        outcome
    }

    /// The exit code of the first step that failed or could not run, 0 when all passed.
    pub(crate) fn first_failure(&self) -> u8 {
        self.done
            .iter()
            .find_map(|(_, outcome, _)| match outcome {
                Outcome::Passed => None,
                Outcome::Failed(code) => Some(*code),
                Outcome::Missing(_) => Some(1),
            })
            .unwrap_or(0)
    }

    /// Part of a step could not run on this machine, `what` says which and why: said at the very end, and no failure.
    pub(crate) fn leave_out(&mut self, what: &str) {
        self.left_out.push(what.to_owned());
    }

    /// Prints all steps once more and what was left out of them, and gives the exit code.
    pub(crate) fn finish(self) -> ExitCode {
        eprintln!("\n==> summary");
        for (name, outcome, took) in &self.done {
            eprintln!("    {}", line(name, outcome, *took));
        }
        for what in &self.left_out {
            eprintln!("    NOT RUN             {what}");
        }
        ExitCode::from(self.first_failure())
    }
}

/// A step in one line.
fn line(name: &str, outcome: &Outcome, took: Duration) -> String {
    let seconds = took.as_secs_f64();
    match outcome {
        Outcome::Passed => format!("passed   {seconds:7.1} s  {name}"),
        Outcome::Failed(code) => format!("FAILED   {seconds:7.1} s  {name} (exit code {code})"),
        Outcome::Missing(what) => format!("NOT RUN  {seconds:7.1} s  {name}: {what}"),
    }
}

/// Runs a command to its end, with its output on ours.
pub(crate) fn execute(command: &mut Command) -> Outcome {
    eprintln!("    {command:?}");
    match command.status() {
        Ok(status) if status.success() => Outcome::Passed,
        Ok(status) => Outcome::Failed(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)),
        Err(error) => {
            eprintln!("    cannot start {}: {error}", command.get_program().to_string_lossy());
            Outcome::Failed(1)
        }
    }
}

/// Cargo, in the workspace, without what the cargo that started us has told us about xtask: build scripts would take
/// those variables for a change and run again.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(is_about_xtask) {
            command.env_remove(name);
        }
    }
    command
}

/// Whether cargo set this variable to describe the running package.
fn is_about_xtask(variable: &str) -> bool {
    const PREFIXES: [&str; 4] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"];
    variable == "OUT_DIR" || variable == "CARGO_PRIMARY_PACKAGE" || PREFIXES.iter().any(|p| variable.starts_with(p))
}

#[expect(clippy::disallowed_methods, reason = "xtask tells a person how long a step took")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::{Outcome, Steps, execute, is_about_xtask};
    use std::process::Command;

    #[test]
    fn the_exit_code_is_that_of_the_first_failure_and_later_steps_still_run() {
        let mut steps = Steps::default();
        steps.run("one", || Outcome::Passed);
        steps.run("two", || Outcome::Failed(101));
        steps.run("three", || Outcome::Failed(7));
        assert_eq!(steps.done.len(), 3);
        assert_eq!(steps.first_failure(), 101);
    }

    #[test]
    fn a_step_that_cannot_run_fails() {
        let mut steps = Steps::default();
        let outcome = steps.run("campaign", || Outcome::Missing("no binary".to_owned()));
        assert_eq!(outcome, Outcome::Missing("no binary".to_owned()));
        assert_eq!(steps.first_failure(), 1);
    }

    #[test]
    fn what_a_machine_cannot_run_of_a_step_is_no_failure() {
        let mut steps = Steps::default();
        steps.run("live tests", || Outcome::Passed);
        steps.leave_out("power_cut.py: needs root");
        assert_eq!((steps.left_out.len(), steps.first_failure()), (1, 0));
    }

    #[test]
    fn a_program_that_does_not_exist_fails_its_step() {
        assert_eq!(execute(&mut Command::new("/nonexistent/meridian")), Outcome::Failed(1));
    }

    #[test]
    fn the_users_cargo_settings_are_kept() {
        assert!(is_about_xtask("CARGO_PKG_VERSION"));
        assert!(!is_about_xtask("CARGO_TARGET_DIR"));
        assert!(!is_about_xtask("CARGO_HOME"));
    }
}
