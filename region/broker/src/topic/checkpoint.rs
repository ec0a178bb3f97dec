//! When the topic saves what it derives from its log, so that a restart replays little and trimming is not held back.
//!
//! **Invariants**
//! - I1  one checkpoint is under way at a time.
//! - I2  a checkpoint is due after [`ENTRIES`] entries or [`BYTES`] bytes, or [`IDLE`] after the last change.

use crate::env::SubId;
use crate::topic::{Topic, TopicEnv};
use base::{Mono, Position};
use managed::Checkpoint;
use std::time::Duration;

const ENTRIES: u64 = 20_000;
const BYTES: u64 = 64 << 20;
const IDLE: Duration = Duration::from_secs(30);

/// What was saved last and when the next is due.
#[derive(Debug, Default)]
pub(crate) struct Checkpointing {
    saved: Option<Position>,
    under_way: Option<(u64, Position)>,
    due: Option<Mono>,
}

impl Checkpointing {
    pub(crate) fn handle_done(&mut self, ctx: u64) {
        if let Some((waiting, position)) = self.under_way
            && waiting == ctx
        {
            self.saved = Some(position);
            self.under_way = None;
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Mono> {
        self.due
    }
}

impl Topic {
    /// Called when the log grew: saves now or sets the deadline.
    pub(crate) fn consider_checkpoint(&mut self, env: &mut TopicEnv<'_>) {
        if !self.log.needs_checkpoint() {
            return;
        }
        let since = self.checkpointing.saved.unwrap_or(Position::EARLIEST);
        let entries_max = env.core.options.rehearsal.map_or(ENTRIES, |rehearsal| rehearsal.checkpoint_entries);
        let much = self.ledger.entries_after(since) >= entries_max || self.ledger.bytes_after(since) >= BYTES;
        if much {
            self.save_checkpoint(env);
        } else if self.checkpointing.due.is_none() {
            self.checkpointing.due = Some(env.now.mono + IDLE);
        }
    }

    pub(crate) fn on_checkpoint_deadline(&mut self, env: &mut TopicEnv<'_>) {
        if self.checkpointing.due.is_some_and(|due| due <= env.now.mono) {
            self.checkpointing.due = None;
            self.save_checkpoint(env);
        }
    }

    fn save_checkpoint(&mut self, env: &mut TopicEnv<'_>) {
        let position = self.log.observed();
        if self.checkpointing.under_way.is_some() || self.checkpointing.saved == Some(position) {
            return;
        }
        let ctx = self.requests.context(SubId(0));
        self.checkpointing.under_way = Some((ctx, position));
        self.checkpointing.due = None;
        let checkpoint = Checkpoint { position, bytes: self.log.save() };
        self.ledger.checkpoint(env.now, checkpoint, ctx, &mut self.ledger_fx);
    }
}
