//! The regions, their nodes and the links between them, with what the control port may do to them.

use super::invariants::{Invariants, Totals};
use super::node::{Node, NodePlace, NodeState, Shown};
use super::relay::{self, Direction, LinkSettings};
use crate::clock;
use crate::exit::Failure;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::task::JoinSet;

/// Everything that runs.
#[derive(Debug)]
pub(super) struct World {
    /// In the order of their regions.
    nodes: Vec<(NodePlace, Shown, tokio::sync::Mutex<Node>)>,
    links: Vec<Arc<Direction>>,
    /// (dialing region, node id of the target) → address of the relay.
    relays: BTreeMap<(String, String), SocketAddr>,
    pub(super) invariants: Mutex<Invariants>,
}

/// One node in `GET /status`.
#[derive(Debug, Serialize)]
pub(super) struct NodeStatus {
    pub(super) id: String,
    pub(super) region: String,
    pub(super) pid: Option<u32>,
    pub(super) state: NodeState,
    pub(super) pulsar: String,
    pub(super) http: String,
}

/// One direction in `GET /status`.
#[derive(Debug, Serialize)]
pub(super) struct LinkStatus {
    pub(super) from: String,
    pub(super) to: String,
    #[serde(flatten)]
    pub(super) settings: LinkSettings,
    pub(super) lag_ms: u64,
}

/// The answer of `GET /status`.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    pub(super) nodes: Vec<NodeStatus>,
    pub(super) links: Vec<LinkStatus>,
    pub(super) invariants: Totals,
}

/// The body of `POST /link`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LinkChange {
    pub(super) from: String,
    pub(super) to: String,
    #[serde(default)]
    pub(super) both: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cut: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) delay_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) loss: Option<f64>,
    /// 0 takes the limit away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) rate_mbit: Option<f64>,
}

/// The body of `POST /node/ID`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum NodeAction {
    Kill,
    Start,
    Freeze,
    Thaw,
    Stop,
}

impl World {
    /// Opens the relays; nothing is started yet.
    pub(super) async fn open(places: Vec<NodePlace>, seed: u64, tasks: &mut JoinSet<()>) -> Result<Self, Failure> {
        let mut regions: Vec<String> = places.iter().map(|place| place.region.clone()).collect();
        regions.dedup();
        let mut links = Vec::new();
        for (index, (from, to)) in pairs(&regions).into_iter().enumerate() {
            let seed = seed.wrapping_add(u64::try_from(index).unwrap_or(0));
            links.push(Direction::new(&from, &to, seed, tasks));
        }
        let mut world = Self {
            nodes: Vec::new(),
            links,
            relays: BTreeMap::new(),
            invariants: Mutex::new(Invariants::new(&regions)),
        };
        for (dialer, target) in pairs(&regions) {
            let (Some(there), Some(back)) = (world.link(&dialer, &target), world.link(&target, &dialer)) else {
                continue;
            };
            for place in places.iter().filter(|place| place.region == target) {
                let node = SocketAddr::from(([127, 0, 0, 1], place.quic_port));
                let address = relay::open(node, Arc::clone(&there), Arc::clone(&back), tasks).await;
                let address = address.map_err(|error| Failure::io("cannot open a relay between regions", error))?;
                world.relays.insert((dialer.clone(), place.id.clone()), address);
            }
        }
        for place in places {
            let node = Node::new(place.clone());
            world.nodes.push((place, node.shown(), tokio::sync::Mutex::new(node)));
        }
        Ok(world)
    }

    pub(super) fn places(&self) -> impl Iterator<Item = &NodePlace> {
        self.nodes.iter().map(|(place, _, _)| place)
    }

    /// Every region once, in order.
    pub(super) fn regions(&self) -> Vec<String> {
        let mut regions: Vec<String> = self.places().map(|place| place.region.clone()).collect();
        regions.dedup();
        regions
    }

    /// The nodes of a region.
    pub(super) fn places_of<'a>(&'a self, region: &'a str) -> impl Iterator<Item = &'a NodePlace> {
        self.places().filter(move |place| place.region == region)
    }

    /// Where clients of a region begin: all of its nodes.
    pub(super) fn pulsar_urls(&self, region: &str) -> String {
        let nodes: Vec<String> =
            self.places_of(region).map(|place| format!("127.0.0.1:{}", place.pulsar_port)).collect();
        format!("pulsar://{}", nodes.join(","))
    }

    /// What `dialer` is told as the addresses of `target`.
    pub(super) fn replicator_url(&self, dialer: &str, target: &str) -> String {
        let relay = |place: &NodePlace| self.relays.get(&(dialer.to_owned(), place.id.clone()));
        let nodes: Vec<String> = self.places_of(target).filter_map(relay).map(SocketAddr::to_string).collect();
        format!("quic://{}", nodes.join(","))
    }

    fn link(&self, from: &str, to: &str) -> Option<Arc<Direction>> {
        self.links.iter().find(|link| link.from == from && link.to == to).cloned()
    }

    /// Starts every node, all at once.
    pub(super) async fn start(self: &Arc<Self>) -> Result<(), Failure> {
        let mut starts = JoinSet::new();
        for index in 0..self.nodes.len() {
            let world = Arc::clone(self);
            starts.spawn(async move {
                match world.nodes.get(index) {
                    Some((_, _, node)) => node.lock().await.start().await,
                    None => Ok(()),
                }
            });
        }
        while let Some(done) = starts.join_next().await {
            done.map_err(|error| Failure::io("a start was interrupted", error))??;
        }
        Ok(())
    }

    /// Stops every node that runs.
    pub(super) async fn stop(&self) {
        for (_, _, node) in &self.nodes {
            let mut node = node.lock().await;
            // What is not running needs no stop.
            let _ = node.stop().await;
        }
    }

    /// Notices nodes that ended by themselves.
    pub(super) fn refresh(&self) {
        for (_, _, node) in &self.nodes {
            if let Ok(mut node) = node.try_lock() {
                node.refresh();
            }
        }
    }

    /// Does something to a node and returns when it took effect.
    pub(super) async fn act(&self, id: &str, action: NodeAction) -> Result<(), Failure> {
        let found = self.nodes.iter().find(|(place, _, _)| place.id == id);
        let Some((_, _, node)) = found else {
            let known: Vec<&str> = self.places().map(|place| place.id.as_str()).collect();
            return Err(Failure::refused(format!("there is no node '{id}': take one of {}", known.join(", "))));
        };
        let mut node = node.lock().await;
        match action {
            NodeAction::Kill => node.kill().await,
            NodeAction::Start => node.start().await,
            NodeAction::Freeze => node.freeze().await,
            NodeAction::Thaw => node.thaw().await,
            NodeAction::Stop => node.stop().await,
        }
    }

    /// Changes one direction, or both.
    pub(super) fn change_link(&self, change: &LinkChange) -> Result<(), Failure> {
        let missing = || {
            let known: Vec<String> = self.links.iter().map(|link| format!("{} to {}", link.from, link.to)).collect();
            let reason =
                format!("there is no link from '{}' to '{}'; links: {}", change.from, change.to, known.join(", "));
            Failure::refused(reason)
        };
        if let Some(loss) = change.loss.filter(|loss| !(0.0..=1.0).contains(loss)) {
            return Err(Failure::refused(format!("loss {loss} is not between 0.0 and 1.0")));
        }
        if let Some(rate) = change.rate_mbit.filter(|rate| !rate.is_finite() || *rate < 0.0) {
            return Err(Failure::refused(format!("rate_mbit {rate} is not a rate; 0 takes the limit away")));
        }
        if let Some(delay) = change.delay_ms.filter(|delay| *delay > 60_000) {
            return Err(Failure::refused(format!("delay_ms {delay} is more than a minute")));
        }
        let mut links = vec![self.link(&change.from, &change.to).ok_or_else(missing)?];
        if change.both {
            links.push(self.link(&change.to, &change.from).ok_or_else(missing)?);
        }
        for link in links {
            link.change(|settings| {
                settings.cut = change.cut.unwrap_or(settings.cut);
                settings.delay_ms = change.delay_ms.unwrap_or(settings.delay_ms);
                settings.loss = change.loss.unwrap_or(settings.loss);
                if let Some(rate) = change.rate_mbit {
                    settings.rate_mbit = (rate > 0.0).then_some(rate);
                }
            });
        }
        Ok(())
    }

    pub(super) fn status(&self) -> Status {
        self.refresh();
        let now_ms = clock::wall_ms();
        let invariants = self.invariants.lock().unwrap_or_else(PoisonError::into_inner);
        let nodes = self.nodes.iter().map(|(place, shown, _)| {
            let (state, pid) = *shown.lock().unwrap_or_else(PoisonError::into_inner);
            NodeStatus {
                id: place.id.clone(),
                region: place.region.clone(),
                pid,
                state,
                pulsar: place.pulsar_url(),
                http: place.http_url(),
            }
        });
        let links = self.links.iter().map(|link| LinkStatus {
            from: link.from.clone(),
            to: link.to.clone(),
            settings: link.settings(),
            lag_ms: invariants.lag_ms(&link.from, &link.to, now_ms),
        });
        Status { nodes: nodes.collect(), links: links.collect(), invariants: invariants.totals(now_ms) }
    }
}

/// Every ordered pair of different regions.
fn pairs(regions: &[String]) -> Vec<(String, String)> {
    let others = |from: &String| {
        let from = from.clone();
        regions.iter().filter(move |to| **to != from).cloned().collect::<Vec<_>>()
    };
    regions.iter().flat_map(|from| others(from).into_iter().map(move |to| (from.clone(), to))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn place(region: &str, number: u8) -> NodePlace {
        NodePlace {
            id: format!("{region}-0"),
            region: region.to_owned(),
            number,
            pulsar_port: 1,
            http_port: 2,
            quic_port: 3,
            peer_port: 4,
            dir: PathBuf::from("/nowhere"),
        }
    }

    #[tokio::test]
    async fn links_change_one_way_or_both_and_say_what_is_wrong() {
        let mut tasks = JoinSet::new();
        let world = World::open(vec![place("east", 1), place("west", 2)], 1, &mut tasks).await.unwrap();
        let east_west =
            LinkChange { from: "east".to_owned(), to: "west".to_owned(), cut: Some(true), ..LinkChange::default() };
        world.change_link(&east_west).unwrap();
        assert_eq!(world.status().links.iter().map(|link| link.settings.cut).collect::<Vec<_>>(), [true, false]);
        world.change_link(&LinkChange { both: true, delay_ms: Some(50), ..east_west.clone() }).unwrap();
        assert!(world.status().links.iter().all(|link| link.settings.cut && link.settings.delay_ms == 50));
        let nowhere = LinkChange { to: "north".to_owned(), ..east_west.clone() };
        assert!(world.change_link(&nowhere).unwrap_err().reason().contains("east to west"));
        assert!(world.change_link(&LinkChange { loss: Some(1.5), ..east_west }).is_err());
    }

    #[tokio::test]
    async fn acting_on_what_is_not_there_or_not_running_is_refused() {
        let mut tasks = JoinSet::new();
        let world = World::open(vec![place("east", 1)], 1, &mut tasks).await.unwrap();
        assert!(world.act("north-0", NodeAction::Kill).await.unwrap_err().reason().contains("east-0"));
        let refused = world.act("east-0", NodeAction::Freeze).await.unwrap_err();
        assert_eq!(refused.reason(), "cannot freeze east-0: it is stopped");
    }

    #[test]
    fn the_status_has_the_keys_of_the_interface() {
        let link = LinkStatus {
            from: "east".to_owned(),
            to: "west".to_owned(),
            settings: LinkSettings { cut: false, delay_ms: 0, loss: 0.0, rate_mbit: None },
            lag_ms: 0,
        };
        let json = serde_json::to_string(&link).unwrap();
        let wanted = r#"{"from":"east","to":"west","cut":false,"delay_ms":0,"loss":0.0,"rate_mbit":null,"lag_ms":0}"#;
        assert_eq!(json, wanted);
    }
}
