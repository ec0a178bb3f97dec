//! What the disk and the loopback can do at the moment: the denominators of the ratios.
//!
//! **What**  [`disk_probe`] writes and syncs in a loop, [`paced_probe`] at a fixed rate; [`sink`] is four loopback connections
//! into one writer that writes and syncs what is there. All use a file that was written before, because growing files cost
//! several times as much.

use super::report::{Latencies, mb_per_s};
use crate::clock;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// Size of the file, in bytes; writes go round in it.
const FILE_BYTES: u64 = 256 << 20;
/// Most that the sink writes before a sync, in bytes.
const GROUP_BYTES: usize = 4 << 20;
/// One read of the sink from a socket, in bytes.
const READ_BYTES: usize = 256 << 10;
const SINK_CONNECTIONS: usize = 4;

/// A file that was written once, and is removed at the end.
#[derive(Debug)]
pub(super) struct ProbeFile {
    file: File,
    path: PathBuf,
    at: u64,
}

impl ProbeFile {
    /// Makes the file in `dir`, which must be on the server's disk for the ratios to mean anything.
    pub(super) fn create(dir: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let path = dir.join(format!("meridian-bench-{}.probe", std::process::id()));
        let file = File::options().create(true).truncate(true).read(true).write(true).open(&path)?;
        let block = vec![0x5a; 1 << 20];
        for at in (0..FILE_BYTES).step_by(block.len()) {
            file.write_all_at(&block, at)?;
        }
        file.sync_all()?;
        Ok(Self { file, path, at: 0 })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if self.at + length > FILE_BYTES {
            self.at = 0;
        }
        self.file.write_all_at(bytes, self.at)?;
        self.at += length;
        Ok(())
    }
}

impl Drop for ProbeFile {
    fn drop(&mut self) {
        // It is only a file of benchmark noise.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// How fast writes of one size become durable.
#[derive(Debug)]
pub(super) struct DiskProbe {
    pub(super) size: usize,
    pub(super) mb_per_s: f64,
    pub(super) syncs: Latencies,
}

impl DiskProbe {
    pub(super) fn json(&self) -> Value {
        json!({ "size": self.size, "mb_per_s": self.mb_per_s, "latency": self.syncs.json() })
    }
}

/// Writes and syncs blocks of `size` bytes for a while.
pub(super) fn disk_probe(file: &mut ProbeFile, size: usize, lasting: Duration) -> io::Result<DiskProbe> {
    let block = vec![0xa5; size];
    let mut syncs = Latencies::new();
    let start = clock::now();
    let mut bytes = 0;
    while start.elapsed() < lasting {
        let before = clock::now();
        file.write(&block)?;
        file.file.sync_data()?;
        syncs.record(before.elapsed());
        bytes += u64::try_from(size).unwrap_or(u64::MAX);
    }
    Ok(DiskProbe { size, mb_per_s: mb_per_s(bytes, start.elapsed()), syncs })
}

/// What the same disk does at a server's pace, one write and sync after the other.
#[derive(Debug)]
pub(super) struct PacedProbe {
    /// From when a write was due.
    pub(super) intended: Latencies,
    /// From when a write could begin: when it was due or, if the one before was done by then, when the timer woke the thread.
    /// A publisher's latency from its send leaves its timer out in the same way.
    pub(super) able: Latencies,
}

impl PacedProbe {
    pub(super) fn new() -> Self {
        Self { intended: Latencies::new(), able: Latencies::new() }
    }

    pub(super) fn json(&self) -> Value {
        json!({ "latency_from_intended": self.intended.json(), "latency_from_able": self.able.json() })
    }

    pub(super) fn add(&mut self, others: &Self) {
        self.intended.add(&others.intended);
        self.able.add(&others.able);
    }
}

/// Writes and syncs a block of `size` bytes `rate` times per second. Between two of them the thread sleeps, so the processor
/// and the disk come out of their rest for every one, as they do for a server at this rate.
pub(super) fn paced_probe(file: &mut ProbeFile, size: usize, rate: f64, lasting: Duration) -> io::Result<PacedProbe> {
    let block = vec![0xa5; size];
    let mut paced = PacedProbe::new();
    let pace = Duration::from_secs_f64(1.0 / rate.max(1.0));
    let start = clock::now();
    let mut due = start;
    while due < start + lasting {
        let wait = due.saturating_duration_since(clock::now());
        clock::rest(wait);
        let able = if wait.is_zero() { due } else { clock::now() };
        file.write(&block)?;
        file.file.sync_data()?;
        let done = clock::now();
        paced.able.record(done.duration_since(able));
        paced.intended.record(done.duration_since(due));
        due += pace;
    }
    Ok(paced)
}

/// Megabytes per second that four loopback connections, one writer and one disk allow.
pub(super) fn sink(file: &mut ProbeFile, block: usize, lasting: Duration) -> io::Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let stop = Arc::new(AtomicBool::new(false));
    let (full, received) = sync_channel(64);
    std::thread::scope(|scope| {
        for _ in 0..SINK_CONNECTIONS {
            let stop = Arc::clone(&stop);
            scope.spawn(move || send_until(&stop, address, block));
        }
        for _ in 0..SINK_CONNECTIONS {
            let (stream, _) = listener.accept()?;
            let full = full.clone();
            scope.spawn(move || receive(stream, &full));
        }
        drop(full);
        let start = clock::now();
        let done = write_what_is_there(file, &received, start, lasting);
        let took = start.elapsed();
        stop.store(true, Ordering::Release);
        // Receivers must not wait for a writer that is gone.
        while received.recv().is_ok() {}
        done.map(|bytes| mb_per_s(bytes, took))
    })
}

fn send_until(stop: &AtomicBool, to: std::net::SocketAddr, block: usize) {
    let Ok(mut stream) = TcpStream::connect(to) else { return };
    let block = vec![0x3c; block];
    while !stop.load(Ordering::Acquire) && stream.write_all(&block).is_ok() {}
}

fn receive(mut stream: TcpStream, full: &SyncSender<Vec<u8>>) {
    loop {
        let mut buffer = vec![0; READ_BYTES];
        match stream.read(&mut buffer) {
            Ok(read @ 1..) => {
                buffer.truncate(read);
                if full.send(buffer).is_err() {
                    return;
                }
            }
            Ok(0) | Err(_) => return,
        }
    }
}

fn write_what_is_there(
    file: &mut ProbeFile,
    received: &Receiver<Vec<u8>>,
    start: Instant,
    lasting: Duration,
) -> io::Result<u64> {
    let mut bytes = 0;
    while start.elapsed() < lasting {
        let Ok(first) = received.recv() else { break };
        let mut group = first.len();
        file.write(&first)?;
        while group < GROUP_BYTES {
            let Ok(more) = received.try_recv() else { break };
            file.write(&more)?;
            group += more.len();
        }
        file.file.sync_data()?;
        bytes += u64::try_from(group).unwrap_or(u64::MAX);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probe_and_sink_measure_something_and_leave_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = ProbeFile::create(dir.path()).unwrap();
        let probe = disk_probe(&mut file, 4096, Duration::from_millis(50)).unwrap();
        assert!(probe.mb_per_s > 0.0 && probe.syncs.count() > 0);
        let paced = paced_probe(&mut file, 4096, 500.0, Duration::from_millis(50)).unwrap();
        assert_eq!((paced.able.count(), paced.intended.count()), (25, 25));
        assert!(sink(&mut file, 128 << 10, Duration::from_millis(100)).unwrap() > 0.0);
        drop(file);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
