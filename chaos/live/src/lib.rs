//! Real processes, real faults, real clients: runs the Python scenarios of `chaos/live/python` against the real binary.
//!
//! **What**  Each scenario is a script with the official client that starts servers, breaks them, and exits 0 only when every
//! promise held. One that this machine cannot run says `NOT RUN: ` and why; one that hangs is ended and has failed.
//! `MERIDIAN_BIN` names the binary, `MERIDIAN_PYTHON` a Python that has the client; `cargo xtask test` sets both.

use anyhow::{Context, ensure};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::fs::{File, read_dir, read_to_string};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

/// Names the file that tells `cargo xtask test` which scenarios could not run, a line each.
const NOT_RUN_FILE: &str = "MERIDIAN_NOT_RUN";
/// When it is set, a scenario that cannot run has failed.
const STRICT: &str = "MERIDIAN_LIVE_STRICT";

/// Several times what the longest scenario takes on two busy cores.
const LONGEST: Duration = Duration::from_secs(300);
/// How long an interpreter may take to say where its threads are.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// This much of the end of each server's log is shown of a scenario that failed.
const LOG_LINES: usize = 25;

/// Runs one scenario in a folder of its own; its output and the ends of its servers' logs are shown when it fails.
///
/// # Errors
/// When the environment is not set up, the scenario found a broken promise, or it has not ended within five minutes; under
/// `MERIDIAN_LIVE_STRICT` also when this machine lacks what the scenario needs.
pub fn run(scenario: &str) -> anyhow::Result<()> {
    let python = std::env::var("MERIDIAN_PYTHON")
        .context("MERIDIAN_PYTHON is not set: run the live tests with `cargo xtask test`")?;
    std::env::var("MERIDIAN_BIN").context("MERIDIAN_BIN is not set: run the live tests with `cargo xtask test`")?;
    let scripts = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("python");
    let folder = tempfile::tempdir()?;
    let (out, err) = (folder.path().join("stdout"), folder.path().join("stderr"));
    let mut command = Command::new(python);
    command.args(["-X", "faulthandler"]).arg(scripts.join(scenario)).arg(folder.path());
    command.stdout(File::create(&out)?).stderr(File::create(&err)?).process_group(0);
    let child = command.spawn().with_context(|| format!("cannot run {scenario}"))?;
    let ended = wait(child, LONGEST)?;
    let said = read_to_string(&out)?;
    ensure!(
        ended.is_some_and(|status| status.success()),
        "{scenario} {}\n{said}\n{}\n{}",
        ended.map_or_else(|| format!("did not end within {LONGEST:?}"), |status| format!("failed ({status})")),
        read_to_string(&err)?,
        ends_of_logs(folder.path())
    );
    for why in not_run(&said) {
        ensure!(std::env::var_os(STRICT).is_none(), "{scenario} was not run: {why}");
        note(&format!("{scenario}: {why}\n"))?;
    }
    Ok(())
}

/// Waits for a process group's first process, and kills what is left of the group. `None`: it took too long, and was told to
/// say where it stands.
fn wait(mut child: Child, longest: Duration) -> anyhow::Result<Option<ExitStatus>> {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("a process without a number")?;
    let (sender, ended) = sync_channel(1);
    thread::spawn(move || sender.send(child.wait()));
    let status = ended.recv_timeout(longest).ok();
    if status.is_none() {
        let _ = kill_process(group, Signal::ABORT);
        let _ = ended.recv_timeout(LAST_WORDS);
    }
    // Nothing to kill is as well.
    let _ = kill_process_group(group, Signal::KILL);
    Ok(status.transpose()?)
}

fn ends_of_logs(folder: &Path) -> String {
    let logs = read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path().join("server.log"));
    let read = logs.filter_map(|log| Some((log.display().to_string(), read_to_string(&log).ok()?)));
    read.map(|(log, text)| format!("{log}:\n{}\n", end_of(&text, LOG_LINES))).collect()
}

fn end_of(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
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
    use super::{end_of, not_run, wait};
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    #[test]
    fn what_a_scenario_could_not_do_is_taken_from_its_words() {
        let said = "12 messages\nNOT RUN: needs root\nwas NOT RUN: no line of its own\n";
        assert_eq!(not_run(said).collect::<Vec<_>>(), ["needs root"]);
    }

    #[test]
    fn one_that_hangs_is_killed_with_all_that_it_has_started() -> anyhow::Result<()> {
        let script = "sleep 1000 & echo $!; wait";
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdout(Stdio::piped()).process_group(0);
        let mut child = command.spawn()?;
        let mut said = child.stdout.take();
        assert_eq!(wait(child, Duration::from_millis(200))?, None);
        // The pipe ends when nobody is left that could write into it.
        let mut all = String::new();
        if let Some(said) = said.as_mut() {
            std::io::Read::read_to_string(said, &mut all)?;
        }
        assert!(all.trim().parse::<u32>().is_ok(), "{all}");
        Ok(())
    }

    #[test]
    fn a_log_is_shown_from_its_end() {
        assert_eq!(end_of("a\nb\nc\n", 2), "b\nc");
        assert_eq!(end_of("a\n", 2), "a");
    }
}
