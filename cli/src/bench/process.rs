//! What the processes of servers used, from /proc: CPU time, memory, bytes to the block device.

use super::report::to_f64;
use serde_json::{Value, json};

/// Linux counts CPU time in hundredths of a second, whatever the kernel's own tick.
const TICKS_PER_SECOND: f64 = 100.0;

/// One look at processes, added up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    cpu_s: f64,
    rss_bytes: u64,
    written_bytes: u64,
}

/// What was used between two looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Used {
    pub(super) cpu_s: f64,
    pub(super) written_bytes: u64,
    pub(super) rss_bytes: u64,
}

impl Usage {
    /// `None` when none is named, one of them does not exist, or it may not be looked at.
    pub(super) fn of(pids: &[u32]) -> Option<Self> {
        let (first, others) = pids.split_first()?;
        others.iter().try_fold(Self::of_one(*first)?, |sum, pid| {
            let one = Self::of_one(*pid)?;
            Some(Self {
                cpu_s: sum.cpu_s + one.cpu_s,
                rss_bytes: sum.rss_bytes + one.rss_bytes,
                written_bytes: sum.written_bytes + one.written_bytes,
            })
        })
    }

    fn of_one(pid: u32) -> Option<Self> {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).ok();
        let status = read("status").unwrap_or_default();
        let io = read("io").unwrap_or_default();
        Some(Self {
            cpu_s: cpu_seconds(&read("stat")?)?,
            rss_bytes: field(&status, "VmRSS:").unwrap_or(0) * 1024,
            written_bytes: field(&io, "write_bytes:").unwrap_or(0),
        })
    }

    /// From this look to now.
    pub(super) fn until_now(self, pids: &[u32]) -> Option<Used> {
        let now = Self::of(pids)?;
        Some(Used {
            cpu_s: now.cpu_s - self.cpu_s,
            written_bytes: now.written_bytes.saturating_sub(self.written_bytes),
            rss_bytes: now.rss_bytes,
        })
    }
}

impl Used {
    /// With ratios to the payload that was moved meanwhile.
    pub(super) fn json(self, payload_bytes: u64, messages: u64) -> Value {
        json!({
            "cpu_s": self.cpu_s,
            "cpu_s_per_gb": self.cpu_s / (to_f64(payload_bytes) / 1e9),
            "cpu_s_per_million": self.cpu_s / (to_f64(messages) / 1e6),
            "written_bytes": self.written_bytes,
            "written_per_payload": to_f64(self.written_bytes) / to_f64(payload_bytes.max(1)),
            "rss_bytes": self.rss_bytes,
        })
    }
}

/// User and system time; the name in the second field may hold anything, so counting starts behind its last bracket.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(to_f64(ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_a_hostile_name() {
        let stat = "12 (a) b) c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 8 0";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(cpu_seconds("nonsense"), None);
    }

    #[test]
    fn processes_are_added_up() {
        let me = std::process::id();
        let (one, two) = (Usage::of(&[me]).unwrap(), Usage::of(&[me, me]).unwrap());
        assert!(one.rss_bytes > 0 && two.rss_bytes > one.rss_bytes);
        assert!(Usage::of(&[]).is_none());
    }
}
