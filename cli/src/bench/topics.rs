//! How fast topics come into being: producers on topics that do not exist yet.

use super::report::Latencies;
use crate::client::{ClientError, Connection, Incoming, ServiceUrl, producer_command, refusal};
use crate::clock;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::task::JoinSet;
use wire::pulsar::base_command::Command;

/// What to create.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan<'a> {
    pub(super) token: Option<&'a str>,
    /// Topics are named `{prefix}-{n}`.
    pub(super) prefix: &'a str,
    pub(super) count: u64,
    /// At most so many are unanswered.
    pub(super) in_flight: usize,
    /// A durable subscription for each.
    pub(super) subscription: Option<&'a str>,
}

/// What one leg took.
#[derive(Debug)]
pub(super) struct Created {
    pub(super) nodes: usize,
    pub(super) took: Duration,
    pub(super) latencies: Latencies,
}

/// Creates topics, on one connection to each node that serves some of them. Who serves which is asked before the time counts.
///
/// # Errors
/// When one is refused.
pub(super) async fn create(url: &ServiceUrl, plan: &Plan<'_>) -> Result<Created, ClientError> {
    let mut asker = Connection::open(url, plan.token).await?;
    let mut places: BTreeMap<String, (ServiceUrl, Vec<String>)> = BTreeMap::new();
    for number in 0..plan.count {
        let topic = format!("{}-{number}", plan.prefix);
        let server = asker.server_of(&topic).await?;
        places.entry(server.authority()).or_insert_with(|| (server, Vec::new())).1.push(topic);
    }
    let mut connections = Vec::new();
    for (server, topics) in places.into_values() {
        connections.push((Connection::open(&server, plan.token).await?, topics));
    }
    let nodes = connections.len();
    let in_flight = plan.in_flight / nodes.max(1);
    let mut latencies = Latencies::new();
    let start = clock::now();
    let mut under_way = JoinSet::new();
    for (connection, topics) in connections {
        under_way.spawn(create_at(connection, topics, in_flight.max(1), plan.subscription.map(str::to_owned)));
        if in_flight == 0 {
            gather(&mut under_way, &mut latencies).await?; // Fewer than one for each node: one node after the other.
        }
    }
    gather(&mut under_way, &mut latencies).await?;
    Ok(Created { nodes, took: start.elapsed(), latencies })
}

async fn gather(
    under_way: &mut JoinSet<Result<Latencies, ClientError>>,
    latencies: &mut Latencies,
) -> Result<(), ClientError> {
    while let Some(made) = under_way.join_next().await {
        latencies.add(&made.map_err(std::io::Error::from)??);
    }
    Ok(())
}

/// Creates topics that one server serves.
async fn create_at(
    mut connection: Connection,
    topics: Vec<String>,
    in_flight: usize,
    subscription: Option<String>,
) -> Result<Latencies, ClientError> {
    let count = topics.len() as u64;
    let mut numbered = (0..).zip(topics);
    let mut asked = BTreeMap::new();
    let mut latencies = Latencies::new();
    while latencies.count() < count {
        while asked.len() < in_flight
            && let Some((number, topic)) = numbered.next()
        {
            let request_id = connection.next_request();
            asked.insert(request_id, clock::now());
            let mut command = producer_command(number, request_id, &topic, None);
            if let (Some(Command::Producer(producer)), Some(name)) = (&mut command.command, &subscription) {
                producer.initial_subscription_name = Some(name.clone());
            }
            connection.send(&command).await?;
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
    Ok(latencies)
}
