//! Ends this process when it stands still while its machine runs: stopped by a signal, held by a debugger.
//!
//! **What**  A process that stands still keeps its connections open, and nobody else can close them: clients wait for it although
//! another node serves their topics. So a thread writes a beat into a pipe, and a child process kills this one when beats fail to
//! come ([`Judge`]); the system then closes the connections, as after any `kill -9`. The child ends when the pipe ends.
//!
//! **Not here**  Machines or groups of processes that stand still as a whole: the child stands still with them, and its judge
//! takes its own pauses into account. Starting the process again: what started it does that.

mod judge;

use crate::ServerConfig;
use crate::clock::Clock;
use judge::{Judge, Verdict};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The subcommand of the program that the child runs, with the number of the process and of milliseconds.
pub const SUBCOMMAND: &str = "watchdog";

/// Beats and looks per limit.
const STEPS: u32 = 10;

/// Starts the child and the thread that beats, for a node that has others beside it and whose configuration gives a limit.
///
/// # Errors
/// When there can be no child or thread.
pub fn guard(config: &ServerConfig) -> io::Result<()> {
    let limit = Duration::from_millis(config.node.watchdog_ms);
    if limit.is_zero() || !config.node.is_of_several() {
        return Ok(());
    }
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(SUBCOMMAND).arg(std::process::id().to_string()).arg(limit.as_millis().to_string());
    // A group of its own: a terminal's Ctrl-C is for the server.
    let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).process_group(0).spawn()?;
    std::thread::Builder::new().name("watchdog".to_owned()).spawn(move || beat(child, limit / STEPS))?;
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "it waits for nothing: to beat in time is all that it does")]
fn beat(mut child: Child, every: Duration) {
    let Some(mut pipe) = child.stdin.take() else { return };
    while pipe.write_all(&[0]).is_ok() {
        std::thread::sleep(every);
    }
    let ended = child.wait();
    tracing::warn!("the watchdog has ended ({ended:?}): if this process is stopped, its clients will wait for it");
}

/// What the child does: returns when the process has ended, by itself or killed here.
///
/// # Errors
/// When the process cannot be watched: it is not known, or may not be signalled.
pub fn watch(process: i32, limit: Duration) -> io::Result<()> {
    let pid = Pid::from_raw(process).ok_or(io::ErrorKind::InvalidInput)?;
    // As long as the pipe is open the process lives, so that its number is nobody else's.
    let process_fd = match pidfd_open(pid, PidfdFlags::empty()) {
        Err(Errno::SRCH) => return Ok(()), // A start that failed at once.
        opened => opened?,
    };
    let clock = Clock::start();
    let mut judge = Judge::new(clock.now().mono, limit);
    let step = limit / STEPS;
    let mut stdin = io::stdin().lock();
    loop {
        let heard = readable(&stdin, step)?;
        if heard && stdin.read(&mut [0; 64])? == 0 {
            return Ok(());
        }
        if judge.look(clock.now().mono, heard) == Verdict::StandsStill {
            let said = "stood still: it is killed, so that its clients find the other nodes";
            // Nobody reads standard error any more: then nobody misses it.
            let _ = writeln!(io::stderr(), "meridian watchdog: process {process} {said} (limit {limit:?})");
            return Ok(pidfd_send_signal(process_fd, Signal::KILL)?);
        }
    }
}

/// Waits until something can be read, or for so long.
fn readable(pipe: &impl std::os::fd::AsFd, wait: Duration) -> io::Result<bool> {
    let seconds = i64::try_from(wait.as_secs()).unwrap_or(i64::MAX);
    let wait = Timespec { tv_sec: seconds, tv_nsec: i64::from(wait.subsec_nanos()) };
    match poll(&mut [PollFd::new(pipe, PollFlags::IN)], Some(&wait)) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
