//! `meridian identity`: the certificates by which the nodes of a region know each other, and other regions know them.

use crate::exit::Failure;
use crate::term;
use base::RegionName;
use std::path::PathBuf;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum IdentityCommand {
    /// Make a region's certificate authority and certificate
    Create(CreateArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Copy the folder to every node of the region and name it in node.toml:\n  \
[node]\n  identity = \"/etc/meridian/identity\"\n\nWhoever has it can speak as this region.\n\n\
Example:\n  meridian identity create --region east --out ./identity")]
pub(crate) struct CreateArgs {
    /// The region, as in the nodes' configuration
    #[arg(long, value_name = "NAME")]
    region: String,
    /// Folder for the files, created when missing; what is there already is kept
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Runs one command.
pub(crate) fn run(command: IdentityCommand) -> Result<(), Failure> {
    let IdentityCommand::Create(args) = command;
    let region = RegionName::parse(&args.region).map_err(|error| Failure::usage(format!("--region: {error}")))?;
    let folder = args.out.display();
    server::create_identity(&args.out, &region).map_err(|error| Failure::config(format!("{folder}: {error}")))?;
    let told = term::line(&format!("identity of region {region} in {folder}: copy it to every node of the region"));
    told.map_err(|error| Failure::io("cannot write to standard output", error))
}
