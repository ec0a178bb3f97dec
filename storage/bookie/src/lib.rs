//! The disk side of storage: fences, log layout, sparse index, cleaner.
