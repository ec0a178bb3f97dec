//! How fast topics come into being: producers on topics that do not exist yet.

use super::report::Latencies;
use crate::client::{ClientError, Connection, Incoming, ServiceUrl, producer_command, refusal};
use crate::clock;
use std::collections::BTreeMap;
use std::time::Duration;
use wire::pulsar::base_command::Command;

/// What one leg took.
#[derive(Debug)]
pub(super) struct Created {
    pub(super) in_flight: usize,
    pub(super) took: Duration,
    pub(super) latencies: Latencies,
}

/// Creates `count` topics named `{prefix}-{n}` on one connection, with at most `in_flight` unanswered, each with a durable
/// subscription if one is named.
///
/// # Errors
/// When one is refused.
pub(super) async fn create(
    url: &ServiceUrl,
    token: Option<&str>,
    prefix: &str,
    count: u64,
    in_flight: usize,
    subscription: Option<&str>,
) -> Result<Created, ClientError> {
    let mut connection = Connection::open(url, token).await?;
    let mut asked = BTreeMap::new();
    let mut latencies = Latencies::new();
    let mut next = 0;
    let start = clock::now();
    while latencies.count() < count {
        while next < count && asked.len() < in_flight {
            let request_id = connection.next_request();
            asked.insert(request_id, clock::now());
            let mut command = producer_command(next, request_id, &format!("{prefix}-{next}"), None);
            if let (Some(Command::Producer(producer)), Some(name)) = (&mut command.command, subscription) {
                producer.initial_subscription_name = Some(name.to_owned());
            }
            connection.send(&command).await?;
            next += 1;
        }
        match connection.next().await? {
            Incoming::Other(Command::ProducerSuccess(made)) => {
                if let Some(sent) = asked.remove(&made.request_id) {
                    latencies.record(sent.elapsed());
                }
            }
            Incoming::Other(Command::Error(error)) => return Err(refusal(error.error, error.message)),
            _ => (),
        }
    }
    Ok(Created { in_flight, took: start.elapsed(), latencies })
}
