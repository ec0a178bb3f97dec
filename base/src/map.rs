//! Hash maps with a fixed hasher: fast and the same in every run. Never iterate them where order matters; use a
//! `BTreeMap` there.

use std::hash::BuildHasherDefault;

/// A hash map whose hasher has no random seed.
pub type FixedMap<K, V> = std::collections::HashMap<K, V, BuildHasherDefault<rustc_hash::FxHasher>>;
/// A hash set whose hasher has no random seed.
pub type FixedSet<K> = std::collections::HashSet<K, BuildHasherDefault<rustc_hash::FxHasher>>;
