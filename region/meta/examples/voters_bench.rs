//! Measures three voters in one process on this disk: creates per second against raw fdatasync per second of the same
//! run, at the leader and at a follower, and how long the region is without a leader when it is lost.
//!
//! `cargo run --release -p meta --example voters_bench [DIR]`

#![expect(clippy::print_stdout, reason = "the output is the purpose")]
#![expect(clippy::disallowed_methods, reason = "it measures time")]

use anyhow::{Context, Result, ensure};
use base::NodeId;
use bytes::Bytes;
use meta::{MetaHandle, MetaOptions, MetaStore, PeerError, PeerFuture, PeerRequest, PeerTransport, Start};
use meta_api::{Compare, MetaRequest, MetaResponse, Write};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const SYNCS: u32 = 500;
const SEQUENTIAL: u32 = 300;
const PARALLEL: u32 = 20_000;
const IN_FLIGHT: u32 = 64;
const VALUE: &[u8] = &[7; 200];

/// Hands requests over in memory: what is measured is the store.
#[derive(Default)]
struct Memory(Mutex<BTreeMap<NodeId, MetaHandle>>);

impl PeerTransport for Memory {
    fn exchange(&self, to: NodeId, request: PeerRequest) -> PeerFuture<'_> {
        let node = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&to).cloned();
        Box::pin(async move {
            match node {
                Some(node) => node.answer_peer(request).await,
                None => Err(PeerError::not_sent(to, "it was stopped")),
            }
        })
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let dir = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from).join("voters-bench");
    if dir.exists() {
        std::fs::remove_dir_all(&dir)?;
    }
    std::fs::create_dir_all(&dir)?;
    let memory = Arc::new(Memory::default());
    let mut stores = open_three(&dir, &memory).await?;
    let (leader, follower) = (stores[0].handle(), stores[1].handle());
    ensure!(leader.status().is_leader, "the founder lost its leadership while nothing happened");

    let raw = raw_syncs(&dir)?;
    println!("raw pwrite 512 B + fdatasync     {raw:>9.0}/s");
    for (who, handle) in [("leader", &leader), ("follower", &follower)] {
        let sequential = creates(handle, who, "seq", SEQUENTIAL, 1).await?;
        println!("{who:<9} one after another      {sequential:>9.0}/s  ({:.2} of raw)", sequential / raw);
        let batches = leader.metrics().batches_total;
        let parallel = creates(handle, who, "par", PARALLEL, IN_FLIGHT).await?;
        let per_batch = f64::from(PARALLEL) / (leader.metrics().batches_total - batches) as f64;
        println!(
            "{who:<9} {IN_FLIGHT} in flight          {parallel:>9.0}/s  ({:.2} of raw, {per_batch:.0} per entry)",
            parallel / raw
        );
    }
    let raw = raw_syncs(&dir)?;
    println!("raw pwrite 512 B + fdatasync     {raw:>9.0}/s  (again, after)");

    failover(&memory, &mut stores).await?;
    for store in stores {
        store.close().await;
    }
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

async fn open_three(dir: &Path, memory: &Arc<Memory>) -> Result<Vec<MetaStore>> {
    let mut stores = Vec::new();
    for node in (1..=3).map(NodeId) {
        let start = if node == NodeId(1) { Start::Found } else { Start::Join };
        let transport: Arc<dyn PeerTransport> = Arc::<Memory>::clone(memory);
        let options = MetaOptions { node, start, transport: Some(transport) };
        let store = MetaStore::open(&dir.join(node.to_string()), options, |cause| panic!("{cause}")).await?;
        memory.0.lock().unwrap_or_else(PoisonError::into_inner).insert(node, store.handle());
        stores.push(store);
        if node != NodeId(1) {
            let founder = stores[0].handle();
            founder.add_learner(node).await?;
            founder.promote(node).await?;
        }
    }
    Ok(stores)
}

/// `pwrite` and `fdatasync` per second on a file as the log is one.
fn raw_syncs(dir: &Path) -> Result<f64> {
    let file = File::create(dir.join("raw"))?;
    file.write_all_at(&vec![0; 512 * SYNCS as usize], 0)?;
    file.sync_all()?;
    let start = Instant::now();
    for index in 0..SYNCS {
        file.write_all_at(&[1; 512], u64::from(index) * 512)?;
        file.sync_data()?;
    }
    Ok(f64::from(SYNCS) / start.elapsed().as_secs_f64())
}

async fn creates(handle: &MetaHandle, who: &str, kind: &str, count: u32, lanes: u32) -> Result<f64> {
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for lane in 0..lanes {
        let (handle, prefix) = (handle.clone(), format!("/{who}/{kind}"));
        tasks.spawn(async move {
            for index in (lane..count).step_by(lanes as usize) {
                create(&handle, format!("{prefix}/{index}")).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(f64::from(count) / start.elapsed().as_secs_f64())
}

async fn create(handle: &MetaHandle, key: String) -> Result<()> {
    let compare = vec![Compare::Absent { key: key.clone() }];
    let writes = vec![Write::Put { key, value: Bytes::from_static(VALUE) }];
    let answer = handle.request(MetaRequest::Txn { compare, writes }).await;
    ensure!(matches!(answer, MetaResponse::Committed { .. }), "{answer:?}");
    Ok(())
}

/// Stops the leader and measures the write that meets the election.
async fn failover(memory: &Arc<Memory>, stores: &mut Vec<MetaStore>) -> Result<()> {
    let leads = stores.iter().position(|store| store.handle().status().is_leader).context("somebody leads")?;
    let leader = stores.remove(leads);
    let node = leader.handle().status().node;
    memory.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&node);
    let start = Instant::now();
    leader.close().await;
    create(&stores[0].handle(), "/failover".to_owned()).await?;
    let gap: Duration = start.elapsed();
    println!("first write after a lost leader  {:>9.0} ms", gap.as_secs_f64() * 1e3);
    Ok(())
}
