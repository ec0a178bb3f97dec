//! The log device: preallocated files, one writer thread, fdatasync before any answer.
