//! What a fresh playground consists of: files for the children, then tenants, namespaces and peers over the admin API.

use super::node::NodePlace;
use super::world::World;
use crate::exit::Failure;
use crate::http::{Answer, HttpClient};
use crate::token::{new_secret, write_secret};
use auth::{SigningKey, TokenClaims, create_token};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// Roles with a token.
pub(super) const ROLES: [&str; 3] = ["admin", "acme", "globex"];
/// The topic of the steady load.
pub(super) const LOAD_TOPIC: &str = "persistent://acme/orders/playground";

/// The tokens of the playground.
#[derive(Clone, Debug)]
pub(super) struct Tokens {
    pub(super) admin: String,
    pub(super) acme: String,
}

pub(super) fn token_file(data: &Path, role: &str) -> PathBuf {
    data.join("tokens").join(format!("{role}.jwt"))
}

/// Writes the secret, the tokens and one configuration per node. What is there from an earlier run stays valid.
pub(super) fn write_files(data: &Path, places: &[NodePlace]) -> Result<Tokens, Failure> {
    let make =
        |dir: &Path| fs::create_dir_all(dir).map_err(|e| Failure::io(format!("cannot make {}", dir.display()), e));
    make(&data.join("tokens"))?;
    let secret_file = data.join("secret.key");
    let secret = match fs::read(&secret_file) {
        Ok(secret) => secret,
        Err(_) => {
            let secret = new_secret()?;
            write_secret(&secret_file, &secret)?;
            secret
        }
    };
    let key = SigningKey::Hmac(secret);
    let mut tokens = Vec::new();
    for role in ROLES {
        let token = create_token(&key, &TokenClaims::of_role(role)).map_err(Failure::config)?;
        write_secret(&token_file(data, role), token.as_bytes())?;
        tokens.push(token);
    }
    for place in places {
        make(&place.dir)?;
        let file = place.dir.join("node.toml");
        let several = several_toml(data, place, places)?;
        fs::write(&file, node_toml(place, &secret_file) + &several)
            .map_err(|error| Failure::io(format!("cannot write {}", file.display()), error))?;
    }
    match tokens.as_slice() {
        [admin, acme, ..] => Ok(Tokens { admin: admin.clone(), acme: acme.clone() }),
        _ => Err(Failure::config("the playground has no roles")),
    }
}

/// The section of a node that has others beside it: all of a region's nodes found it, under one identity. To freeze a node
/// and to see it wake up is part of the show, so nobody kills it meanwhile.
fn several_toml(data: &Path, place: &NodePlace, places: &[NodePlace]) -> Result<String, Failure> {
    let nodes: Vec<String> = places
        .iter()
        .filter(|other| other.region == place.region)
        .map(|other| format!("\"127.0.0.1:{}\"", other.peer_port))
        .collect();
    if nodes.len() < 2 {
        return Ok(String::new());
    }
    let identity = data.join(format!("{}-identity", place.region));
    let region = base::RegionName::parse(&place.region).map_err(Failure::config)?;
    server::create_identity(&identity, &region).map_err(|error| Failure::io("cannot make an identity", error))?;
    let identity = Value::from(identity.display().to_string());
    let (founders, port) = (nodes.join(", "), place.peer_port);
    Ok(format!("\n[node]\nfounders = [{founders}]\npeer_port = {port}\nidentity = {identity}\nwatchdog_ms = 0\n"))
}

fn node_toml(place: &NodePlace, secret: &Path) -> String {
    let text = |path: &Path| Value::from(path.display().to_string()).to_string();
    let (data, secret) = (text(&place.dir.join("data")), text(secret));
    format!(
        "# Written by `meridian playground`.\n[server]\ndata = {data}\nregion = \"{region}\"\nregion_number = {number}\n\
         bind = \"127.0.0.1\"\npulsar_port = {pulsar}\nhttp_port = {http}\nquic_port = {quic}\n\n\
         [auth]\nauthentication_enabled = true\nauthorization_enabled = true\n\
         super_user_roles = [\"admin\"]\ntoken_secret_key = {secret}\n",
        region = place.region,
        number = place.number,
        pulsar = place.pulsar_port,
        http = place.http_port,
        quic = place.quic_port,
    )
}

/// One region's admin API.
struct Region<'a> {
    place: &'a NodePlace,
    http: HttpClient,
}

impl Region<'_> {
    async fn call(&self, method: &str, path: &str, body: &Value) -> Result<Answer, Failure> {
        self.http.send(method, &format!("/admin/v2/{path}"), Some(body)).await
    }

    /// Sends what must succeed.
    async fn set(&self, method: &str, path: &str, body: &Value) -> Result<(), Failure> {
        let answer = self.call(method, path, body).await?;
        if answer.is_success() { Ok(()) } else { Err(self.refused(method, path, &answer)) }
    }

    /// Creates an object, or brings an existing one up to date with `update`.
    async fn ensure(&self, path: &str, body: &Value, update: Option<(&str, &Value)>) -> Result<(), Failure> {
        let answer = self.call("PUT", path, body).await?;
        match (answer.status, update) {
            (409, Some((path, body))) => self.set("POST", path, body).await,
            (409, None) => Ok(()),
            _ if answer.is_success() => Ok(()),
            _ => Err(self.refused("PUT", path, &answer)),
        }
    }

    fn refused(&self, method: &str, path: &str, answer: &Answer) -> Failure {
        Failure::refused(format!("region {} refused {method} {path}: {}", self.place.region, answer.reason()))
    }

    async fn own_record(&self) -> Result<Value, Failure> {
        let path = format!("clusters/{}", self.place.region);
        let answer = self.http.send("GET", &format!("/admin/v2/{path}"), None).await?;
        if answer.is_success() { Ok(answer.json()) } else { Err(self.refused("GET", &path, &answer)) }
    }
}

/// Makes every region know the others, and the tenants and namespaces of interface.md §2.
pub(super) async fn furnish(world: &World, tokens: &Tokens) -> Result<(), Failure> {
    let mut regions = Vec::new();
    for region in world.regions() {
        let Some(place) = world.places().find(|place| place.region == region) else { continue };
        regions.push(Region { place, http: HttpClient::new(&place.http_url(), Some(tokens.admin.clone()))? });
    }
    let mut records = Vec::new();
    for region in &regions {
        records.push((region.place, region.own_record().await?));
    }
    for region in &regions {
        introduce(world, region, &records).await?;
    }
    let names: Vec<&str> = regions.iter().map(|region| region.place.region.as_str()).collect();
    for region in &regions {
        furnish_region(region, &names).await?;
    }
    Ok(())
}

async fn introduce(world: &World, region: &Region<'_>, records: &[(&NodePlace, Value)]) -> Result<(), Failure> {
    for (peer, record) in records.iter().filter(|(peer, _)| peer.region != region.place.region) {
        let body = json!({
            "serviceUrl": peer.http_url(),
            "brokerServiceUrl": peer.pulsar_url(),
            "replicatorUrl": world.replicator_url(&region.place.region, &peer.region),
            "replicatorTrust": record.get("replicatorTrust"),
            "regionNumber": peer.number,
        });
        let path = format!("clusters/{}", peer.region);
        region.ensure(&path, &body, Some((&path, &body))).await?;
    }
    Ok(())
}

async fn furnish_region(region: &Region<'_>, names: &[&str]) -> Result<(), Failure> {
    let use_topics = json!(["produce", "consume"]);
    for tenant in ["acme", "globex"] {
        let path = format!("tenants/{tenant}");
        let body = json!({ "adminRoles": [tenant], "allowedClusters": names });
        region.ensure(&path, &body, Some((&path, &body))).await?;
    }
    let replicated = json!({ "replication_clusters": names });
    let orders = ("namespaces/acme/orders/replication", &json!(names));
    region.ensure("namespaces/acme/orders", &replicated, Some(orders)).await?;
    // The load sends again after a lost connection: only deduplication makes that one copy.
    region.set("POST", "namespaces/acme/orders/deduplication", &json!(true)).await?;
    region.set("POST", "namespaces/acme/orders/permissions/acme", &use_topics).await?;
    region.ensure("namespaces/globex/events", &json!({}), None).await?;
    let quota = json!({ "publishThrottlingRateInMsg": 100, "publishThrottlingRateInByte": -1 });
    region.set("POST", "namespaces/globex/events/namespacePublishRate", &quota).await?;
    region.set("POST", "namespaces/globex/events/permissions/globex", &use_topics).await?;
    for role in ROLES {
        region.set("POST", &format!("namespaces/public/default/permissions/{role}"), &use_topics).await?;
    }
    Ok(())
}
