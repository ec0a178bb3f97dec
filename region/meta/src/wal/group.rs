//! The bytes of the file header and of a group.

/// Length of the file header.
pub(crate) const FILE_HEADER_LEN: usize = 64;
/// Length of a group's head.
pub(crate) const GROUP_HEAD_LEN: usize = 48;
/// Groups start at multiples of this.
pub(crate) const ALIGN: usize = 8;
/// Bytes of one group's body; the largest legal batch takes less than half.
pub(crate) const GROUP_BODY_MAX: usize = 64 << 20;

const FILE_MAGIC: &[u8; 8] = b"MDNRAFT\x01";
const GROUP_MAGIC: u32 = 0x5047_444d; // "MDGP"
const ROOM_FIRST_AT: usize = 32;
const FILE_CRC_AT: usize = 60;
const GROUP_CRC_AT: usize = 44;

/// Whose log this is. The stream number is drawn when the log is created: what a client stores as a value cannot pass
/// for a group, because it cannot know the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileHeader {
    pub(crate) node: u64,
    pub(crate) stream: u64,
    /// Number of the first group in this file.
    pub(crate) first_seq: u64,
    /// Wal I6 holds for every group; it does not in files of older versions.
    pub(crate) room_first: bool,
}

impl FileHeader {
    /// The header's bytes and their checksum, to which the first group refers.
    pub(crate) fn encode(&self) -> ([u8; FILE_HEADER_LEN], u32) {
        let mut bytes = [0; FILE_HEADER_LEN];
        bytes[..8].copy_from_slice(FILE_MAGIC);
        bytes[8..16].copy_from_slice(&self.node.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.stream.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.first_seq.to_le_bytes());
        bytes[ROOM_FIRST_AT] = u8::from(self.room_first);
        let crc = crc32c::crc32c(&bytes[..FILE_CRC_AT]);
        bytes[FILE_CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        (bytes, crc)
    }

    /// The header at the start of `file` and its checksum; `None` when it is cut or damaged.
    pub(crate) fn decode(file: &[u8]) -> Option<(Self, u32)> {
        let bytes = file.get(..FILE_HEADER_LEN)?;
        let crc = u32_at(bytes, FILE_CRC_AT)?;
        if !bytes.starts_with(FILE_MAGIC) || crc32c::crc32c(&bytes[..FILE_CRC_AT]) != crc {
            return None;
        }
        let header = Self {
            node: u64_at(bytes, 8)?,
            stream: u64_at(bytes, 16)?,
            first_seq: u64_at(bytes, 24)?,
            room_first: *bytes.get(ROOM_FIRST_AT)? != 0,
        };
        Some((header, crc))
    }
}

/// What stands before a group's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupHead {
    pub(crate) seq: u64,
    pub(crate) durable_seq: u64,
    pub(crate) stream: u64,
    /// Where in the file the group starts.
    pub(crate) offset: u64,
    pub(crate) prev_crc: u32,
}

/// A group that reads well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Group<'a> {
    pub(crate) head: GroupHead,
    pub(crate) body: &'a [u8],
    pub(crate) crc: u32,
}

impl GroupHead {
    /// Appends the group with this body and returns its checksum.
    pub(crate) fn encode(&self, body: &[u8], out: &mut Vec<u8>) -> u32 {
        assert!(body.len() <= GROUP_BODY_MAX, "Wal: a group's body has at most {GROUP_BODY_MAX} bytes");
        let start = out.len();
        let body_len = u32::try_from(body.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&GROUP_MAGIC.to_le_bytes());
        out.extend_from_slice(&body_len.to_le_bytes());
        for field in [self.seq, self.durable_seq, self.stream, self.offset] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        out.extend_from_slice(&self.prev_crc.to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&out[start..]), body);
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(body);
        out.resize(start + group_len(body.len()), 0);
        crc
    }
}

impl<'a> Group<'a> {
    /// The group at `offset`; `None` when what stands there does not read as a whole group of this place.
    pub(crate) fn decode(file: &'a [u8], offset: usize) -> Option<Self> {
        let rest = file.get(offset..)?;
        let head = rest.get(..GROUP_HEAD_LEN)?;
        if u32_at(head, 0)? != GROUP_MAGIC || u64_at(head, 32)? != u64::try_from(offset).ok()? {
            return None;
        }
        let body_len = usize::try_from(u32_at(head, 4)?).ok().filter(|len| *len <= GROUP_BODY_MAX)?;
        let body = rest.get(GROUP_HEAD_LEN..)?.get(..body_len)?;
        let padding = rest.get(GROUP_HEAD_LEN + body_len..group_len(body_len))?;
        let crc = u32_at(head, GROUP_CRC_AT)?;
        let computed = crc32c::crc32c_append(crc32c::crc32c(&head[..GROUP_CRC_AT]), body);
        if crc != computed || padding.iter().any(|byte| *byte != 0) {
            return None;
        }
        let head = GroupHead {
            seq: u64_at(head, 8)?,
            durable_seq: u64_at(head, 16)?,
            stream: u64_at(head, 24)?,
            offset: u64_at(head, 32)?,
            prev_crc: u32_at(head, 40)?,
        };
        Some(Self { head, body, crc })
    }

    /// Bytes of the whole group in the file.
    pub(crate) fn len(&self) -> usize {
        group_len(self.body.len())
    }
}

/// Whether `rest`, which is what follows the last whole group up to the end of the file, is less than was there once: room for
/// a group, and all of the group whose first bytes stand there.
pub(crate) fn is_cut(rest: &[u8]) -> bool {
    match (u32_at(rest, 0), u32_at(rest, 4)) {
        (Some(GROUP_MAGIC), Some(len)) => {
            usize::try_from(len).is_ok_and(|len| len <= GROUP_BODY_MAX && group_len(len) > rest.len())
        }
        (Some(_), Some(_)) => false,
        (None, _) | (_, None) => true,
    }
}

/// Bytes of a group with a body of this length: head, body, padding.
pub(crate) fn group_len(body_len: usize) -> usize {
    (GROUP_HEAD_LEN + body_len).next_multiple_of(ALIGN)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}
