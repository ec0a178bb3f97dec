//! Flags that every command with a connection shares.

use crate::client::{ClientError, ServiceUrl};
use crate::exit::Failure;

/// Where the service is and who is asking.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ServiceArgs {
    /// Address of a server
    #[arg(long, value_name = "URL", default_value = "pulsar://127.0.0.1:6650")]
    service_url: String,
    /// File with a token (or token:… for the token itself)
    #[arg(long, value_name = "FILE")]
    auth_token: Option<String>,
}

impl ServiceArgs {
    pub(crate) fn url(&self) -> Result<ServiceUrl, ClientError> {
        ServiceUrl::parse(&self.service_url)
    }

    pub(crate) fn token(&self) -> Result<Option<String>, Failure> {
        self.auth_token.as_deref().map(read_token).transpose()
    }
}

/// Reads a token from a file, or takes it from `token:…`.
pub(crate) fn read_token(source: &str) -> Result<String, Failure> {
    if let Some(token) = source.strip_prefix("token:") {
        return Ok(token.trim().to_owned());
    }
    let path = source.strip_prefix("file://").or_else(|| source.strip_prefix("file:")).unwrap_or(source);
    let token = std::fs::read_to_string(path);
    token.map(|token| token.trim().to_owned()).map_err(|error| Failure::config(format!("--auth-token {path}: {error}")))
}

/// Runs a future on this thread, with timers and sockets.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::io("cannot start a runtime", error))?.block_on(future)
}
