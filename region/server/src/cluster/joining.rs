//! How a process becomes a node of its region: founding, joining, and taking the next incarnation.
//!
//! **States**  no passport → drawn cookie → (founding | asking members) → numbered → incarnation taken
//!
//! **Not here**  Who may found (`founding`), which disk may take part (`passport`).

use super::answers::{Answers, new_node};
use super::calls::{ClusterAnswer, ClusterCall, JoinRequest, KnownNode, decode_answer, encode};
use super::founding::{Asked, Decision, NoAnswer, Standing, decide};
use super::passport::{Age, Foreign, Passport};
use super::stamps;
use crate::boot::BootError;
use crate::boot::folders::Folders;
use crate::config::{ConfigError, ServerConfig};
use base::{NodeId, RegionName};
use bytes::Bytes;
use cluster::NodeRecord;
use meta::MetaHandle;
use meta_api::{Compare, MetaRequest, MetaResponse, Write};
use peer::{CallError, PeerEndpoint};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tenancy::keys;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// The number of the node that founds a region.
const FOUNDER: NodeId = NodeId(1);
/// Pause between rounds of questions.
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// Longest wait for one answer.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// Longest wait for what the region knows of this node: a region with a leader says it in milliseconds.
const KNOWN_MAX: Duration = Duration::from_secs(1);
/// How long the region may take to see that the last process of this node has ended: an election, silence, a write.
const ENDED_SEEN_MAX: Duration = Duration::from_secs(10);
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
    peers: &Arc<PeerEndpoint>,
    answers: &Answers,
    cookie: u64,
    folders: Folders,
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
        check_known(config, peers, node, &passport).await?;
        return Ok(Place { node, passport, members: BTreeMap::new() });
    }
    let (node, members) = ask_for_place(config, peers, passport.cookie, folders).await?;
    passport.node = Some(node);
    passport.founding = node == FOUNDER;
    passport.store(&config.data).map_err(|error| files(&error))?;
    answers.set_member();
    Ok(Place { node, passport, members })
}

pub(super) fn foreign(error: Foreign) -> BootError {
    ConfigError::new("node.json", error.to_string()).into()
}

async fn ask_for_place(
    config: &ServerConfig,
    peers: &PeerEndpoint,
    cookie: u64,
    folders: Folders,
) -> Result<(NodeId, BTreeMap<NodeId, String>), BootError> {
    let own = config.peer_address();
    let configured = config.node.founders.iter().chain(&config.node.join);
    let mut others: Vec<&String> = configured.filter(|address| **address != own).collect();
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
                folders.foreign_metadata(config)?;
                let zone = config.node.zone.clone();
                match join(peers, &address, JoinRequest { cookie, peer_address: own.clone(), zone }).await {
                    Ok(place) => return Ok(place),
                    Err(silent) => {
                        // It may be cut off from those that could say it: the next round asks another member first.
                        others.sort_by_key(|other| **other == address);
                        format!("{address} gives no number: {}", silent.reason)
                    }
                }
            }
        };
        waiting.round(text).await;
    }
}

/// Asks the other nodes whether this disk may still take part, before it casts a vote. When nobody can say it now, as in a
/// start of all nodes, the metadata says it when the incarnation is taken.
async fn check_known(
    config: &ServerConfig,
    peers: &Arc<PeerEndpoint>,
    node: NodeId,
    passport: &Passport,
) -> Result<(), BootError> {
    let since = Instant::now();
    let mut waiting = Waiting::default();
    loop {
        let Some(known) = ask_all(config, peers, node, passport).await? else { return Ok(()) };
        let age = |known: KnownNode| Age { incarnation: known.incarnation, stamp: known.stamp };
        let seen = known.map(|known| (known.cookie, age(known)));
        let alive = known.is_some_and(|known| known.alive);
        match passport.next_incarnation(node, seen) {
            // The region takes a moment to see that the last process has ended; one that runs makes copies of its disk old.
            Ok(_) | Err(Foreign::OldCopy { .. }) if alive => {
                if since.elapsed() >= ENDED_SEEN_MAX {
                    return Err(foreign(Foreign::Running(node)));
                }
            }
            Ok(_) => return Ok(()),
            Err(why) => return Err(foreign(why)),
        }
        waiting.round(format!("a process counts as alive as node {node}")).await;
    }
}

/// What the first of the other nodes that can say it knows of the number; `None`: none can.
async fn ask_all(
    config: &ServerConfig,
    peers: &Arc<PeerEndpoint>,
    node: NodeId,
    passport: &Passport,
) -> Result<Option<Option<KnownNode>>, BootError> {
    let own = config.peer_address();
    let configured = config.node.founders.iter().chain(&config.node.join);
    let addresses: BTreeSet<&String> = configured.chain(passport.members.values()).filter(|one| **one != own).collect();
    let mut asked = JoinSet::new();
    for address in addresses {
        let (peers, address) = (Arc::clone(peers), address.clone());
        asked.spawn(async move { known(&peers, &address, node).await.map_err(|silent| (address, silent)) });
    }
    let (mut foreign, mut others) = (None, 0_usize);
    while let Some(answer) = asked.join_next().await {
        match answer {
            Ok(Ok(known)) => return Ok(Some(known)),
            Ok(Err((address, silent))) if silent.foreign => foreign = Some((address, silent.reason)),
            Ok(Err(_)) | Err(_) => others += 1,
        }
    }
    match foreign {
        Some((address, reason)) if others == 0 => {
            let text = format!("{address} and this node cannot be of one region: {reason}");
            Err(ConfigError::new("[node] identity", text).into())
        }
        Some(_) | None => Ok(None),
    }
}

async fn known(peers: &PeerEndpoint, address: &str, node: NodeId) -> Result<Option<KnownNode>, NoAnswer> {
    match ask(peers, address, &ClusterCall::Known(node), KNOWN_MAX).await? {
        ClusterAnswer::Known(known) => Ok(known),
        ClusterAnswer::Standing { .. } | ClusterAnswer::Joined { .. } => Err(other_question()),
    }
}

async fn standing(peers: &PeerEndpoint, address: &str) -> Result<(RegionName, Standing), NoAnswer> {
    match ask(peers, address, &ClusterCall::Standing, ANSWER_MAX).await? {
        ClusterAnswer::Standing { region, standing } => Ok((region, standing)),
        ClusterAnswer::Joined { .. } | ClusterAnswer::Known(_) => Err(other_question()),
    }
}

fn other_question() -> NoAnswer {
    "it answers another question".to_owned().into()
}

async fn ask(
    peers: &PeerEndpoint,
    address: &str,
    call: &ClusterCall,
    patience: Duration,
) -> Result<ClusterAnswer, NoAnswer> {
    let answer = peers.call_address(address, encode(call), patience).await;
    let (_, answer) = answer.map_err(|error| NoAnswer {
        foreign: matches!(error, CallError::Unreachable { foreign: true, .. }),
        reason: error.to_string(),
    })?;
    Ok(decode_answer(&answer)?)
}

async fn join(
    peers: &PeerEndpoint,
    address: &str,
    request: JoinRequest,
) -> Result<(NodeId, BTreeMap<NodeId, String>), NoAnswer> {
    match ask(peers, address, &ClusterCall::Join(request), ANSWER_MAX).await? {
        ClusterAnswer::Joined { node, members } => Ok((node, members)),
        ClusterAnswer::Standing { .. } | ClusterAnswer::Known(_) => Err(other_question()),
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
        let stamp = match stamps::held(meta, place.node).await {
            MetaResponse::Value(stamp) => stamp.map_or(0, |stamp| stamps::read(&stamp)),
            MetaResponse::Unavailable { reason } => {
                waiting.round(reason).await;
                continue;
            }
            other => return Err(BootError::Storage(format!("the stamp cannot be read: {other:?}"))),
        };
        let age = |record: &NodeRecord| Age { incarnation: record.incarnation, stamp };
        let seen = known.as_ref().map(|(record, _)| (record.cookie, age(record)));
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
