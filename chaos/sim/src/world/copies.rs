//! Whether bookies have what the metadata says that they have: after the faults it must come true by itself.

use super::World;
use crate::host::Host;
use base::{EntryId, LedgerId};
use ledger::{LedgerMetadata, VACANT};
use wire::bookie::EntryRange;

impl World {
    /// A closed ledger with a copy too few.
    pub(super) fn lacking_copy(&self) -> Option<String> {
        self.regions.iter().enumerate().find_map(|(index, region)| {
            let hosts: Vec<&Host> = self.hosts.iter().filter(|host| host.region == index).collect();
            region.ledgers().find_map(|(ledger, metadata)| lacks(ledger, &metadata, &hosts))
        })
    }
}

fn lacks(ledger: LedgerId, metadata: &LedgerMetadata, hosts: &[&Host]) -> Option<String> {
    let (last, _) = metadata.closed()?;
    metadata.fragments.iter().filter(|fragment| fragment.first_entry <= last).find_map(|fragment| {
        let first = fragment.first_entry;
        let end = metadata.fragment_end(first).unwrap_or_else(|| last.next());
        fragment.bookies.iter().zip(0..).find_map(|(node, slot)| {
            if *node == VACANT {
                return Some(format!("nobody takes a seat of ledger {ledger} from entry {first} on"));
            }
            let host = hosts.iter().find(|host| host.node == *node);
            let bookie = host.and_then(|host| host.process.as_ref()).map(|process| process.node.bookie());
            let (ranges, until) =
                bookie.map_or_else(|| (Vec::new(), first), |bookie| bookie.missing(ledger, EntryRange { first, end }));
            let own = |entry: &EntryId| metadata.replication.write_set(*entry).contains(slot);
            let mut entries = ranges.iter().flat_map(|range| (range.first.0..range.end.0).map(EntryId));
            let lost = entries.find(own).or_else(|| (until < end).then_some(until))?;
            Some(format!("bookie {node} lacks entry {lost} of ledger {ledger}"))
        })
    })
}
