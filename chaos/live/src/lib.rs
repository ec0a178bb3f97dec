//! Real processes, real faults, real clients.
