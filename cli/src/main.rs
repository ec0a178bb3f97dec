//! The `meridian` program: server, playground, admin, produce, consume, bench.
//!
//! **What**  Reads the command line, runs one command, ends with an exit code of interface.md §3. Nothing is started before
//! the command line is understood: `--version` costs no runtime, no thread, no file.
//!
//! **Not here**  What a server does (`server` and below it).

mod admin;
mod bench;
mod client;
mod clock;
mod consume;
mod exit;
mod http;
mod identity;
mod logging;
mod playground;
mod produce;
mod server_cmd;
mod service;
mod template;
mod term;
mod token;

use clap::{Parser, Subcommand};
use exit::Failure;
use std::process::ExitCode;

/// Entries are allocated by one thread and freed by another, at the pace of the disk. The system's allocator gives such memory
/// back and takes it again, page by page and under one lock: a third of the throughput.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Geo-replicated, multi-tenant messaging that speaks the Apache Pulsar protocol.
#[derive(Debug, Parser)]
#[command(name = "meridian", version, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one region on this machine: ready in under a second, data in ./data
    Server(server_cmd::ServerArgs),
    /// Two regions on this machine, a link between them to break, and a load whose invariants are shown live
    Playground(playground::PlaygroundArgs),
    /// Ask and change a region: pulsar-admin's nouns and verbs
    Admin(admin::AdminArgs),
    /// Publish messages
    Produce(produce::ProduceArgs),
    /// Print messages of a topic
    Consume(consume::ConsumeArgs),
    /// Measure a server beside what the disk and the loopback allow
    Bench(bench::BenchArgs),
    /// Make keys and tokens
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Make the certificates that the nodes of a region share
    #[command(subcommand)]
    Identity(identity::IdentityCommand),
    /// Kills a server that stands still; started by `meridian server`
    #[command(name = server::watchdog::SUBCOMMAND, hide = true)]
    Watchdog {
        process: i32,
        /// Milliseconds.
        limit: u64,
    },
    /// Not built yet: geo status|verify|switchover|failover|failback
    #[command(hide = true)]
    Geo(Unbuilt),
    /// Not built yet: explain subscription T S
    #[command(hide = true)]
    Explain(Unbuilt),
    /// Not built yet: trace MESSAGE-ID
    #[command(hide = true)]
    Trace(Unbuilt),
    /// Not built yet: doctor
    #[command(hide = true)]
    Doctor(Unbuilt),
}

/// Takes whatever is said to a command that does not exist yet.
#[derive(Debug, clap::Args)]
struct Unbuilt {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

fn main() -> ExitCode {
    // Wrong usage ends here with code 2 and a hint.
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Server(args) => server_cmd::run(&args),
        Command::Playground(args) => playground::run(args),
        Command::Produce(args) => produce::run(&args),
        Command::Consume(args) => consume::run(&args),
        Command::Bench(args) => bench::run(args),
        Command::Admin(args) => admin::run(args),
        Command::Token(command) => token::run(command),
        Command::Identity(command) => identity::run(command),
        Command::Watchdog { process, limit } => {
            server::watchdog::watch(process, std::time::Duration::from_millis(limit))
                .map_err(|error| Failure::io(format!("cannot watch process {process}"), error))
        }
        Command::Geo(_) => Err(Failure::unbuilt("meridian geo")),
        Command::Explain(_) => Err(Failure::unbuilt("meridian explain")),
        Command::Trace(_) => Err(Failure::unbuilt("meridian trace")),
        Command::Doctor(_) => Err(Failure::unbuilt("meridian doctor")),
    };
    exit::end(done)
}
