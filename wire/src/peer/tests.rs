//! Tests of the envelope: every way in which a frame can be wrong has its own error.

use super::{
    HEAD_BYTES, PeerFrameError, PieceWriter, finish, next_frame, nothing_left, open, take_entry, take_entry_id,
    take_entry_unread, take_flag, take_text,
};
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
    let (kind, rest) = open(&frame(|_| ())).unwrap();
    assert_eq!((kind, rest.fields.len()), (7, 0));
    assert_eq!(finish((), &rest), Ok(()));
}

#[test]
fn every_flipped_bit_is_detected_when_the_entry_is_read_at_the_latest() {
    let entry = || EntryData::new(Bytes::from_static(b"head"), Bytes::from_static(b"body"));
    let good = frame(|writer| {
        writer.put_u64(0x0123_4567_89ab_cdef);
        writer.put_entry(&entry());
    });
    for place in 0..good.len() {
        for bit in 0..8 {
            let mut damaged = good.to_vec();
            damaged[place] ^= 1 << bit;
            let damaged = Bytes::from(damaged);
            let in_body = place >= good.len() - entry().body.len();
            match open(&damaged) {
                Err(error) => assert!(!in_body, "peer I1: byte {place} bit {bit}: {error}"),
                Ok((_, mut rest)) => {
                    assert!(in_body, "peer I1: byte {place} bit {bit}");
                    rest.fields.advance(8);
                    assert!(!take_entry_unread(&mut rest).unwrap().holds(), "peer I1: byte {place} bit {bit}");
                    let (_, mut rest) = open(&damaged).unwrap();
                    rest.fields.advance(8);
                    let error = take_entry(&mut rest).unwrap_err();
                    assert!(
                        matches!(error, PeerFrameError::ChecksumMismatch { .. }),
                        "peer I1: byte {place} bit {bit}"
                    );
                }
            }
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
    assert_eq!(pieces.len(), 4, "{pieces:?}");
    assert_eq!((pieces[2].as_ptr(), pieces[3].as_ptr()), (body.as_ptr(), body.as_ptr()));
    let mut buf = BytesMut::from(&pieces[1..].concat()[..]);
    let (_, mut rest) = open(&next_frame(&mut buf, 100).unwrap().unwrap()).unwrap();
    let lengths: Vec<usize> = (0..3).map(|_| take_entry(&mut rest).unwrap().len()).collect();
    assert_eq!((lengths, finish((), &rest)), (vec![4, 0, 8], Ok(())));
}

#[test]
fn other_versions_and_cut_frames_are_refused() {
    for version in [1, 3] {
        let mut other = BytesMut::new();
        other.put_u32(crc32c::crc32c(&[version, 7]));
        other.put_slice(&[version, 7]);
        assert_eq!(open(&other.freeze()).unwrap_err(), PeerFrameError::UnknownVersion(version));
    }
    let good = frame(|_| ());
    for cut in 0..good.len() {
        assert_eq!(open(&good.slice(..cut)).unwrap_err(), PeerFrameError::Truncated, "cut at {cut}");
    }
    assert_eq!(good.len(), 4 + HEAD_BYTES);
    assert_eq!(nothing_left(&Bytes::from_static(b"more")), Err(PeerFrameError::TrailingBytes(4)));
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
