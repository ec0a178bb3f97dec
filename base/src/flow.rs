//! How much a connection brings, for whoever chooses the thread that serves it.

/// Remembers how large the last reads of a connection were: large ones soon say "much", only a run of small ones takes it back.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flow(u32);

impl Flow {
    /// In bytes.
    const LARGE_READ: usize = 32 * 1024;
    const SMALL_READ: usize = 8 * 1024;
    const MUCH: u32 = 16;
    const MOST: u32 = 64;

    /// One read of so many bytes.
    pub fn note(&mut self, read: usize) {
        if read >= Self::LARGE_READ {
            self.0 = (self.0 + 4).min(Self::MOST);
        } else if read < Self::SMALL_READ {
            self.0 = self.0.saturating_sub(1);
        }
    }

    /// Not little for the next few reads, whatever they bring.
    pub fn note_some(&mut self) {
        self.0 = self.0.max(4);
    }

    /// Much, until a run of small reads.
    pub fn note_much(&mut self) {
        self.0 = Self::MOST;
    }

    /// It has brought nothing large for a while.
    pub fn is_little(&self) -> bool {
        self.0 == 0
    }

    /// It has brought several large pieces lately. What is neither stays where it is served.
    pub fn is_much(&self) -> bool {
        self.0 >= Self::MUCH
    }
}

#[cfg(test)]
mod tests {
    use super::Flow;

    #[test]
    fn a_connection_goes_to_the_pool_for_large_reads_and_comes_back_after_a_run_of_small_ones() {
        let mut flow = Flow::default();
        (0..10_000).for_each(|_| flow.note(1_100));
        assert!(flow.is_little() && !flow.is_much(), "single messages");
        for _ in 0..8 {
            flow.note(128 << 10);
            flow.note(4 << 10); // The beginning of the next batch.
        }
        assert!(flow.is_much() && !flow.is_little());
        (0..64).for_each(|_| flow.note(1_100));
        assert!(flow.is_little());
    }
}
