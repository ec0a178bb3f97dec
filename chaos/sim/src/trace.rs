//! What happened in a run, as one number, and as lines when somebody wants to read them.

use crate::queue::Time;
use std::fmt::{self, Write};

/// Hashes every line (FNV-1a) and keeps the lines when asked to.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    lines: Option<Vec<String>>,
}

/// Whether a run keeps its lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    Hash,
    Lines,
}

struct Hasher<'a>(&'a mut u64);

impl Write for Hasher<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        *self.0 = fold(*self.0, text.as_bytes());
        Ok(())
    }
}

fn fold(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// A short name for bytes in a trace.
pub fn digest(bytes: &[u8]) -> u64 {
    fold(0xcbf2_9ce4_8422_2325, bytes)
}

impl Trace {
    pub fn new(keep: Keep) -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, lines: (keep == Keep::Lines).then(Vec::new) }
    }

    /// Takes one line in.
    pub fn note(&mut self, at: Time, line: fmt::Arguments<'_>) {
        // A hasher takes everything.
        let _ = writeln!(Hasher(&mut self.hash), "{at} {line}");
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:>6}.{:06} {line}", at / 1_000_000_000, at / 1000 % 1_000_000));
        }
    }

    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The lines kept, oldest first.
    pub fn into_lines(self) -> Vec<String> {
        self.lines.unwrap_or_default()
    }
}
