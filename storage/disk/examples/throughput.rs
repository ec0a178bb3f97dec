//! Measures the log device against a plain loop of write and fdatasync on the same volume, in the same run.
//!
//! ```text
//! cargo run --release -p disk --example throughput -- [directory] [MiB per leg] [rates|latency|opening]
//! ```
//!
//! Legs alternate (loop, device, device, loop, …) so that drift of the disk hits both. Three loops are measured: over a file that
//! grows, over one that was only allocated, and over one whose blocks were all written before (what recycled log files are).
#![allow(clippy::print_stdout, clippy::disallowed_methods, clippy::unwrap_used, reason = "a measuring program")]

use base::{EntryData, EntryId, LedgerId};
use bookie::disk::{AppendId, DiskEvent, DiskOp};
use bookie::layout::entry_record;
use bytes::Bytes;
use disk::{DiskOptions, LogDevice};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

const PENDING_BYTES: usize = 32 << 20;

fn main() {
    let mut args = std::env::args().skip(1);
    let dir = PathBuf::from(args.next().unwrap_or_else(|| "target/throughput".into()));
    let mib: usize = args.next().map_or(512, |mib| mib.parse().unwrap());
    let only = args.next();
    let wanted = |part: &str| only.as_deref().is_none_or(|only| only == part);
    std::fs::create_dir_all(&dir).unwrap();
    if wanted("rates") {
        for (size, group) in [(128 << 10, 4 << 20), (1 << 10, 4 << 20), (1 << 10, 256 << 10)] {
            compare(&dir, mib << 20, size, group);
        }
    }
    if wanted("latency") {
        latency(&dir);
    }
    if wanted("opening") {
        opening(&dir);
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

/// Device and raw loop with records of `size` and groups of `group` bytes.
fn compare(dir: &Path, total: usize, size: usize, group: usize) {
    let log = dir.join("log");
    println!("-- records of {size} bytes, groups up to {group} bytes, {} MiB a leg", total >> 20);
    let options =
        DiskOptions { group_bytes_max: u32::try_from(group).unwrap(), pool_files_max: 64, ..DiskOptions::standard() };
    let (rate, syncs) = device_leg(&log, &options, total, size, false);
    println!("device, new files        {rate:7.0} MB/s  {syncs:6.0} syncs/s");
    for growth in [Growth::Grows, Growth::Allocated] {
        println!("loop, {:<18} {:7.0} MB/s", growth.name(), raw_leg(dir, total, group, growth));
    }
    let (mut device, mut raw, mut cpu) = (Vec::new(), Vec::new(), [0.0; 2]);
    for _ in 0..4 {
        for leg in [0, 1, 1, 0] {
            let before = process_cpu_s();
            match leg {
                0 => raw.push(raw_leg(dir, total, group, Growth::Written)),
                _ => device.push(device_leg(&log, &options, total, size, true).0),
            }
            cpu[leg] += (process_cpu_s() - before) / (8.0 * total as f64 / 1e9);
        }
    }
    let (device, raw) = (median(&mut device), median(&mut raw));
    println!("device, recycled files   {device:7.0} MB/s  {:.2} CPU s/GB (both ends)", cpu[1]);
    println!("loop, written before     {raw:7.0} MB/s  {:.2} CPU s/GB   ratio {:.2}", cpu[0], device / raw);
    std::fs::remove_dir_all(&log).unwrap();
}

#[derive(Clone, Copy, PartialEq)]
enum Growth {
    Grows,
    Allocated,
    Written,
}

impl Growth {
    fn name(self) -> &'static str {
        match self {
            Self::Grows => "growing file",
            Self::Allocated => "allocated file",
            Self::Written => "written before",
        }
    }
}

/// MB/s of a plain loop: write `group` bytes, fdatasync.
fn raw_leg(dir: &Path, total: usize, group: usize, growth: Growth) -> f64 {
    let path = dir.join(if growth == Growth::Written { "written" } else { "raw" });
    let fresh = !path.exists() || growth != Growth::Written;
    let file = OpenOptions::new().create(true).truncate(fresh).write(true).open(&path).unwrap();
    let data: Vec<u8> = (0..group).map(|i| ((i * 31) >> 3) as u8).collect();
    if fresh && growth == Growth::Written {
        fill(&file, &data, total);
    }
    if growth == Growth::Allocated {
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, total as u64).unwrap();
        file.sync_all().unwrap();
    }
    let start = Instant::now();
    for at in (0..total).step_by(group) {
        file.write_all_at(&data, at as u64).unwrap();
        file.sync_data().unwrap();
    }
    total as f64 / 1e6 / start.elapsed().as_secs_f64()
}

fn fill(file: &File, data: &[u8], total: usize) {
    for at in (0..total).step_by(data.len()) {
        file.write_all_at(data, at as u64).unwrap();
    }
    file.sync_all().unwrap();
}

fn open(log: &Path, options: &DiskOptions) -> (LogDevice, Receiver<DiskEvent>, Vec<bookie::disk::FileId>) {
    let (sender, events) = sync_channel(1 << 20);
    let fatal = |error: std::io::Error| panic!("{error}");
    let (device, found) = LogDevice::open(log, options.clone(), move |e| drop(sender.send(e)), fatal).unwrap();
    let files = found.files.iter().filter(|f| f.sealed || found.files.len() > 1).map(|f| f.file).collect();
    (device, events, files)
}

/// MB/s and syncs per second of the device; `recycle` frees what earlier legs wrote first.
fn device_leg(log: &Path, options: &DiskOptions, total: usize, size: usize, recycle: bool) -> (f64, f64) {
    let (device, events, old) = open(log, options);
    if recycle {
        old.into_iter().for_each(|file| device.submit(DiskOp::Free { file }));
        append_all(&device, &events, 1 << 20, size);
    }
    let (start, before) = (Instant::now(), device.syncs());
    append_all(&device, &events, total, size);
    let seconds = start.elapsed().as_secs_f64();
    (total as f64 / 1e6 / seconds, (device.syncs() - before) as f64 / seconds)
}

fn append_all(device: &LogDevice, events: &Receiver<DiskEvent>, total: usize, size: usize) {
    let body = Bytes::from((0..size).map(|i| ((i * 17) >> 2) as u8).collect::<Vec<u8>>());
    let (count, window) = (total / size, (PENDING_BYTES / size).max(1));
    let (mut sent, mut done) = (0, 0);
    while done < count {
        while sent < count && sent - done < window {
            let data = EntryData::new(Bytes::from_static(&[7; 40]), body.clone());
            let record = entry_record(LedgerId(sent as u64 % 8), EntryId(sent as i64), EntryId::NONE, data);
            device.submit(DiskOp::Append { id: AppendId(sent as u64), record });
            sent += 1;
        }
        if let Ok(DiskEvent::Appended { done: batch }) = events.recv_timeout(Duration::from_secs(10)) {
            done += batch.len();
        }
    }
}

/// One append at a time: the device's answer against a bare write and fdatasync of 4 KiB.
fn latency(dir: &Path) {
    let log = dir.join("latency");
    let (device, events, _) = open(&log, &DiskOptions::standard());
    append_all(&device, &events, 64 << 10, 1024);
    // Wait until the next file is prepared too, so that only appends are measured.
    while events.recv_timeout(Duration::from_secs(2)).is_ok() {}
    let file = OpenOptions::new().create(true).truncate(true).write(true).open(dir.join("latency-raw")).unwrap();
    fill(&file, &vec![0; 1 << 20], 16 << 20);
    let (mut bare, mut through) = (Vec::new(), Vec::new());
    for n in 0..2000u64 {
        let start = Instant::now();
        file.write_all_at(&[1; 4096], n * 4096).unwrap();
        file.sync_data().unwrap();
        bare.push(start.elapsed().as_secs_f64() * 1e6);
        let start = Instant::now();
        append_all(&device, &events, 1024, 1024);
        through.push(start.elapsed().as_secs_f64() * 1e6);
    }
    println!("-- one 1 KiB append at a time, µs (p50, p99)");
    let tail = |list: &mut Vec<f64>| (median(list), list[list.len() * 99 / 100]);
    println!("write + fdatasync {:?}\ndevice            {:?}", tail(&mut bare), tail(&mut through));
}

/// Time to open a log of 1 GiB, with 128 KiB and with 1 KiB records.
fn opening(dir: &Path) {
    for size in [128 << 10, 1 << 10] {
        let log = dir.join("opening");
        let options = DiskOptions::standard();
        device_leg(&log, &options, 1 << 30, size, false);
        timed_open(&log, &options, size, "warm");
        for item in std::fs::read_dir(&log).unwrap() {
            let file = File::open(item.unwrap().path()).unwrap();
            file.sync_all().unwrap();
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        }
        timed_open(&log, &options, size, "dropped");
        std::fs::remove_dir_all(&log).unwrap();
    }
}

fn timed_open(log: &Path, options: &DiskOptions, size: usize, cache: &str) {
    let (start, before) = (Instant::now(), thread_cpu_ms());
    let opened = open(log, options);
    let (wall, cpu) = (start.elapsed().as_secs_f64() * 1e3, thread_cpu_ms() - before);
    drop(opened);
    println!("-- opening 1 GiB of {size}-byte records, page cache {cache}: {wall:.0} ms, of that {cpu:.0} ms CPU");
}

/// CPU time of all threads so far, in clock ticks of 10 ms.
fn process_cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    [11, 12].map(|field| fields[field].parse::<f64>().unwrap()).iter().sum::<f64>() / 100.0
}

/// What this thread has used so far; unlike the wall clock it says little about the neighbours.
fn thread_cpu_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e6
}

fn median(list: &mut [f64]) -> f64 {
    list.sort_by(f64::total_cmp);
    list[list.len() / 2]
}
