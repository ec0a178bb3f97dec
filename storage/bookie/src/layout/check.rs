//! Checks one stored group against its own checksums, without building an index.

use super::group::{GROUP_HEADER_BYTES, GroupHeader, group_footprint};
use super::record::RecordView;
use super::scan::split_records;
use crate::disk::FileId;
use bytes::Bytes;

/// What stands at a place where a group should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GroupCheck {
    /// A group of `footprint` bytes; `damaged` are the records whose content is not what was written.
    Group { footprint: u64, damaged: Vec<(RecordView, u64)> },
    /// The bytes end before the group does: it needs so many.
    Longer { footprint: u64 },
    /// No group, or one whose records cannot be told apart.
    Unreadable,
}

/// Looks at the group that should stand at the beginning of `raw`, which is at `offset` of the file.
pub(crate) fn check_group(file: FileId, offset: u64, raw: &Bytes) -> GroupCheck {
    let Some((header, _)) = GroupHeader::decode(raw).filter(|(h, _)| h.file == file && h.offset == offset) else {
        return GroupCheck::Unreadable;
    };
    let footprint = group_footprint(u64::from(header.records_len));
    let end = usize::try_from(header.records_len).ok().and_then(|len| len.checked_add(GROUP_HEADER_BYTES));
    let Some(end) = end.filter(|end| *end <= raw.len()) else {
        return GroupCheck::Longer { footprint };
    };
    let records = raw.slice(GROUP_HEADER_BYTES..end);
    let Some((records, _)) = split_records(&header, &records, offset + GROUP_HEADER_BYTES as u64) else {
        return GroupCheck::Unreadable;
    };
    let damaged = records.iter().filter(|record| !record.view.content_holds(&record.content));
    GroupCheck::Group { footprint, damaged: damaged.map(|record| (record.view, record.offset)).collect() }
}
