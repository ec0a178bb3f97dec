//! Reads a log file as it was found: which groups are whole, where they end, and whether what follows is torn or damaged.
//!
//! **What**  A pure function of the file's bytes; the rule is told in [`super`].

use super::group::{ALIGN, FILE_HEADER_LEN, FileHeader, GROUP_HEAD_LEN, Group, is_cut};
use std::ops::Range;

/// A log that may be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scan {
    pub(crate) header: FileHeader,
    /// Where the bodies of the whole groups stand, in order.
    pub(crate) bodies: Vec<Range<usize>>,
    /// Where the next group goes.
    pub(crate) tail: usize,
    pub(crate) next_seq: u64,
    pub(crate) prev_crc: u32,
    /// The last group that a later one says had been durable; one less than the first if there is none.
    pub(crate) durable_seq: u64,
    /// Bytes of an unfinished write behind the tail; they were never reported durable and are to be zeroed.
    pub(crate) torn: Range<usize>,
}

/// Bytes that had been durable are gone or changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    pub(crate) offset: usize,
    pub(crate) what: String,
}

/// Reads the whole file.
///
/// # Errors
/// [`Damage`] when the header or a group that had been durable does not read.
pub(crate) fn scan(file: &[u8]) -> Result<Scan, Damage> {
    let Some((header, header_crc)) = FileHeader::decode(file) else {
        let what = "its header does not read, though the file only gets its name once the header is durable".to_owned();
        return Err(Damage { offset: 0, what });
    };
    let mut scan = Scan {
        header,
        bodies: Vec::new(),
        tail: FILE_HEADER_LEN,
        next_seq: header.first_seq,
        prev_crc: header_crc,
        durable_seq: header.first_seq.saturating_sub(1),
        torn: 0..0,
    };
    while let Some(group) = next_group(file, &scan) {
        let body_start = scan.tail + GROUP_HEAD_LEN;
        scan.bodies.push(body_start..body_start + group.body.len());
        scan.tail += group.len();
        scan.next_seq += 1;
        scan.prev_crc = group.crc;
        scan.durable_seq = group.head.durable_seq;
    }
    scan.torn = torn_range(file, scan.tail);
    if let Some(witness) = find_witness(file, &scan) {
        let what = format!(
            "group {} does not read, and group {} at byte {} shows that it had been durable",
            scan.next_seq, witness.head.seq, witness.head.offset
        );
        return Err(Damage { offset: scan.tail, what });
    }
    Ok(scan)
}

/// Whether the end of the file was taken away. Then groups that were promised may have gone with it, though nothing behind
/// them bears witness.
///
/// A crash may leave a step half grown; no group stands in it then (I6).
///
/// # Errors
/// [`Damage`] at the file's end.
pub(crate) fn check_length(file: &[u8], scan: &Scan, step: usize) -> Result<(), Damage> {
    if !scan.header.room_first {
        return check_steps(scan, file.len(), step);
    }
    if !is_cut(file.get(scan.tail..).unwrap_or_default()) {
        return Ok(());
    }
    let what = format!("it ends here, in group {} or right before it: the file was cut short", scan.next_seq);
    Err(Damage { offset: file.len(), what })
}

/// The same for a file of an older version: it grew by whole steps of `step` bytes (I5), but a crash could leave groups without
/// the room that they stood in. A cut exactly between two steps is not told from that.
fn check_steps(scan: &Scan, len: usize, step: usize) -> Result<(), Damage> {
    let whole = len - len % step.max(1);
    let durable = scan.durable_seq.checked_sub(scan.header.first_seq).and_then(|index| usize::try_from(index).ok());
    let durable_end = durable.and_then(|index| scan.bodies.get(index)).map_or(FILE_HEADER_LEN, |body| body.end);
    if durable_end <= whole {
        return Ok(());
    }
    let what = format!("it ends here, and what had been durable reaches past byte {whole}: the file was cut short");
    Err(Damage { offset: len, what })
}

/// The group at the tail, when it is the one that belongs there.
fn next_group<'a>(file: &'a [u8], scan: &Scan) -> Option<Group<'a>> {
    let group = Group::decode(file, scan.tail)?;
    let head = group.head;
    let belongs = head.stream == scan.header.stream && head.seq == scan.next_seq && head.prev_crc == scan.prev_crc;
    belongs.then_some(group)
}

/// A readable group behind the tail that was written when the group missing at the tail was already durable.
fn find_witness<'a>(file: &'a [u8], scan: &Scan) -> Option<Group<'a>> {
    let places = scan.torn.clone().step_by(ALIGN);
    places
        .filter_map(|offset| Group::decode(file, offset))
        .find(|group| group.head.stream == scan.header.stream && group.head.durable_seq >= scan.next_seq)
}

fn torn_range(file: &[u8], tail: usize) -> Range<usize> {
    let rest = file.get(tail..).unwrap_or_default();
    let len = rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    tail..tail + len
}
