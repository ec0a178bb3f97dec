//! Tests of the envelope: every way in which a frame can be wrong has its own error.

use super::{PeerFrameError, PieceWriter, finish, next_frame, open, take_entry_id, take_flag, take_text};
use base::{EntryData, EntryId};
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// A frame of kind 7 whose fields `fill` writes, without its length.
fn frame(fill: impl FnOnce(&mut PieceWriter<'_>)) -> Bytes {
    let mut pieces = Vec::new();
    let mut writer = PieceWriter::new(7, 0, &mut pieces);
    fill(&mut writer);
    writer.finish();
    let mut bytes = Bytes::from(pieces.concat());
    assert_eq!(bytes.get_u32(), u32::try_from(bytes.len()).unwrap());
    bytes
}

#[test]
fn an_empty_frame_opens() {
    let (kind, fields) = open(&frame(|_| ())).unwrap();
    assert_eq!((kind, fields.len()), (7, 0));
    assert_eq!(finish((), &fields), Ok(()));
}

#[test]
fn every_flipped_bit_is_detected() {
    let good = frame(|writer| writer.put_u64(0x0123_4567_89ab_cdef));
    for place in 0..good.len() {
        for bit in 0..8 {
            let mut damaged = good.to_vec();
            damaged[place] ^= 1 << bit;
            let error = open(&damaged.into()).unwrap_err();
            assert!(matches!(error, PeerFrameError::ChecksumMismatch { .. }), "peer I1: byte {place} bit {bit}");
        }
    }
}

#[test]
fn bodies_stay_pieces_of_their_own_and_empty_ones_make_none() {
    let body = Bytes::from_static(b"body");
    let mut pieces = vec![Bytes::from_static(b"an earlier frame")];
    let mut writer = PieceWriter::new(1, 0, &mut pieces);
    writer.put_entry(&EntryData::new(Bytes::new(), body.clone()));
    writer.put_entry(&EntryData::default());
    writer.put_entry(&EntryData::new(Bytes::from_static(b"head"), body.clone()));
    writer.finish();
    assert_eq!(pieces.len(), 5, "{pieces:?}");
    assert_eq!((pieces[2].as_ptr(), pieces[4].as_ptr()), (body.as_ptr(), body.as_ptr()));
    let mut buf = BytesMut::from(&pieces[1..].concat()[..]);
    assert!(open(&next_frame(&mut buf, 100).unwrap().unwrap()).is_ok());
}

#[test]
fn other_versions_and_cut_frames_are_refused() {
    let mut version_2 = BytesMut::new();
    version_2.put_u32(crc32c::crc32c(&[2, 7]));
    version_2.put_slice(&[2, 7]);
    assert_eq!(open(&version_2.freeze()), Err(PeerFrameError::UnknownVersion(2)));
    assert_eq!(open(&Bytes::from_static(b"abc")), Err(PeerFrameError::Truncated));
    assert_eq!(open(&Bytes::from_static(&[0, 0, 0, 0])), Err(PeerFrameError::Truncated));
    assert_eq!(finish((), &Bytes::from_static(b"more")), Err(PeerFrameError::TrailingBytes(4)));
}

#[test]
fn fields_out_of_range_are_refused() {
    assert_eq!(take_flag(&mut Bytes::from_static(&[2])), Err(PeerFrameError::BadFlag(2)));
    assert_eq!(take_text(&mut Bytes::from_static(b"\0\0\0\x01\xff")), Err(PeerFrameError::BadText));
    assert_eq!(take_text(&mut Bytes::from_static(b"\xff\xff\xff\xffx")), Err(PeerFrameError::Truncated));
    let entry = |number: i64| take_entry_id(&mut Bytes::copy_from_slice(&number.to_be_bytes()));
    assert_eq!(entry(-1), Ok(EntryId::NONE));
    for number in [-2, i64::MIN, i64::MAX] {
        assert_eq!(entry(number), Err(PeerFrameError::BadEntryId(number)), "peer I2");
    }
}
