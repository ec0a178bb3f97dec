//! What goes wrong, and when.

use super::{Event, Phase, World};
use crate::queue::{MS, SECOND, Time};
use crate::region::NAMESPACE;
use admin::{HttpId, HttpRequest, Method};
use node::Input;

/// Silence after which a side of the connection between regions gives it up.
const IDLE: Time = 10 * SECOND;

/// One thing that goes wrong, or is over.
#[derive(Clone, Debug)]
pub enum Fault {
    Crash {
        region: usize,
        down_for: Time,
    },
    Restart {
        region: usize,
    },
    Freeze {
        region: usize,
        for_time: Time,
    },
    Thaw {
        region: usize,
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
        region: usize,
        for_time: Time,
    },
    ClockJump {
        region: usize,
        by_ms: i64,
    },
    Kill {
        client: usize,
    },
    Unload {
        region: usize,
        topic: u64,
    },
}

impl World {
    pub(super) fn plan_faults(&mut self, until: Time) {
        let options = self.options.clone();
        let (from, rng) = (self.now, &mut self.rng.nemesis);
        let mut faults = Vec::new();
        for _ in 0..options.crashes {
            faults
                .push(Fault::Crash { region: usize::from(rng.percent(50)), down_for: rng.range(10 * MS, 3 * SECOND) });
        }
        for _ in 0..options.freezes {
            faults.push(Fault::Freeze {
                region: usize::from(rng.percent(50)),
                for_time: rng.range(100 * MS, 15 * SECOND),
            });
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
            faults.push(Fault::SlowDisk {
                region: usize::from(rng.percent(50)),
                for_time: rng.range(SECOND, 6 * SECOND),
            });
        }
        for _ in 0..options.clock_jumps {
            let size = *rng.pick(&[30, 5_000, 600_000, 90_000_000]).unwrap_or(&30);
            let by_ms = if rng.percent(50) { size } else { -size };
            faults.push(Fault::ClockJump { region: usize::from(rng.percent(50)), by_ms });
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
    }

    pub(super) fn on_fault(&mut self, fault: Fault) {
        self.trace.note(self.now, format_args!("fault {fault:?}"));
        match fault {
            Fault::Crash { region, down_for } if self.regions[region].process.is_some() => {
                self.crash(region);
                self.queue.plan(self.now + down_for, Event::Fault(Fault::Restart { region }));
            }
            Fault::Restart { region } => self.start_region(region),
            Fault::Freeze { region, for_time } => self.freeze(region, for_time),
            Fault::Thaw { region } => self.thaw(region),
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
            Fault::SlowDisk { region, for_time } => self.regions[region].slow_until = self.now + for_time,
            Fault::ClockJump { region, by_ms } => self.regions[region].wall_jump(by_ms),
            Fault::Kill { client } => {
                if let Some(conn) = self.conn_of.get(&client).copied() {
                    self.kill_conn(conn);
                }
            }
            Fault::Unload { region, topic } => self.unload(region, topic),
            Fault::Crash { .. } | Fault::StallNoticed { .. } => (),
        }
    }

    fn crash(&mut self, region: usize) {
        let conns = self.regions[region].crash(&mut self.rng.disk, self.mistakes.bug);
        for conn in conns {
            self.drop_conn(conn);
        }
        self.net.up[region] = false;
        self.break_net();
    }

    /// Nothing gets through any more; the sides notice by themselves.
    fn break_net(&mut self) {
        if std::mem::take(&mut self.net.alive) {
            let conn = self.net.conn;
            for side in 0..2 {
                let at = self.now + self.rng.link.range(MS, IDLE);
                self.queue.plan(at, Event::SideDown { side, conn });
            }
        }
    }

    fn freeze(&mut self, region: usize, for_time: Time) {
        let Some(process) = self.regions[region].process.as_mut().filter(|process| !process.frozen) else { return };
        process.frozen = true;
        self.queue.plan(self.now + for_time, Event::Fault(Fault::Thaw { region }));
        if for_time > IDLE {
            self.break_net();
        }
    }

    fn unload(&mut self, region: usize, topic: u64) {
        self.http_ids += 1;
        let request = HttpRequest {
            method: Method::Put,
            path: format!("/admin/v2/persistent/{}/{}/topic-{topic}/unload", NAMESPACE.0, NAMESPACE.1),
            query: String::new(),
            authorization: None,
            tls_common_name: None,
            body: bytes::Bytes::new(),
        };
        self.feed(region, self.regions[region].boot, Input::Http { id: HttpId(self.http_ids), request });
    }

    /// Tries to connect the regions.
    pub(super) fn on_connect(&mut self) {
        let ready = self.regions.iter().all(|region| region.process.as_ref().is_some_and(|process| !process.frozen));
        if ready && self.net.can_connect() && self.phase != Phase::Over {
            let delay = self.options.link_delay;
            let up_at = [0, 1].map(|_| self.now + 1 + self.rng.link.below(delay));
            let conn = self.net.connect(up_at);
            for (side, at) in up_at.into_iter().enumerate() {
                self.queue.plan(at, Event::SideUp { side, conn });
            }
        }
        let pause = self.rng.link.range(50 * MS, SECOND);
        self.queue.plan(self.now + pause, Event::Connect);
    }
}
