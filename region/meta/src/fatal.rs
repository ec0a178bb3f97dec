//! The one way in which the store ends the process.

use crate::error::MetaFatal;
use std::sync::{Arc, Mutex, PoisonError};

type FatalCall = Box<dyn FnOnce(MetaFatal) + Send>;

/// Calls what the owner of the store gave for the worst case: at most once, whoever meets it first.
#[derive(Clone)]
pub(crate) struct FatalSwitch {
    call: Arc<Mutex<Option<FatalCall>>>,
}

impl FatalSwitch {
    pub(crate) fn new(call: impl FnOnce(MetaFatal) + Send + 'static) -> Self {
        Self { call: Arc::new(Mutex::new(Some(Box::new(call)))) }
    }

    pub(crate) fn trip(&self, cause: MetaFatal) {
        let call = self.call.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(call) = call {
            call(cause);
        }
    }
}

impl std::fmt::Debug for FatalSwitch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FatalSwitch")
    }
}
