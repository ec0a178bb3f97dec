//! Entering the region at the start of a process: the endpoint, the place, the metadata, the way to the others.

use super::answers::{Answers, nodes};
use super::calls::{ClusterCall, encode};
use super::joining::{self, Place};
use super::passport::Foreign;
use super::pump;
use super::transport::MetaTransport;
use crate::boot::BootError;
use crate::boot::folders::Folders;
use crate::boot::urls::Urls;
use crate::config::ServerConfig;
use base::NodeId;
use meta::{MetaHandle, MetaOptions, Standing, Start};
use meta_api::{MetaRequest, MetaResponse};
use peer::{Hello, PeerConfig, PeerEndpoint, PeerLimits};
use quic::Identity;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tenancy::keys;
use tokio::sync::mpsc;

/// Pause between looks for members and for the metadata.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// Whom the endpoint dials: what the metadata says, and until then what was found.
#[derive(Clone)]
pub(crate) struct Contacts {
    endpoint: Arc<PeerEndpoint>,
    own: NodeId,
    known: Arc<Mutex<BTreeMap<NodeId, String>>>,
}

impl Contacts {
    fn new(endpoint: Arc<PeerEndpoint>, own: NodeId, known: BTreeMap<NodeId, String>) -> Self {
        let contacts = Self { endpoint, own, known: Arc::new(Mutex::new(BTreeMap::new())) };
        known.into_iter().for_each(|(node, address)| contacts.set(node, Some(address)));
        contacts
    }

    /// The address of a node, or that it is gone.
    pub(crate) fn set(&self, node: NodeId, address: Option<String>) {
        if node == self.own {
            return;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = match address {
            Some(address) => known.insert(node, address.clone()) != Some(address),
            None => known.remove(&node).is_some(),
        };
        if changed {
            self.endpoint.set_nodes(known.clone());
        }
    }

    pub(crate) fn own(&self) -> NodeId {
        self.own
    }

    /// A node with another cookie is another disk that claims the number.
    pub(crate) fn expect(&self, node: NodeId, cookie: u64) {
        self.endpoint.expect(node, cookie);
    }

    pub(crate) fn addresses(&self) -> BTreeMap<NodeId, String> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Who this process is in its region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Me {
    pub(crate) node: NodeId,
    pub(crate) incarnation: u64,
    /// Whether there may be others.
    pub(crate) shared: bool,
}

/// What a process holds of its region before its machines start.
pub(crate) struct Entry {
    pub(crate) endpoint: Arc<PeerEndpoint>,
    pub(crate) events: mpsc::Receiver<pump::News>,
    pub(crate) contacts: Contacts,
    pub(crate) place: Place,
    answers: Arc<Answers>,
    hello: Hello,
}

impl Entry {
    /// Opens the endpoint and finds a place, however long it takes.
    ///
    /// # Errors
    /// [`BootError`] when the port is taken, the disk is not this region's, or the configuration can never work.
    pub(crate) async fn find(
        config: &ServerConfig,
        identity: &Identity,
        cookie: u64,
        folders: Folders,
    ) -> Result<Self, BootError> {
        let answers = Arc::new(Answers::new(config.region.clone()));
        let (sender, events) = pump::channel();
        let hello =
            Hello { region: config.region.clone(), node: None, incarnation: 0, cookie, address: config.peer_address() };
        let peers = PeerConfig {
            bind: SocketAddr::new(config.bind, config.node.peer_port),
            region: config.region.clone(),
            identity: identity.clone(),
            encrypt_bulk: config.node.encrypt_entries,
            limits: PeerLimits::standard(),
            hello: hello.clone(),
        };
        let answerer: Arc<dyn peer::Answerer> = answers.clone();
        let endpoint = PeerEndpoint::open(peers, answerer, move |event| pump::take(&sender, event));
        let endpoint = Arc::new(endpoint.map_err(|error| BootError::Storage(error.to_string()))?);
        let place = joining::find_place(config, &endpoint, &answers, cookie, folders).await?;
        // The incarnation that will be taken, as far as this disk can know.
        let before = place.passport.taking.unwrap_or(0).max(place.passport.incarnation);
        let hello = Hello { node: Some(place.node), incarnation: before + 1, cookie: place.passport.cookie, ..hello };
        endpoint.set_hello(hello.clone());
        let mut known = place.passport.members.clone();
        known.extend(place.members.clone());
        let contacts = Contacts::new(Arc::clone(&endpoint), place.node, known);
        Ok(Self { endpoint, events, contacts, place, answers, hello })
    }

    /// How the metadata store is to be opened.
    pub(crate) fn meta_options(&self) -> MetaOptions {
        MetaOptions {
            node: self.place.node,
            start: if self.place.passport.founding { Start::Found } else { Start::Join },
            transport: Some(Arc::new(MetaTransport(Arc::clone(&self.endpoint)))),
        }
    }

    /// Makes the metadata answer: founds it, or waits until this node is a member and a leader is found.
    ///
    /// # Errors
    /// [`BootError`] when it cannot be founded, or this node was removed.
    pub(crate) async fn reach_metadata(&mut self, config: &ServerConfig, meta: &MetaHandle) -> Result<(), BootError> {
        if self.place.passport.founding {
            joining::found(meta, config, &mut self.place).await?;
        }
        self.answers.set_meta(meta.clone());
        let mut said = String::new();
        let known = loop {
            let reason = match self.ask(config, meta).await {
                MetaResponse::Unavailable { reason } => reason,
                _ => match nodes(meta).await {
                    Ok(known) => break known,
                    Err(reason) => reason,
                },
            };
            if said != reason {
                tracing::info!("waiting for the region's metadata: {reason}");
                said = reason;
            }
            if meta.status().standing == Standing::Removed {
                return Err(joining::foreign(Foreign::Removed(self.place.node)));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        };
        let gone = self.contacts.addresses().into_keys().filter(|node| !known.contains_key(node));
        gone.for_each(|node| self.contacts.set(node, None));
        for (node, record) in known {
            self.contacts.set(node, Some(record.peer_address));
            self.contacts.expect(node, record.cookie);
        }
        self.place.passport.members = self.contacts.addresses();
        Ok(())
    }

    /// Takes the next incarnation and says where this process is reached.
    ///
    /// # Errors
    /// [`BootError`] when this disk may not take part.
    pub(crate) async fn take_office(
        &mut self,
        meta: &MetaHandle,
        config: &ServerConfig,
        urls: &Urls,
    ) -> Result<Me, BootError> {
        let record = joining::take_incarnation(meta, &config.data, &mut self.place, |record| {
            record.pulsar_url = urls.pulsar_url();
            record.http_url = urls.http_url();
            record.quic_url = urls.quic_url();
            record.peer_address = config.peer_address();
            record.zone.clone_from(&config.node.zone);
        });
        let record = record.await?;
        let me = Me { node: self.place.node, incarnation: record.incarnation, shared: true };
        if self.hello.incarnation != me.incarnation {
            self.hello.incarnation = me.incarnation;
            self.endpoint.set_hello(self.hello.clone());
        }
        Ok(me)
    }

    /// Asks the metadata for this node's record, and looks for members meanwhile: they may be what the answer waits for.
    async fn ask(&self, config: &ServerConfig, meta: &MetaHandle) -> MetaResponse {
        let mut asked = Box::pin(meta.request(MetaRequest::Get { key: keys::node_key(self.place.node) }));
        loop {
            tokio::select! {
                answer = &mut asked => return answer,
                () = tokio::time::sleep(LOOK_AGAIN) => self.look_for_members(config).await,
            }
        }
    }

    /// Takes note of the nodes that dial this one, which may have joined since it was here last, and asks the configured
    /// addresses who they are: after a start of all nodes nobody else can say it.
    async fn look_for_members(&self, config: &ServerConfig) {
        let callers = self.endpoint.callers();
        callers.iter().for_each(|(node, address)| self.contacts.set(*node, Some(address.clone())));
        let (own, known) = (config.peer_address(), self.contacts.addresses());
        let configured = config.node.founders.iter().chain(&config.node.join);
        for address in configured.filter(|address| **address != own && !known.values().any(|k| k == *address)) {
            let asked = self.endpoint.call_address(address, encode(&ClusterCall::Standing), ANSWER_MAX).await;
            match asked {
                // It says itself where it listens.
                Ok((Hello { node: Some(node), .. }, _)) if callers.contains_key(&node) => (),
                Ok((Hello { node: Some(node), .. }, _)) => self.contacts.set(node, Some(address.clone())),
                Ok((Hello { node: None, .. }, _)) | Err(_) => (),
            }
        }
    }
}
