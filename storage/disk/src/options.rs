//! How the device keeps its files.

use bookie::layout::LayoutOptions;

/// Sizes and bounds of one log device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskOptions {
    /// Size of one log file, bytes; a multiple of 4 KiB, from 64 KiB to below 4 GiB.
    pub file_bytes: u64,
    /// Most bytes of records that one write and one fdatasync cover.
    pub group_bytes_max: u32,
    /// Memory for blocks of the log that were read, bytes.
    pub cache_bytes: usize,
    /// Threads that read; at least 1.
    pub reader_threads: usize,
    /// Freed files that are kept for reuse; more are deleted.
    pub pool_files_max: usize,
    /// Upper bound for all files together, bytes; `None` = the volume is the bound.
    pub capacity_bytes: Option<u64>,
}

impl DiskOptions {
    /// What a server uses: 64 MiB files, groups up to 4 MiB, 64 MiB of block cache, one reader, up to 4 spare files.
    pub fn standard() -> Self {
        Self {
            file_bytes: 64 << 20,
            group_bytes_max: 4 << 20,
            cache_bytes: 64 << 20,
            reader_threads: 1,
            pool_files_max: 4,
            capacity_bytes: None,
        }
    }

    /// The part that the layout is planned with.
    pub fn layout(&self) -> LayoutOptions {
        LayoutOptions { file_bytes: self.file_bytes, group_bytes_max: u64::from(self.group_bytes_max) }
    }

    /// What is wrong with these options, if anything.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        let sized = (64 << 10..4 << 30).contains(&self.file_bytes) && self.file_bytes.is_multiple_of(4096);
        if !sized {
            return Some("file_bytes must be a multiple of 4096 from 65536 to below 4294967296");
        }
        (self.reader_threads == 0).then_some("reader_threads must be at least 1")
    }
}
