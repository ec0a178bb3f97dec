//! Measures the metadata store on this disk: writes per second against raw fdatasync per second of the same run, and
//! how long a start takes.
//!
//! `cargo run --release -p meta --example meta_bench [DIR]`

#![expect(clippy::print_stdout, reason = "the output is the purpose")]
#![expect(clippy::disallowed_methods, reason = "it measures time")]

use anyhow::{Context, Result, ensure};
use base::NodeId;
use bytes::Bytes;
use meta::{MetaHandle, MetaOptions, MetaStore};
use meta_api::{MetaRequest, MetaResponse, Write};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const WRITES: u32 = 1_000;
const ROUNDS: u32 = 10;
const IN_FLIGHT: u32 = 64;
const KEYS: u32 = 100_000;
const VALUE: &[u8] = &[7; 200];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let dir = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from).join("meta-bench");
    if dir.exists() {
        std::fs::remove_dir_all(&dir)?;
    }
    std::fs::create_dir_all(&dir)?;
    let store_dir = dir.join("store");

    let store = timed_open(&store_dir, "start, empty store").await?;
    let handle = store.handle();
    let mut raw_file = RawFile::create(&dir)?;
    // In turns, because the disk of a shared machine is never twice the same.
    let (mut raw, mut sequential) = (Duration::ZERO, Duration::ZERO);
    for round in 0..ROUNDS {
        raw += raw_file.write_and_sync(WRITES / ROUNDS)?;
        sequential += write_sequentially(&handle, round * WRITES / ROUNDS, WRITES / ROUNDS).await?;
    }
    let (raw, sequential) = (per_second(WRITES, raw), per_second(WRITES, sequential));
    println!("raw pwrite 512 B + fdatasync     {:>9.0}/s  ({:.0} µs each)", raw, 1e6 / raw);
    println!("Txn, one after another           {sequential:>9.0}/s  ({:.2} of raw)", sequential / raw);
    let batches_before = handle.metrics().batches_total;
    let parallel = in_flight(&handle, WRITES * 20).await?;
    let per_batch = f64::from(WRITES * 20) / (handle.metrics().batches_total - batches_before) as f64;
    println!(
        "Txn, {IN_FLIGHT} in flight                {parallel:>9.0}/s  ({:.2} of raw, {per_batch:.0} per fsync)",
        parallel / raw
    );
    let reads = reads(&handle).await?;
    println!("Get, one after another           {reads:>9.0}/s");
    let raw_again = per_second(WRITES, raw_file.write_and_sync(WRITES)?);
    println!("raw pwrite 512 B + fdatasync     {raw_again:>9.0}/s  (again, after)");

    fill(&handle).await?;
    println!("{:?}", handle.metrics());
    drop(handle);
    store.close().await;
    let store = timed_open(&store_dir, "start, 100k keys").await?;
    let keys = store.handle().metrics().keys;
    ensure!(keys >= u64::from(KEYS), "only {keys} keys came back");
    store.close().await;
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

fn per_second(count: u32, elapsed: Duration) -> f64 {
    f64::from(count) / elapsed.as_secs_f64()
}

/// A file as the log is one: written with zeros ahead, so that an fsync changes no metadata.
struct RawFile {
    file: File,
    next: u64,
}

impl RawFile {
    fn create(dir: &Path) -> Result<Self> {
        let file = File::create(dir.join("raw"))?;
        file.write_all_at(&vec![0; 512 * 2 * WRITES as usize], 0)?;
        file.sync_all()?;
        Ok(Self { file, next: 0 })
    }

    fn write_and_sync(&mut self, count: u32) -> Result<Duration> {
        let start = Instant::now();
        for _ in 0..count {
            self.file.write_all_at(&[1; 512], self.next)?;
            self.file.sync_data()?;
            self.next += 512;
        }
        Ok(start.elapsed())
    }
}

async fn timed_open(dir: &Path, what: &str) -> Result<MetaStore> {
    let start = Instant::now();
    let fatal = |cause| panic!("{cause}");
    let store = MetaStore::open(dir, MetaOptions::single(NodeId(1)), fatal).await.context("open")?;
    println!("{what:<32} {:>9.1} ms", start.elapsed().as_secs_f64() * 1e3);
    Ok(store)
}

fn put(key: String) -> MetaRequest {
    MetaRequest::Txn { compare: vec![], writes: vec![Write::Put { key, value: Bytes::from_static(VALUE) }] }
}

async fn write_sequentially(handle: &MetaHandle, from: u32, count: u32) -> Result<Duration> {
    let start = Instant::now();
    for index in from..from + count {
        expect_committed(handle.request(put(format!("/seq/{index}"))).await)?;
    }
    Ok(start.elapsed())
}

async fn in_flight(handle: &MetaHandle, writes: u32) -> Result<f64> {
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for lane in 0..IN_FLIGHT {
        let handle = handle.clone();
        tasks.spawn(async move {
            for index in (lane..writes).step_by(IN_FLIGHT as usize) {
                expect_committed(handle.request(put(format!("/par/{index}"))).await)?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(per_second(writes, start.elapsed()))
}

async fn reads(handle: &MetaHandle) -> Result<f64> {
    let start = Instant::now();
    for index in 0..WRITES * 100 {
        let key = format!("/seq/{}", index % WRITES);
        let answer = handle.request(MetaRequest::Get { key }).await;
        ensure!(matches!(answer, MetaResponse::Value(Some(_))), "{answer:?}");
    }
    Ok(per_second(WRITES * 100, start.elapsed()))
}

async fn fill(handle: &MetaHandle) -> Result<()> {
    for from in (0..KEYS).step_by(500) {
        let keys = from..(from + 500).min(KEYS);
        let write = |index| Write::Put { key: format!("/fill/{index:08}"), value: Bytes::from_static(VALUE) };
        let request = MetaRequest::Txn { compare: vec![], writes: keys.map(write).collect() };
        expect_committed(handle.request(request).await)?;
    }
    // The snapshot that the fill made due is built beside it.
    tokio::time::sleep(Duration::from_millis(500)).await;
    Ok(())
}

fn expect_committed(answer: MetaResponse) -> Result<()> {
    ensure!(matches!(answer, MetaResponse::Committed { .. }), "{answer:?}");
    Ok(())
}
