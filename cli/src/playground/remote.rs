//! The words of `meridian playground`: clients of the control port of a playground that runs.

use super::show;
use super::world::{LinkChange, NodeAction};
use crate::exit::Failure;
use crate::http::{HttpClient, encode};
use crate::term;
use serde::Serialize;

/// What to do to a running playground.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Word {
    /// Show nodes, links and invariants
    Status {
        #[command(flatten)]
        control: Control,
        /// table or json
        #[arg(short, long, default_value = "table")]
        output: String,
    },
    /// Cut a link: nothing passes
    Cut(Link),
    /// Heal a link: not cut, no delay, no loss, no limit
    Heal(Link),
    /// Delay a link by milliseconds
    Delay {
        #[command(flatten)]
        link: Link,
        /// Milliseconds one way
        ms: u64,
    },
    /// Lose a share of the packets
    Loss {
        #[command(flatten)]
        link: Link,
        /// 0.0 to 1.0
        share: f64,
    },
    /// Limit a link to megabits per second; 0 takes the limit away
    Rate {
        #[command(flatten)]
        link: Link,
        /// Megabits per second
        mbit: f64,
    },
    /// SIGKILL a node
    Kill(Node),
    /// Start a node again on its data
    Start(Node),
    /// SIGSTOP a node
    Freeze(Node),
    /// SIGCONT a node
    Thaw(Node),
    /// SIGTERM a node
    Stop(Node),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Control {
    /// Control port of the playground
    #[arg(long = "control", value_name = "URL", default_value = "http://127.0.0.1:7070")]
    url: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Link {
    #[command(flatten)]
    control: Control,
    /// The region that sends
    from: String,
    /// The region that receives
    to: String,
    /// Both directions
    #[arg(long)]
    both: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Node {
    #[command(flatten)]
    control: Control,
    /// east-0, west-0, …
    id: String,
}

/// Sends one word.
pub(super) async fn run(word: Word) -> Result<(), Failure> {
    match word {
        Word::Status { control, output } => status(&control, &output).await,
        Word::Cut(link) => change(&link, "cut", |change| change.cut = Some(true)).await,
        Word::Heal(link) => {
            let heal = |change: &mut LinkChange| {
                (change.cut, change.delay_ms) = (Some(false), Some(0));
                (change.loss, change.rate_mbit) = (Some(0.0), Some(0.0));
            };
            change(&link, "healed", heal).await
        }
        Word::Delay { link, ms } => {
            change(&link, &format!("delayed by {ms} ms"), |change| change.delay_ms = Some(ms)).await
        }
        Word::Loss { link, share } => {
            change(&link, &format!("loses {share}"), |change| change.loss = Some(share)).await
        }
        Word::Rate { link, mbit } => {
            change(&link, &format!("limited to {mbit} Mbit/s"), |change| change.rate_mbit = Some(mbit)).await
        }
        Word::Kill(node) => act(&node, NodeAction::Kill, "killed").await,
        Word::Start(node) => act(&node, NodeAction::Start, "running").await,
        Word::Freeze(node) => act(&node, NodeAction::Freeze, "frozen").await,
        Word::Thaw(node) => act(&node, NodeAction::Thaw, "running").await,
        Word::Stop(node) => act(&node, NodeAction::Stop, "stopped").await,
    }
}

async fn status(control: &Control, output: &str) -> Result<(), Failure> {
    let answer = HttpClient::new(&control.url, None)?.send("GET", "/status", None).await?;
    if !answer.is_success() {
        return Err(Failure::refused(answer.reason()));
    }
    if output == "json" {
        term::say(String::from_utf8_lossy(&answer.body).trim());
    } else {
        show::table(&answer.json()).iter().for_each(|line| term::say(line));
    }
    Ok(())
}

async fn change(link: &Link, done: &str, fill: impl FnOnce(&mut LinkChange)) -> Result<(), Failure> {
    let (from, to, both) = (link.from.clone(), link.to.clone(), link.both);
    let mut change = LinkChange { from, to, both, ..LinkChange::default() };
    fill(&mut change);
    order(&link.control, "/link", &change).await?;
    let arrow = if link.both { "↔" } else { "→" };
    term::say(&format!("{} {arrow} {}: {done}", link.from, link.to));
    Ok(())
}

async fn act(node: &Node, action: NodeAction, done: &str) -> Result<(), Failure> {
    order(&node.control, &format!("/node/{}", encode(&node.id)), &serde_json::json!({ "action": action })).await?;
    term::say(&format!("{}: {done}", node.id));
    Ok(())
}

async fn order(control: &Control, path: &str, body: &impl Serialize) -> Result<(), Failure> {
    let body = serde_json::to_value(body).map_err(Failure::usage)?;
    let answer = HttpClient::new(&control.url, None)?.send("POST", path, Some(&body)).await?;
    if answer.is_success() { Ok(()) } else { Err(Failure::refused(answer.reason())) }
}
