//! One process: its machines and the only routing table.
