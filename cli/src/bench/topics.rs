//! How fast topics come into being: producers on topics that do not exist yet.

use super::report::Latencies;
use crate::client::{ClientError, Connection, Incoming, ServiceUrl, producer_command, refusal};
use crate::clock;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::task::JoinSet;
use wire::pulsar::ServerError;
use wire::pulsar::base_command::Command;

/// How often topics are looked up again because they moved; each round follows from a move of a bundle.
const ROUNDS_MAX: u32 = 100;

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

/// Creates topics, on one connection to each node that serves some of them. Who serves which is asked before the time counts;
/// of topics that move meanwhile it is asked again, while it does.
///
/// # Errors
/// When one is refused, or moves again and again.
pub(super) async fn create(url: &ServiceUrl, plan: &Plan<'_>) -> Result<Created, ClientError> {
    let mut asker = Connection::open(url, plan.token).await?;
    let topics = (0..plan.count).map(|number| format!("{}-{number}", plan.prefix)).collect();
    let mut places = find(&mut asker, plan, topics).await?;
    let nodes = places.len();
    let mut latencies = Latencies::new();
    let start = clock::now();
    for _ in 0..ROUNDS_MAX {
        let moved = create_round(places, plan, &mut latencies).await?;
        if moved.is_empty() {
            return Ok(Created { nodes, took: start.elapsed(), latencies });
        }
        places = find(&mut asker, plan, moved).await?;
    }
    Err(refusal(
        ServerError::ServiceNotReady.into(),
        format!("topics moved while they were created, {ROUNDS_MAX} times"),
    ))
}

/// A connection to each node that serves some of the topics, with those.
async fn find(
    asker: &mut Connection,
    plan: &Plan<'_>,
    topics: Vec<String>,
) -> Result<Vec<(Connection, Vec<String>)>, ClientError> {
    let mut places: BTreeMap<String, (ServiceUrl, Vec<String>)> = BTreeMap::new();
    for topic in topics {
        let server = asker.server_of(&topic).await?;
        places.entry(server.authority()).or_insert_with(|| (server, Vec::new())).1.push(topic);
    }
    let mut connections = Vec::new();
    for (server, topics) in places.into_values() {
        connections.push((Connection::open(&server, plan.token).await?, topics));
    }
    Ok(connections)
}

/// Creates topics where they were found; those that were not there any more come back.
async fn create_round(
    places: Vec<(Connection, Vec<String>)>,
    plan: &Plan<'_>,
    latencies: &mut Latencies,
) -> Result<Vec<String>, ClientError> {
    let in_flight = plan.in_flight / places.len().max(1);
    let mut moved = Vec::new();
    let mut under_way = JoinSet::new();
    for (connection, topics) in places {
        under_way.spawn(create_at(connection, topics, in_flight.max(1), plan.subscription.map(str::to_owned)));
        if in_flight == 0 {
            gather(&mut under_way, latencies, &mut moved).await?; // Fewer than one for each node: one node after the other.
        }
    }
    gather(&mut under_way, latencies, &mut moved).await?;
    Ok(moved)
}

async fn gather(
    under_way: &mut JoinSet<Result<(Latencies, Vec<String>), ClientError>>,
    latencies: &mut Latencies,
    moved: &mut Vec<String>,
) -> Result<(), ClientError> {
    while let Some(made) = under_way.join_next().await {
        let (made, gone) = made.map_err(std::io::Error::from)??;
        latencies.add(&made);
        moved.extend(gone);
    }
    Ok(())
}

/// Creates topics that one server serves; those that it serves no longer come back.
async fn create_at(
    mut connection: Connection,
    topics: Vec<String>,
    in_flight: usize,
    subscription: Option<String>,
) -> Result<(Latencies, Vec<String>), ClientError> {
    let count = topics.len() as u64;
    let mut numbered = (0..).zip(topics);
    let (mut asked, mut moved) = (BTreeMap::new(), Vec::new());
    let mut latencies = Latencies::new();
    while latencies.count() + (moved.len() as u64) < count {
        while asked.len() < in_flight
            && let Some((number, topic)) = numbered.next()
        {
            let request_id = connection.next_request();
            let mut command = producer_command(number, request_id, &topic, None);
            if let (Some(Command::Producer(producer)), Some(name)) = (&mut command.command, &subscription) {
                producer.initial_subscription_name = Some(name.clone());
            }
            asked.insert(request_id, (clock::now(), topic));
            connection.send(&command).await?;
        }
        match connection.next().await? {
            Incoming::Other(Command::ProducerSuccess(made)) => {
                if let Some((sent, _)) = asked.remove(&made.request_id) {
                    latencies.record(sent.elapsed());
                }
            }
            Incoming::Other(Command::Error(error)) if error.error == i32::from(ServerError::ServiceNotReady) => {
                moved.extend(asked.remove(&error.request_id).map(|(_, topic)| topic));
            }
            Incoming::Other(Command::Error(error)) => return Err(refusal(error.error, error.message)),
            _ => (),
        }
    }
    Ok((latencies, moved))
}
