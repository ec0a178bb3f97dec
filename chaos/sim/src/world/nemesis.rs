//! What goes wrong, and when.

use super::takeover::Story;
use super::{Event, Phase, World};
use crate::queue::{MS, SECOND, Time};
use crate::region::NAMESPACE;
use admin::{HttpId, HttpRequest, Method};
use base::Rng;
use node::Input;

/// Silence after which a side of the connection between regions gives it up.
const IDLE: Time = 10 * SECOND;
/// Divisions of bundles in one run at most.
const SPLITS_MAX: u64 = 4;

/// One thing that goes wrong, or is over.
#[derive(Clone, Debug)]
pub enum Fault {
    Crash {
        host: usize,
        down_for: Time,
    },
    Restart {
        host: usize,
    },
    Freeze {
        host: usize,
        for_time: Time,
    },
    Thaw {
        host: usize,
    },
    Cut {
        for_time: Time,
    },
    Heal,
    /// One direction stands still.
    Stall {
        side: usize,
        for_time: Time,
    },
    /// So long a stall ends the connection, unless it is another one by now.
    StallNoticed {
        conn: u64,
    },
    SlowDisk {
        host: usize,
        for_time: Time,
    },
    ClockJump {
        host: usize,
        by_ms: i64,
    },
    Kill {
        client: usize,
    },
    Unload {
        region: usize,
        topic: u64,
    },
    /// An operator divides the bundle with the most topics; `unload`: the parts are to be served apart.
    Split {
        region: usize,
        unload: bool,
    },
    /// Frames of these nodes do not reach those.
    CutPeers {
        pairs: Vec<(usize, usize)>,
        for_time: Time,
    },
    MendPeers {
        pairs: Vec<(usize, usize)>,
    },
    /// Another node leads the metadata.
    Election {
        region: usize,
    },
    /// An owner is to lose its bundles.
    Takeover {
        region: usize,
        story: Story,
    },
    /// A node ends, and comes back on a copy of its disk that was made a while ago.
    OldDisk {
        host: usize,
        down_for: Time,
    },
}

impl World {
    pub(super) fn plan_faults(&mut self, until: Time) {
        let options = self.options.clone();
        let (from, hosts) = (self.now, self.hosts.len() as u64);
        let mut faults = self.draw_cluster_faults();
        let rng = &mut self.rng.nemesis;
        let any = |rng: &mut Rng| match hosts {
            // As before regions had several nodes, so that pinned seeds mean what they meant.
            2 => usize::from(rng.percent(50)),
            _ => usize::try_from(rng.below(hosts)).unwrap_or(0),
        };
        for _ in 0..options.crashes {
            faults.push(Fault::Crash { host: any(rng), down_for: rng.range(10 * MS, 3 * SECOND) });
        }
        for _ in 0..options.freezes {
            faults.push(Fault::Freeze { host: any(rng), for_time: rng.range(100 * MS, 15 * SECOND) });
        }
        for _ in 0..options.cuts {
            faults.push(Fault::Cut { for_time: rng.range(100 * MS, 15 * SECOND) });
        }
        for _ in 0..options.kills {
            // Half of them hit a producer (they come first): what it sent and nobody answered is sent again.
            let among = if rng.percent(50) { self.history.producers.len() } else { self.clients.len() };
            let client = usize::try_from(rng.below(among as u64)).unwrap_or(0);
            faults.push(Fault::Kill { client });
        }
        for _ in 0..options.stalls {
            faults
                .push(Fault::Stall { side: usize::from(rng.percent(50)), for_time: rng.range(100 * MS, 15 * SECOND) });
        }
        for _ in 0..options.slow_disks {
            faults.push(Fault::SlowDisk { host: any(rng), for_time: rng.range(SECOND, 6 * SECOND) });
        }
        for _ in 0..options.clock_jumps {
            let size = *rng.pick(&[30, 5_000, 600_000, 90_000_000]).unwrap_or(&30);
            let by_ms = if rng.percent(50) { size } else { -size };
            faults.push(Fault::ClockJump { host: any(rng), by_ms });
        }
        for _ in 0..options.unloads {
            faults.push(Fault::Unload {
                region: usize::from(rng.percent(50)),
                topic: rng.below(options.topics + u64::from(options.late_topic)),
            });
        }
        for fault in faults {
            let at = from + rng.below(until - from);
            self.queue.plan(at, Event::Fault(fault));
        }
        self.plan_splits(from, until);
        self.plan_stories(from, until);
    }

    /// In regions of several nodes bundles are divided. From a source of their own, so that pinned seeds mean what they meant.
    fn plan_splits(&mut self, from: Time, until: Time) {
        let mut rng = self.rng.nemesis.fork("splits");
        for _ in 0..if self.hosts.len() > 2 { rng.below(SPLITS_MAX + 1) } else { 0 } {
            let split = Fault::Split { region: usize::from(rng.percent(50)), unload: rng.percent(50) };
            self.queue.plan(from + rng.below(until - from), Event::Fault(split));
        }
    }

    /// What goes wrong between the nodes of regions.
    fn draw_cluster_faults(&mut self) -> Vec<Fault> {
        let mut faults = Vec::new();
        for _ in 0..self.options.cluster.partitions {
            let pairs = self.draw_cut();
            faults.push(Fault::CutPeers { pairs, for_time: self.rng.nemesis.range(100 * MS, 10 * SECOND) });
        }
        for _ in 0..self.options.cluster.elections {
            faults.push(Fault::Election { region: usize::from(self.rng.nemesis.percent(50)) });
        }
        faults
    }

    pub(super) fn on_fault(&mut self, fault: Fault) {
        self.trace.note(self.now, format_args!("fault {fault:?}"));
        match fault {
            Fault::Crash { host, down_for } if self.hosts[host].process.is_some() => {
                self.crash(host);
                self.queue.plan(self.now + down_for, Event::Fault(Fault::Restart { host }));
            }
            Fault::Restart { host } => self.start_host(host),
            Fault::Freeze { host, for_time } => self.freeze(host, for_time),
            Fault::Thaw { host } => self.thaw(host),
            Fault::CutPeers { pairs, for_time } => {
                self.peers.cut(&pairs);
                self.queue.plan(self.now + for_time, Event::Fault(Fault::MendPeers { pairs }));
            }
            Fault::MendPeers { pairs } => self.peers.mend(&pairs),
            Fault::Election { region } => self.elect_other(region),
            Fault::Takeover { region, story } => self.tell_story(region, story),
            Fault::OldDisk { host, down_for } => self.put_old_disk(host, down_for),
            Fault::Cut { for_time } => {
                self.net.cut = true;
                self.break_net();
                self.queue.plan(self.now + for_time, Event::Fault(Fault::Heal));
            }
            Fault::Heal => self.net.cut = false,
            Fault::Stall { side, for_time } => {
                self.net.stall(side, self.now + for_time);
                if for_time > IDLE {
                    let conn = self.net.conn;
                    self.queue.plan(self.now + IDLE, Event::Fault(Fault::StallNoticed { conn }));
                }
            }
            Fault::StallNoticed { conn } if conn == self.net.conn => self.break_net(),
            Fault::SlowDisk { host, for_time } => self.hosts[host].slow_until = self.now + for_time,
            Fault::ClockJump { host, by_ms } => self.hosts[host].wall_jump(by_ms),
            Fault::Kill { client } => {
                if let Some(conn) = self.conn_of.get(&client).copied() {
                    self.kill_conn(conn);
                }
            }
            Fault::Unload { region, topic } => {
                let path = format!("/admin/v2/persistent/{}/{}/topic-{topic}/unload", NAMESPACE.0, NAMESPACE.1);
                self.operate(region, path, String::new());
            }
            Fault::Split { region, unload } => {
                let path = format!("/admin/v2/namespaces/{}/{}/LARGEST/split", NAMESPACE.0, NAMESPACE.1);
                self.operate(region, path, format!("unload={unload}&splitAlgorithmName=topic_count_equally_divide"));
            }
            Fault::Crash { .. } | Fault::StallNoticed { .. } => (),
        }
    }

    pub(super) fn crash(&mut self, host: usize) {
        let conns = self.hosts[host].crash(&mut self.rng.disk);
        let side = self.hosts[host].region;
        self.regions[side].crash(self.mistakes.bug);
        for conn in conns {
            self.drop_conn(conn);
        }
        if self.net.ends[side] == host {
            self.net.up[side] = false;
            self.break_net();
        }
    }

    /// Nothing gets through any more; the sides notice by themselves.
    pub(super) fn break_net(&mut self) {
        if std::mem::take(&mut self.net.alive) {
            let conn = self.net.conn;
            for side in 0..2 {
                let at = self.now + self.rng.link.range(MS, IDLE);
                self.queue.plan(at, Event::SideDown { side, conn });
            }
        }
    }

    fn freeze(&mut self, host: usize, for_time: Time) {
        let (side, node) = (self.hosts[host].region, &mut self.hosts[host]);
        let Some(process) = node.process.as_mut().filter(|process| !process.frozen) else { return };
        process.frozen = true;
        self.queue.plan(self.now + for_time, Event::Fault(Fault::Thaw { host }));
        if for_time > IDLE && self.net.ends[side] == host {
            self.break_net();
        }
    }

    /// Asks every node of a region for a change.
    fn operate(&mut self, region: usize, path: String, query: String) {
        self.http_ids += 1;
        let (authorization, tls_common_name) = (None, None);
        let body = bytes::Bytes::new();
        let request = HttpRequest { method: Method::Put, path, query, authorization, tls_common_name, body };
        // Whoever does not serve what it concerns sends the operator on.
        for host in self.hosts_of(region) {
            let input = Input::Http { id: HttpId(self.http_ids), request: request.clone() };
            self.feed(host, self.hosts[host].boot, input);
        }
    }

    /// Tries to connect the regions.
    pub(super) fn on_connect(&mut self) {
        let ends = [0, 1].map(|side| self.gateway_of(side));
        if let ([Some(a), Some(b)], true, true) = (ends, self.net.can_connect(), self.phase != Phase::Over) {
            let delay = self.options.link_delay;
            let up_at = [0, 1].map(|_| self.now + 1 + self.rng.link.below(delay));
            let conn = self.net.connect([a, b], up_at);
            for (side, at) in up_at.into_iter().enumerate() {
                self.queue.plan(at, Event::SideUp { side, conn });
            }
        }
        let pause = self.rng.link.range(50 * MS, SECOND);
        self.queue.plan(self.now + pause, Event::Connect);
    }
    /// A node that is to hold the connection to the other region. Two may believe that they are.
    fn gateway_of(&mut self, side: usize) -> Option<usize> {
        let active = |index: &usize| {
            self.hosts[*index].process.as_ref().is_some_and(|process| process.active && !process.frozen)
        };
        let able: Vec<usize> = self.hosts_of(side).into_iter().filter(active).collect();
        if able.len() < 2 { able.first().copied() } else { self.rng.link.pick(&able).copied() }
    }
}
