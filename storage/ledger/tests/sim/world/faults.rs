//! What goes wrong, and how everything is put right again.

use super::World;
use crate::check::Violation;
use crate::plan::Fault;
use base::NodeId;
use ledger::{Seeded, SeededBug};

impl World {
    pub(super) fn apply(&mut self, fault: Fault) -> Result<(), Violation> {
        match fault {
            Fault::Crash(node) => {
                let journal = self.bookies[&node].journal_len();
                let durable = usize::try_from(self.plan.rng.below(u64::try_from(journal).unwrap() + 1)).unwrap();
                if let Some(bookie) = self.bookies.get_mut(&node).filter(|bookie| bookie.up) {
                    bookie.crash(durable);
                }
            }
            Fault::Restart { node, wiped } => {
                if let Some(bookie) = self.bookies.get_mut(&node).filter(|bookie| !bookie.up) {
                    let denies = self.plan.writer.seeded == Seeded::with(SeededBug::LimboDenies);
                    if wiped { bookie.restart_wiped(!denies) } else { bookie.restart() }
                }
            }
            Fault::Cut { client, node } => drop(self.cuts.insert((client, node))),
            Fault::Mend { client, node } => drop(self.cuts.remove(&(client, node))),
            Fault::Freeze => drop(self.frozen.get_or_insert_default()),
            Fault::Thaw => return self.thaw(),
            Fault::ReadOnly(node) => self.set_read_only(node, true),
            Fault::Writable(node) => self.set_read_only(node, false),
            Fault::Announce => return self.announce(),
            Fault::KillRepair { client } => self.kill_repair(client),
        }
        Ok(())
    }

    fn set_read_only(&mut self, node: NodeId, read_only: bool) {
        if let Some(bookie) = self.bookies.get_mut(&node) {
            bookie.read_only = read_only;
        }
    }

    fn announce(&mut self) -> Result<(), Violation> {
        let up = self.bookies.iter().filter(|(_, bookie)| bookie.up).map(|(node, _)| *node).collect();
        if self.frozen.is_some() {
            return Ok(());
        }
        self.with_writer(|writer, now, fx| writer.set_available(now, up, fx))
    }

    fn thaw(&mut self) -> Result<(), Violation> {
        for event in self.frozen.take().unwrap_or_default() {
            self.play(event)?;
        }
        Ok(())
    }

    pub(super) fn heal(&mut self) -> Result<(), Violation> {
        self.healed = true;
        self.cuts.clear();
        for bookie in self.bookies.values_mut() {
            bookie.read_only = false;
            if !bookie.up && !bookie.gone {
                bookie.restart();
            }
        }
        self.thaw()?;
        self.announce()
    }
}
