//! `meridian server`: one region in this process.

use crate::exit::Failure;
use crate::{logging, term};
use base::RegionName;
use server::config::{ConfigError, Settings};
use server::{Server, ServerConfig};
use std::path::PathBuf;

/// Flags of `meridian server` (interface.md §1). Whatever is not given comes from the environment, then from --config,
/// then from --broker-conf, then from the embedded defaults.
#[derive(Debug, clap::Args)]
#[command(after_help = "Every key of the TOML file is also an environment variable MERIDIAN_SECTION__KEY.\n\n\
Examples:\n  meridian server\n  meridian server --data /var/lib/meridian --region east --config node.toml\n  \
curl http://127.0.0.1:8080/admin/v2/brokers/health")]
pub(crate) struct ServerArgs {
    /// Data folder, created when missing; one process at a time [default: ./data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// TOML file with sections [server], [auth] and [node]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A Pulsar broker.conf or standalone.conf; unknown keys are listed once in the log
    #[arg(long, value_name = "FILE")]
    broker_conf: Option<PathBuf>,
    /// The Pulsar cluster name [default: standalone]
    #[arg(long, value_name = "NAME")]
    region: Option<String>,
    /// 1 to 255, agreed with the other regions, never changed [default: made from the name]
    #[arg(long, value_name = "N")]
    region_number: Option<String>,
    /// Address to listen on; other than loopback needs authentication or --insecure [default: 127.0.0.1]
    #[arg(long, value_name = "ADDR")]
    bind: Option<String>,
    /// Name or address that clients are told [default: the bind address]
    #[arg(long, value_name = "HOST")]
    advertised: Option<String>,
    /// Port for Pulsar clients, 0 = any free one [default: 6650]
    #[arg(long, value_name = "PORT")]
    pulsar_port: Option<String>,
    /// Port for HTTP, 0 = any free one [default: 8080]
    #[arg(long, value_name = "PORT")]
    http_port: Option<String>,
    /// UDP port for other regions, 0 = any free one [default: 6660]
    #[arg(long, value_name = "PORT")]
    quic_port: Option<String>,
    /// Not built yet
    #[arg(long, value_name = "PORT")]
    pulsar_tls_port: Option<String>,
    /// Not built yet
    #[arg(long, value_name = "PORT")]
    https_port: Option<String>,
    /// Not built yet
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// Not built yet
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// Not built yet
    #[arg(long, value_name = "FILE")]
    tls_client_ca: Option<PathBuf>,
    /// Listen beyond loopback although nobody is asked who they are
    #[arg(long)]
    insecure: bool,
    /// End when standard input ends: for parents that must not leave orphans
    #[arg(long, hide = true)]
    stop_with_stdin: bool,
}

/// Runs a server until SIGTERM or SIGINT.
pub(crate) fn run(args: &ServerArgs) -> Result<(), Failure> {
    if let Some(flag) = args.tls_flag() {
        return Err(Failure::unbuilt(flag));
    }
    logging::start();
    let (config, ignored) = args.settings().map_err(Failure::config)?;
    if !ignored.is_empty() {
        tracing::warn!(
            keys = ignored.join(" "),
            "{} keys of --broker-conf mean nothing here and are ignored",
            ignored.len()
        );
    }
    let guarded = server::watchdog::guard(&config);
    guarded
        .map_err(|error| Failure::io("cannot start the watchdog: set [node] watchdog_ms = 0 to do without", error))?;
    let server = Server::start(config).map_err(|error| Failure::with_code(error.exit_code(), error))?;
    let announce = || {
        term::line(&server.ready_line())?;
        if args.stop_with_stdin {
            stop_with_stdin();
        }
        Ok(())
    };
    let waited = server.wait_for_signal(announce);
    waited.map_err(|error| Failure::io("cannot write to standard output or wait for signals", error))?;
    tracing::info!("stopping");
    server.stop();
    tracing::info!("stopped");
    Ok(())
}

fn stop_with_stdin() {
    std::thread::spawn(|| {
        // Whether it ends or fails, the parent is gone.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM);
    });
}

impl ServerArgs {
    fn tls_flag(&self) -> Option<&'static str> {
        let flags = [
            (self.pulsar_tls_port.is_some(), "--pulsar-tls-port"),
            (self.https_port.is_some(), "--https-port"),
            (self.tls_cert.is_some(), "--tls-cert"),
            (self.tls_key.is_some(), "--tls-key"),
            (self.tls_client_ca.is_some(), "--tls-client-ca"),
        ];
        flags.into_iter().find_map(|(given, flag)| given.then_some(flag))
    }

    fn settings(&self) -> Result<(ServerConfig, Vec<String>), ConfigError> {
        let region =
            RegionName::parse("standalone").map_err(|error| ConfigError::new("--region", error.to_string()))?;
        let mut settings = Settings::new(ServerConfig::standalone(PathBuf::from("./data"), region));
        if let Some(path) = &self.broker_conf {
            settings.broker_conf(path)?;
        }
        if let Some(path) = &self.config {
            settings.toml(path)?;
        }
        let variables = std::env::vars_os();
        settings
            .env(variables.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))))?;
        let data = self.data.as_ref().map(|path| path.display().to_string());
        let flags = [
            ("data", &data, "--data"),
            ("region", &self.region, "--region"),
            ("region_number", &self.region_number, "--region-number"),
            ("bind", &self.bind, "--bind"),
            ("advertised", &self.advertised, "--advertised"),
            ("pulsar_port", &self.pulsar_port, "--pulsar-port"),
            ("http_port", &self.http_port, "--http-port"),
            ("quic_port", &self.quic_port, "--quic-port"),
        ];
        for (key, value, flag) in flags {
            if let Some(value) = value {
                settings.set("server", key, value, flag)?;
            }
        }
        if self.insecure {
            settings.set("server", "insecure", "true", "--insecure")?;
        }
        settings.finish()
    }
}
