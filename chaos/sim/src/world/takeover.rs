//! Stories of owners that lose their bundles and do not know it, or of those who come after them and know too little.
//!
//! **What**  Each aims at a node that a producer is connected to just then. A story is a few of the other faults, in an order
//! that chance alone seldom finds.

use super::{Event, Fault, World};
use crate::client::Client;
use crate::queue::{MS, SECOND, Time};
use base::Rng;

/// What happens to an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Story {
    /// It and the leader of the metadata do not reach each other; the third node reaches both.
    Bridge,
    /// It stops and goes on later, and has to catch up.
    Freeze,
    /// The others are away for a moment; when they are back, it is away.
    Relay,
    /// All nodes end at once.
    Outage,
    /// It starts again, so soon that nobody need have noticed.
    Restart,
    /// Another node starts with a copy of its disk from before its last start, and then the owner is away.
    OldDisk,
}

const STORIES: [Story; 6] = [Story::Bridge, Story::Freeze, Story::Relay, Story::Outage, Story::Restart, Story::OldDisk];

impl World {
    pub(super) fn plan_stories(&mut self, from: Time, until: Time) {
        let mut rng = self.rng.nemesis.fork("stories");
        for _ in 0..self.options.cluster.takeovers.map_or(0, |takeovers| takeovers.stories) {
            let story = rng.pick(&STORIES).copied().unwrap_or(Story::Bridge);
            let fault = Fault::Takeover { region: usize::from(rng.percent(50)), story };
            self.queue.plan(from + rng.below(until - from), Event::Fault(fault));
        }
    }

    /// A node that serves a producer, and the others of its region in any order.
    fn cast(&mut self, region: usize) -> Option<(usize, [usize; 2])> {
        let mut hosts = self.hosts_of(region);
        let serves = |host: &usize| {
            self.conns
                .values()
                .any(|conn| conn.serves(*host) && matches!(self.clients[conn.client()], Client::Producer(_)))
        };
        let serving: Vec<usize> = hosts.iter().copied().filter(serves).collect();
        let rng = &mut self.rng.nemesis;
        let owner = rng.pick(if serving.is_empty() { &hosts } else { &serving }).copied()?;
        hosts.retain(|host| *host != owner);
        if rng.percent(50) {
            hosts.reverse();
        }
        Some((owner, hosts.try_into().ok()?))
    }

    fn soon(&mut self, after: Time, fault: Fault) {
        self.queue.plan(self.now + after, Event::Fault(fault));
    }

    pub(super) fn tell_story(&mut self, region: usize, story: Story) {
        let Some((owner, others)) = self.cast(region) else { return };
        self.trace.note(self.now, format_args!("{story:?} of {owner}, {others:?}"));
        let mut rng = Rng::new(self.rng.nemesis.next_u64());
        match story {
            Story::Bridge => {
                self.elect_this(others[0]);
                let pairs = vec![(owner, others[0]), (others[0], owner)];
                self.soon(0, Fault::CutPeers { pairs, for_time: rng.range(1500 * MS, 8 * SECOND) });
            }
            Story::Freeze => {
                self.soon(0, Fault::Freeze { host: owner, for_time: rng.range(1200 * MS, 6 * SECOND) });
            }
            Story::Relay => {
                let back = rng.range(400 * MS, 1500 * MS);
                for host in others {
                    self.soon(rng.below(50 * MS), Fault::Crash { host, down_for: back });
                }
                let down_for = rng.range(2 * SECOND, 5 * SECOND);
                self.soon(back + rng.below(300 * MS), Fault::Crash { host: owner, down_for });
            }
            Story::Outage => {
                for host in [owner, others[0], others[1]] {
                    let down_for = rng.range(100 * MS, 2 * SECOND);
                    self.soon(rng.below(100 * MS), Fault::Crash { host, down_for });
                }
            }
            Story::Restart => {
                self.soon(0, Fault::Crash { host: owner, down_for: rng.range(10 * MS, 150 * MS) });
            }
            Story::OldDisk => {
                // A copy of the present life is nobody's to notice: it starts once more before the copy comes.
                let host = others[0];
                self.hosts[host].copy_disk();
                self.soon(0, Fault::Crash { host, down_for: rng.range(10 * MS, 150 * MS) });
                let (at, down_for) = (rng.range(SECOND, 4 * SECOND), rng.range(10 * MS, 150 * MS));
                self.soon(at, Fault::OldDisk { host, down_for });
                let down = Fault::Crash { host: owner, down_for: rng.range(SECOND, 4 * SECOND) };
                self.soon(at + down_for + rng.range(200 * MS, 2 * SECOND), down);
            }
        }
    }

    pub(super) fn put_old_disk(&mut self, host: usize, down_for: Time) {
        if self.hosts[host].process.is_some() {
            self.crash(host);
        }
        self.hosts[host].put_old_disk();
        self.soon(down_for, Fault::Restart { host });
    }
}
