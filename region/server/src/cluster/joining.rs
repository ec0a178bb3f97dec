//! How a process becomes a node of its region: founding, joining, and taking the next incarnation.
//!
//! **States**  no passport → drawn cookie → (founding | asking members) → numbered → incarnation taken
//!
//! **Not here**  Who may found (`founding`), which disk may take part (`passport`).

use super::answers::{Answers, new_node};
use super::calls::{ClusterAnswer, ClusterCall, JoinRequest, decode_answer, encode};
use super::founding::{Asked, Decision, Standing, decide};
use super::passport::{Foreign, Passport};
use crate::boot::BootError;
use crate::config::{ConfigError, ServerConfig};
use base::{NodeId, RegionName};
use bytes::Bytes;
use cluster::NodeRecord;
use meta::MetaHandle;
use meta_api::{Compare, MetaRequest, MetaResponse, Write};
use peer::PeerEndpoint;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use tenancy::keys;

/// The number of the node that founds a region.
const FOUNDER: NodeId = NodeId(1);
/// Pause between rounds of questions.
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// Longest wait for one answer.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// While nothing changes, the log says this often what is waited for.
const SAY_AGAIN: u32 = 50;

/// A place in the region.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) node: NodeId,
    pub(crate) passport: Passport,
    /// Where the members known so far are reached.
    pub(crate) members: BTreeMap<NodeId, String>,
}

/// Says what is waited for, when that changes and now and then.
#[derive(Default)]
struct Waiting {
    said: String,
    rounds: u32,
}

impl Waiting {
    async fn round(&mut self, text: String) {
        if self.said != text || self.rounds.is_multiple_of(SAY_AGAIN) {
            tracing::info!("waiting for the region: {text}");
        }
        self.rounds += 1;
        self.said = text;
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

fn files(error: &std::io::Error) -> BootError {
    BootError::Storage(format!("node.json: {error}"))
}

/// Reads the passport, or gets one. Waits as long as it takes.
///
/// # Errors
/// [`BootError`] when the disk is another region's, or the configuration can never work.
pub(crate) async fn find_place(
    config: &ServerConfig,
    peers: &PeerEndpoint,
    answers: &Answers,
    cookie: u64,
) -> Result<Place, BootError> {
    let loaded = Passport::load(&config.data).map_err(|error| files(&error))?;
    let mut passport = match loaded {
        Some(passport) if passport.region != config.region => {
            return Err(foreign(Foreign::Region { found: passport.region, wanted: config.region.clone() }));
        }
        Some(passport) => passport,
        None => {
            let fresh = Passport::fresh(config.region.clone(), cookie);
            fresh.store(&config.data).map_err(|error| files(&error))?;
            fresh
        }
    };
    if let Some(node) = passport.node {
        answers.set_member();
        return Ok(Place { node, passport, members: BTreeMap::new() });
    }
    let (node, members) = ask_for_place(config, peers, passport.cookie).await?;
    passport.node = Some(node);
    passport.founding = node == FOUNDER;
    passport.store(&config.data).map_err(|error| files(&error))?;
    answers.set_member();
    Ok(Place { node, passport, members })
}

fn foreign(error: Foreign) -> BootError {
    ConfigError::new("node.json", error.to_string()).into()
}

async fn ask_for_place(
    config: &ServerConfig,
    peers: &PeerEndpoint,
    cookie: u64,
) -> Result<(NodeId, BTreeMap<NodeId, String>), BootError> {
    let own = config.peer_address();
    let configured = config.node.founders.iter().chain(&config.node.join);
    let others: Vec<&String> = configured.filter(|address| **address != own).collect();
    let first = config.node.founders.first() == Some(&own);
    let mut waiting = Waiting::default();
    loop {
        let mut asked: Vec<Asked> = Vec::new();
        for address in &others {
            asked.push(((*address).clone(), standing(peers, address).await));
        }
        let text = match decide(&config.region, first, &asked) {
            Decision::Found => return Ok((FOUNDER, BTreeMap::new())),
            Decision::Refuse(text) => return Err(ConfigError::new("[node]", text).into()),
            Decision::Wait(text) => text,
            Decision::Join(address) => {
                let zone = config.node.zone.clone();
                match join(peers, &address, JoinRequest { cookie, peer_address: own.clone(), zone }).await {
                    Ok(place) => return Ok(place),
                    Err(reason) => format!("{address} gives no number: {reason}"),
                }
            }
        };
        waiting.round(text).await;
    }
}

async fn standing(peers: &PeerEndpoint, address: &str) -> Result<(RegionName, Standing), String> {
    let call = encode(&ClusterCall::Standing);
    let (_, answer) = peers.call_address(address, call, ANSWER_MAX).await.map_err(|error| error.to_string())?;
    match decode_answer(&answer)? {
        ClusterAnswer::Standing { region, standing } => Ok((region, standing)),
        ClusterAnswer::Joined { .. } => Err("it answers another question".to_owned()),
    }
}

async fn join(
    peers: &PeerEndpoint,
    address: &str,
    request: JoinRequest,
) -> Result<(NodeId, BTreeMap<NodeId, String>), String> {
    let call = encode(&ClusterCall::Join(request));
    let (_, answer) = peers.call_address(address, call, ANSWER_MAX).await.map_err(|error| error.to_string())?;
    match decode_answer(&answer)? {
        ClusterAnswer::Joined { node, members } => Ok((node, members)),
        ClusterAnswer::Standing { .. } => Err("it answers another question".to_owned()),
    }
}

/// Writes the founder into the metadata that it has just founded.
///
/// # Errors
/// When that fails: nobody else can have written there.
pub(crate) async fn found(meta: &MetaHandle, config: &ServerConfig, place: &mut Place) -> Result<(), BootError> {
    let record = NodeRecord {
        cookie: place.passport.cookie,
        peer_address: config.peer_address(),
        zone: config.node.zone.clone(),
        ..NodeRecord::default()
    };
    let counter = Write::Put { key: keys::NODE_COUNTER.to_owned(), value: Bytes::from(FOUNDER.0.to_string()) };
    let cookie = keys::cookie_key(place.passport.cookie);
    match meta.request(new_node(place.node, cookie, &record, vec![counter])).await {
        // A conflict: an earlier start came so far.
        MetaResponse::Committed { .. } | MetaResponse::Conflict { .. } => (),
        other => return Err(BootError::Storage(format!("the region cannot be founded: {other:?}"))),
    }
    place.passport.founding = false;
    place.passport.store(&config.data).map_err(|error| files(&error))
}

/// Takes the next incarnation and writes down where this process is reached; waits for the metadata as long as it takes.
///
/// # Errors
/// [`BootError`] when this disk may not take part.
pub(crate) async fn take_incarnation(
    meta: &MetaHandle,
    data: &Path,
    place: &mut Place,
    reached: impl Fn(&mut NodeRecord),
) -> Result<NodeRecord, BootError> {
    let key = keys::node_key(place.node);
    let mut waiting = Waiting::default();
    loop {
        let found = match meta.request(MetaRequest::Get { key: key.clone() }).await {
            MetaResponse::Value(found) => found,
            MetaResponse::Unavailable { reason } => {
                waiting.round(reason).await;
                continue;
            }
            other => return Err(BootError::Storage(format!("{key} cannot be read: {other:?}"))),
        };
        let known: Option<(NodeRecord, u64)> =
            found.and_then(|found| Some((NodeRecord::decode(&found.value)?, found.version)));
        let seen = known.as_ref().map(|(record, _)| (record.cookie, record.incarnation));
        let incarnation = place.passport.next_incarnation(place.node, seen).map_err(foreign)?;
        let Some((mut record, version)) = known else { continue };
        place.passport.taking = Some(incarnation);
        place.passport.store(data).map_err(|error| files(&error))?;
        record.incarnation = incarnation;
        record.draining = false;
        reached(&mut record);
        let value = record.encode();
        let compare = vec![Compare::Version { key: key.clone(), version }];
        let request = MetaRequest::Txn { compare, writes: vec![Write::Put { key: key.clone(), value }] };
        match meta.request(request).await {
            MetaResponse::Committed { .. } => {
                place.passport.incarnation = incarnation;
                place.passport.taking = None;
                place.passport.store(data).map_err(|error| files(&error))?;
                return Ok(record);
            }
            MetaResponse::Unavailable { reason } => waiting.round(reason).await,
            // Somebody else wrote the record: a leader's drain, or another process with this disk.
            MetaResponse::Conflict { .. } => (),
            other => return Err(BootError::Storage(format!("{key} cannot be written: {other:?}"))),
        }
    }
}
