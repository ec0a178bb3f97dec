//! Deterministic simulator of whole regions, checkers, seeded bugs.
