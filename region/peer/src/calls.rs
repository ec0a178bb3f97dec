//! Calls that wait for their answers on one connection.

use crate::event::CallError;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

type Outcome = Result<Bytes, CallError>;

/// The calls of one connection, at most `calls_max` at a time.
#[derive(Debug)]
pub(crate) struct Calls {
    waiting: Mutex<Waiting>,
    calls_max: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    calls: BTreeMap<u64, oneshot::Sender<Outcome>>,
    closed: bool,
}

/// A call under way; dropping it gives it up.
#[derive(Debug)]
pub(crate) struct Call {
    calls: Arc<Calls>,
    pub(crate) id: u64,
    answer: oneshot::Receiver<Outcome>,
}

impl Calls {
    pub(crate) fn new(calls_max: usize) -> Arc<Self> {
        Arc::new(Self { waiting: Mutex::default(), calls_max })
    }

    /// Registers a call; whoever begins one then sends it.
    pub(crate) fn begin(self: &Arc<Self>) -> Result<Call, CallError> {
        let mut waiting = self.lock();
        if waiting.closed {
            return Err(CallError::Down);
        }
        if waiting.calls.len() >= self.calls_max {
            return Err(CallError::Full);
        }
        let id = waiting.next;
        waiting.next += 1;
        let (tx, answer) = oneshot::channel();
        waiting.calls.insert(id, tx);
        Ok(Call { calls: Arc::clone(self), id, answer })
    }

    /// Brings an answer to its call, if that still waits.
    pub(crate) fn end(&self, id: u64, outcome: Outcome) {
        let call = self.lock().calls.remove(&id);
        if let Some(call) = call {
            // The caller may have given up in this moment.
            let _ = call.send(outcome);
        }
    }

    /// The connection is gone: no call will be answered.
    pub(crate) fn close(&self) {
        let mut waiting = self.lock();
        waiting.closed = true;
        let calls = std::mem::take(&mut waiting.calls);
        drop(waiting);
        calls.into_values().for_each(|call| drop(call.send(Err(CallError::Lost))));
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Call {
    pub(crate) async fn answered(&mut self) -> Outcome {
        (&mut self.answer).await.unwrap_or(Err(CallError::Lost))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.calls.lock().calls.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::Calls;
    use crate::event::CallError;
    use bytes::Bytes;

    #[tokio::test]
    async fn an_answer_finds_its_call_and_a_call_given_up_makes_room() {
        let calls = Calls::new(2);
        let (mut first, second) = (calls.begin().unwrap(), calls.begin().unwrap());
        assert_eq!(calls.begin().unwrap_err(), CallError::Full);
        calls.end(first.id, Ok(Bytes::from_static(b"yes")));
        assert_eq!(first.answered().await, Ok(Bytes::from_static(b"yes")));
        drop(second);
        let (mut third, _fourth) = (calls.begin().unwrap(), calls.begin().unwrap());
        calls.close();
        assert_eq!(third.answered().await, Err(CallError::Lost));
        assert_eq!(calls.begin().unwrap_err(), CallError::Down);
    }
}
