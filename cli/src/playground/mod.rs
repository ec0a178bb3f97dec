//! `meridian playground`: regions as real child processes, joined through a relay that delays, drops and cuts.
//!
//! **What**  Makes the files, starts the children and the relays between them, furnishes tenants and namespaces, runs a steady
//! load whose invariants are shown live, and takes orders on a control port and as words on the command line.
//!
//! **Not here**  Assertions about the service: `chaos/live` drives this through the control port.

mod control;
mod data;
mod invariants;
mod load;
mod node;
mod relay;
mod remote;
mod setup;
mod show;
mod world;

use crate::exit::Failure;
use crate::{clock, logging, term};
use data::DataDir;
use node::NodePlace;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use world::World;

/// Regions in the order of their numbers.
const REGIONS: [&str; 4] = ["east", "west", "south", "north"];
/// Without --port-base.
const CONTROL_PORT: u16 = 7070;

/// Flags of `meridian playground` (interface.md §2).
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct PlaygroundArgs {
    #[command(subcommand)]
    word: Option<remote::Word>,
    /// Folder for tokens, logs and data
    #[arg(long, value_name = "DIR", default_value = "./playground")]
    data: PathBuf,
    /// Regions: east, west, south, north
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=4))]
    regions: u8,
    /// Nodes per region: with 3, any one of them may be lost
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=3))]
    nodes: u8,
    /// Port of the control API [default: 7070]
    #[arg(long, value_name = "PORT")]
    control_port: Option<u16>,
    /// Put all ports behind N: for node n of region k pulsar N+100k+10n, http N+30+…, quic N+60+…; control N+90
    #[arg(long, value_name = "N")]
    port_base: Option<u16>,
    /// Do not run the steady load
    #[arg(long)]
    no_load: bool,
    /// Messages per second that the load publishes in every region
    #[arg(long, value_name = "N", default_value_t = 100)]
    load_rate: u32,
    /// Keep the data at the end, and use what an earlier run kept
    #[arg(long)]
    keep: bool,
}

/// Runs a playground until Ctrl-C, or sends a word to one that runs.
pub(crate) fn run(args: PlaygroundArgs) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::io("cannot start threads", error))?;
    if let Some(word) = args.word {
        return runtime.block_on(remote::run(word));
    }
    logging::start();
    let done = runtime.block_on(play(&args));
    runtime.shutdown_timeout(Duration::from_secs(1));
    done
}

/// Where everything listens.
struct Ports {
    pulsar: u16,
    http: u16,
    quic: u16,
    control: u16,
}

impl Ports {
    fn of(args: &PlaygroundArgs) -> Result<Self, Failure> {
        let ports = match args.port_base {
            Some(base) if base > u16::MAX - 500 => {
                return Err(Failure::usage(format!("--port-base {base}: use at most {}", u16::MAX - 500)));
            }
            Some(base) => Self { pulsar: base, http: base + 30, quic: base + 60, control: base + 90 },
            None => Self { pulsar: 6650, http: 8080, quic: 6660, control: CONTROL_PORT },
        };
        Ok(Self { control: args.control_port.unwrap_or(ports.control), ..ports })
    }
}

fn places(args: &PlaygroundArgs, data: &Path, ports: &Ports) -> Vec<NodePlace> {
    let place = |region: &str, k: u8, n: u8| {
        let step = 100 * u16::from(k) + 10 * u16::from(n);
        NodePlace {
            id: format!("{region}-{n}"),
            region: region.to_owned(),
            number: k + 1,
            pulsar_port: ports.pulsar + step,
            http_port: ports.http + step,
            quic_port: ports.quic + step,
            peer_port: ports.pulsar + step + 5,
            dir: data.join(format!("{region}-{n}")),
        }
    };
    let regions = REGIONS.iter().take(usize::from(args.regions)).zip(0..);
    regions.flat_map(|(region, k)| (0..args.nodes).map(move |n| place(region, k, n))).collect()
}

async fn play(args: &PlaygroundArgs) -> Result<(), Failure> {
    let ports = Ports::of(args)?;
    let data = DataDir::take(&args.data, if args.keep { data::Keep::All } else { data::Keep::Nothing })?;
    let places = places(args, data.path(), &ports);
    let tokens = setup::write_files(data.path(), &places)?;
    let listener = TcpListener::bind(("127.0.0.1", ports.control)).await;
    let listener = listener.map_err(|error| {
        Failure::io(format!("cannot listen on 127.0.0.1:{} (is another playground running?)", ports.control), error)
    })?;
    let control = listener.local_addr().map_err(|error| Failure::io("cannot listen", error))?;
    let mut tasks = JoinSet::new();
    let world = Arc::new(World::open(places, clock::wall_ms(), &mut tasks).await?);
    let mut signal = Box::pin(ended()?);
    let started = tokio::select! {
        started = start(&world, &tokens) => started,
        () = &mut signal => Err(Failure::refused("interrupted while starting")),
    };
    if let Err(failure) = started {
        world.stop().await;
        return Err(failure.hint(&format!("logs: {}/*/server.log", data.path().display())));
    }
    if !args.no_load {
        load::start(&world, &tokens.acme, args.load_rate, &mut tasks);
    }
    tasks.spawn(control::serve(listener, Arc::clone(&world)));
    announce(&world, &data, control, args)?;
    tasks.spawn(show::live(Arc::clone(&world)));
    signal.await;
    term::say("\nstopping every region …");
    tasks.abort_all();
    world.stop().await;
    data.end();
    Ok(())
}

async fn start(world: &Arc<World>, tokens: &setup::Tokens) -> Result<(), Failure> {
    world.start().await?;
    setup::furnish(world, tokens).await
}

fn announce(world: &World, data: &DataDir, control: SocketAddr, args: &PlaygroundArgs) -> Result<(), Failure> {
    for line in show::welcome(world, data.path(), control, args.no_load) {
        term::say(&line);
    }
    let regions = world.regions();
    let ready = format!("ready control=http://{control} data={} regions={}", data.path().display(), regions.join(","));
    term::line(&ready).map_err(|error| Failure::io("cannot write to standard output", error))
}

/// Ends with Ctrl-C or SIGTERM.
fn ended() -> Result<impl Future<Output = ()>, Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let failed = |error| Failure::io("cannot wait for signals", error);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => (),
            _ = terminate.recv() => (),
        }
    })
}
