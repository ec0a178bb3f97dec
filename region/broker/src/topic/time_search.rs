//! Finds the first entry published at or after a time, by binary search over positions.
//!
//! **What**  Publish times grow roughly with positions (clients set them), which is what Pulsar's search rests on too.
//! Each probe reads one entry; the outcome is handed to whoever asked.
//!
//! **Invariants**
//! - I1  every entry below `low` is older than the time; the entry at `high` (when there is one) is not.

use crate::topic::{Topic, TopicEnv};
use base::Position;
use managed::{Entry, Read, ReadError, ReadId};
use wire::payload::PayloadHints;

/// What to do with the found position.
#[derive(Debug)]
pub(crate) enum Purpose {
    /// Seek, rollback at subscribe, or reset by an operator.
    Start(crate::topic::subscribe::StartFound),
    /// An operator expires what is older.
    Expire(crate::topic::backlog::ExpireFound),
    /// An operator asks for the message id.
    Report(crate::io::AdminId),
}

/// One search.
#[derive(Debug)]
struct Search {
    target_ms: u64,
    first: Position,
    low: u64,
    high: u64,
    reading: Option<ReadId>,
    purpose: Purpose,
}

/// Searches under way.
#[derive(Debug, Default)]
pub(crate) struct TimeSearches {
    list: Vec<Search>,
}

/// Searches under way on one topic.
const SEARCHES_MAX: usize = 1_000;

impl Topic {
    /// Starts a search; its purpose is served at once or later. `None` means: after the last entry.
    pub(crate) fn search_time(&mut self, target_ms: u64, purpose: Purpose, env: &mut TopicEnv<'_>) {
        let first = self.ledger.first_position();
        let high = self.ledger.total_entries();
        if self.searches.list.len() >= SEARCHES_MAX {
            return self.found(Err(format!("{SEARCHES_MAX} searches by time are under way; try again")), purpose, env);
        }
        let search = Search { target_ms, first, low: 0, high, reading: None, purpose };
        self.advance_search(search, env);
    }

    fn advance_search(&mut self, mut search: Search, env: &mut TopicEnv<'_>) {
        while search.low < search.high {
            let probe = search.low + (search.high - search.low) / 2;
            let Some(position) = self.ledger.position_at(search.first, probe) else {
                search.high = probe;
                continue;
            };
            match self.ledger.read(env.now, position, 1, 1, &mut self.ledger_fx) {
                Read::Ready(entries) => search.judge(probe, &entries),
                Read::Pending(id) => {
                    search.reading = Some(id);
                    self.searches.list.push(search);
                    return;
                }
                Read::AtTail => search.high = probe,
                Read::Busy => {
                    let reason = "the log is busy; try again".to_owned();
                    return self.found(Err(reason), search.purpose, env);
                }
            }
        }
        let position = self.ledger.position_at(search.first, search.low);
        self.found(Ok(position), search.purpose, env);
    }

    /// A probe is answered; false when the read is no search's.
    pub(crate) fn handle_search_read(
        &mut self,
        id: ReadId,
        result: &mut Option<Result<Vec<Entry>, ReadError>>,
        env: &mut TopicEnv<'_>,
    ) -> bool {
        let Some(index) = self.searches.list.iter().position(|search| search.reading == Some(id)) else { return false };
        let mut search = self.searches.list.swap_remove(index);
        search.reading = None;
        match result.take() {
            Some(Ok(entries)) => {
                let probe = search.low + (search.high - search.low) / 2;
                search.judge(probe, &entries);
                self.advance_search(search, env);
            }
            Some(Err(error)) => self.found(Err(error.to_string()), search.purpose, env),
            None => (),
        }
        true
    }

    fn found(&mut self, outcome: Result<Option<Position>, String>, purpose: Purpose, env: &mut TopicEnv<'_>) {
        match purpose {
            Purpose::Start(start) => self.handle_start_found(outcome, start, env),
            Purpose::Expire(expire) => self.handle_expire_found(outcome, expire, env),
            Purpose::Report(id) => self.report_found(outcome, id, env),
        }
    }
}

impl Search {
    fn judge(&mut self, probe: u64, entries: &[Entry]) {
        let time =
            entries.first().and_then(|entry| PayloadHints::scan(&entry.data.body).ok().map(|h| h.publish_time_ms));
        if time.is_some_and(|time| time < self.target_ms) {
            self.low = probe + 1;
        } else {
            self.high = probe;
        }
    }
}
