//! The pure state machine of the metadata store.

use crate::Versioned;
use std::collections::BTreeMap;

/// All keys with their values and versions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetaState {
    pub(crate) items: BTreeMap<String, Versioned>,
    pub(crate) revision: u64,
}
