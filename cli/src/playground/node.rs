//! One server of the playground: a real child process of the same program.
//!
//! **States**  stopped → running ⇄ frozen → killed | stopped | crashed → running …
//!
//! **Invariants**
//! - I1  a child holds the reading end of a pipe from us and ends when we do, however we end.

use crate::exit::Failure;
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};

/// Longest start; builds without optimisation on a busy machine included.
const START_MAX: Duration = Duration::from_secs(60);
/// Longest orderly stop.
const STOP_MAX: Duration = Duration::from_secs(12);
/// Longest wait until a signal shows.
const SIGNAL_MAX: Duration = Duration::from_secs(5);

/// How a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum NodeState {
    Running,
    Frozen,
    Killed,
    Stopped,
    /// Ended by itself.
    Crashed,
}

impl NodeState {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Frozen => "frozen",
            Self::Killed => "killed",
            Self::Stopped => "stopped",
            Self::Crashed => "crashed",
        }
    }
}

/// Fixed at the start of the playground.
#[derive(Clone, Debug)]
pub(super) struct NodePlace {
    /// `east-0`.
    pub(super) id: String,
    pub(super) region: String,
    pub(super) number: u8,
    pub(super) pulsar_port: u16,
    pub(super) http_port: u16,
    pub(super) quic_port: u16,
    /// Where the other nodes of its region reach it.
    pub(super) peer_port: u16,
    /// Holds `node.toml`, `data/` and `server.log`.
    pub(super) dir: PathBuf,
}

impl NodePlace {
    pub(super) fn pulsar_url(&self) -> String {
        format!("pulsar://127.0.0.1:{}", self.pulsar_port)
    }

    pub(super) fn http_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.http_port)
    }
}

/// What others see of a node without waiting for it.
pub(super) type Shown = Arc<Mutex<(NodeState, Option<u32>)>>;

/// A node and its process.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) place: NodePlace,
    shown: Shown,
    process: Option<(Child, ChildStdin)>,
}

impl Node {
    pub(super) fn new(place: NodePlace) -> Self {
        Self { place, shown: Arc::new(Mutex::new((NodeState::Stopped, None))), process: None }
    }

    pub(super) fn shown(&self) -> Shown {
        Arc::clone(&self.shown)
    }

    fn show(&self, state: NodeState, pid: Option<u32>) {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = (state, pid);
    }

    pub(super) fn state(&self) -> NodeState {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// Notices a process that ended by itself.
    pub(super) fn refresh(&mut self) {
        if let Some((child, _)) = &mut self.process
            && let Ok(Some(status)) = child.try_wait()
        {
            tracing::error!("{} ended by itself: {status}; its log is {}", self.place.id, self.log().display());
            self.process = None;
            self.show(NodeState::Crashed, None);
        }
    }

    fn log(&self) -> PathBuf {
        self.place.dir.join("server.log")
    }

    /// Starts the process and waits until it answers.
    ///
    /// # Errors
    /// When it is running already, or does not get ready; the end of its log is in the reason.
    pub(super) async fn start(&mut self) -> Result<(), Failure> {
        self.refresh();
        if self.process.is_some() {
            return Err(self.wrong_state("start"));
        }
        let program = std::env::current_exe().map_err(|error| Failure::io("cannot find this program's file", error))?;
        let log = std::fs::File::options().create(true).append(true).open(self.log());
        let log = log.map_err(|error| Failure::io(format!("cannot write {}", self.log().display()), error))?;
        let mut command = Command::new(program);
        command.arg("server").arg("--config").arg(self.place.dir.join("node.toml")).arg("--stop-with-stdin");
        // The playground's own settings must win over the user's environment.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("MERIDIAN_")) {
            command.env_remove(name);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        // A group of its own: Ctrl-C reaches the parent, which stops the children in order.
        command.process_group(0).kill_on_drop(true);
        let mut child =
            command.spawn().map_err(|error| Failure::io(format!("cannot start {}", self.place.id), error))?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Failure::io(format!("cannot start {}", self.place.id), "no pipe to the process"));
        };
        let mut lines = BufReader::new(stdout).lines();
        let ready = async {
            while let Ok(Some(line)) = lines.next_line().await {
                if line.starts_with("ready ") {
                    return true;
                }
            }
            false
        };
        if tokio::time::timeout(START_MAX, ready).await != Ok(true) {
            // Dropping the child kills it.
            return Err(Failure::io(format!("{} did not get ready", self.place.id), self.last_words()));
        }
        self.show(NodeState::Running, child.id());
        self.process = Some((child, stdin)); // I1
        Ok(())
    }

    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        let words = log.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
        format!("{words} (see {})", self.log().display())
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// When there is no process.
    pub(super) async fn kill(&mut self) -> Result<(), Failure> {
        self.end(Signal::KILL, NodeState::Killed, "kill", SIGNAL_MAX).await
    }

    /// SIGTERM, after a frozen process is thawed; SIGKILL when it takes too long.
    ///
    /// # Errors
    /// When there is no process.
    pub(super) async fn stop(&mut self) -> Result<(), Failure> {
        if self.state() == NodeState::Frozen {
            self.thaw().await?;
        }
        self.end(Signal::TERM, NodeState::Stopped, "stop", STOP_MAX).await
    }

    async fn end(&mut self, signal: Signal, then: NodeState, word: &str, longest: Duration) -> Result<(), Failure> {
        self.refresh();
        self.signal(signal, word)?;
        let Some((mut child, stdin)) = self.process.take() else { return Err(self.wrong_state(word)) };
        if tokio::time::timeout(longest, child.wait()).await.is_err() {
            tracing::warn!("{} did not end within {} s and is killed", self.place.id, longest.as_secs());
            // It is waited for: an error means that it just ended.
            let _ = child.kill().await;
        }
        drop(stdin);
        self.show(then, None);
        Ok(())
    }

    /// SIGSTOP.
    ///
    /// # Errors
    /// When it does not run.
    pub(super) async fn freeze(&mut self) -> Result<(), Failure> {
        self.refresh();
        if self.state() != NodeState::Running {
            return Err(self.wrong_state("freeze"));
        }
        self.signal(Signal::STOP, "freeze")?;
        self.until_stopped().await
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// When it is not frozen.
    pub(super) async fn thaw(&mut self) -> Result<(), Failure> {
        self.refresh();
        if self.state() != NodeState::Frozen {
            return Err(self.wrong_state("thaw"));
        }
        self.signal(Signal::CONT, "thaw")?;
        self.show(NodeState::Running, self.pid());
        Ok(())
    }

    /// A stop takes effect thread by thread: the kernel's word for it is what counts.
    async fn until_stopped(&mut self) -> Result<(), Failure> {
        let pid = self.pid();
        let file = format!("/proc/{}/stat", pid.unwrap_or(0));
        let stopped = async {
            loop {
                let stat = std::fs::read_to_string(&file).unwrap_or_default();
                if stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T')) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        if tokio::time::timeout(SIGNAL_MAX, stopped).await.is_err() {
            return Err(Failure::io(format!("{} does not freeze", self.place.id), "the signal has no effect"));
        }
        self.show(NodeState::Frozen, pid);
        Ok(())
    }

    fn pid(&self) -> Option<u32> {
        self.process.as_ref().and_then(|(child, _)| child.id())
    }

    fn signal(&self, signal: Signal, word: &str) -> Result<(), Failure> {
        let pid = self.pid().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| self.wrong_state(word))?;
        kill_process(pid, signal).map_err(|error| Failure::io(format!("cannot {word} {}", self.place.id), error))
    }

    fn wrong_state(&self, word: &str) -> Failure {
        Failure::refused(format!("cannot {word} {}: it is {}", self.place.id, self.state().word()))
    }
}
