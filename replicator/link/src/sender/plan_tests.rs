//! The table of `plan`, row by row.

use super::*;
use base::{LedgerId, RegionId};

fn at(entry: i64) -> Position {
    Position::new(LedgerId::compose(RegionId(1), 3), entry)
}

/// Copy 7 acknowledged up to `acked`; the cursor stands at `mark_delete`; the log ends at 100.
fn known(acked: Option<i64>, mark_delete: i64, trimmed_up_to: Option<i64>) -> Known {
    Known {
        durable: LinkResume {
            incarnation: acked.map(|_| 7),
            last_forwarded: acked.map(at),
            mark_delete: at(mark_delete),
            messages_done: 5,
        },
        log: LogView {
            trimmed_up_to: trimmed_up_to.map_or(Position::EARLIEST, at),
            last_confirmed: at(100),
            messages_end: 101,
        },
        cursor_high: at(mark_delete),
    }
}

fn remote(incarnation: u64, watermark: Option<i64>) -> RemoteCopy {
    RemoteCopy { incarnation, watermark: watermark.map(at) }
}

fn resumption(known: Known, remote: RemoteCopy) -> Resumption {
    match decide(known, remote) {
        Decision::Resume(resumption) => resumption,
        Decision::Halt(alarm) => panic!("halted: {alarm}"),
    }
}

#[test]
fn a_first_contact_starts_after_the_cursor() {
    let r = resumption(known(None, 10, None), remote(7, None));
    assert_eq!((r.after, r.previous, r.alarms), (at(10), Position::EARLIEST, vec![]));
    assert_eq!(r.resume, LinkResume { incarnation: None, last_forwarded: None, ..known(None, 10, None).durable });
}

#[test]
fn a_first_contact_with_a_copy_that_already_holds_entries_goes_on_after_them() {
    let r = resumption(known(None, 10, None), remote(7, Some(20)));
    assert_eq!((r.after, r.previous, r.alarms), (at(20), at(20), vec![]));
    assert_eq!((r.resume.incarnation, r.resume.last_forwarded, r.resume.mark_delete), (Some(7), Some(at(20)), at(20)));
}

#[test]
fn the_same_copy_goes_on_after_the_later_of_watermark_and_cursor() {
    let ahead = resumption(known(Some(8), 10, None), remote(7, Some(20)));
    assert_eq!((ahead.after, ahead.previous, ahead.alarms), (at(20), at(20), vec![]));
    let behind = resumption(known(Some(8), 10, None), remote(7, Some(8)));
    assert_eq!((behind.after, behind.previous, behind.alarms), (at(10), at(8), vec![]));
}

#[test]
fn a_cursor_at_the_end_of_a_trimmed_ledger_is_no_missing_history() {
    // The log knows only that its first ledger starts beyond the cursor.
    let mut known = known(Some(8), 10, None);
    known.log.trimmed_up_to = Position::new(LedgerId(at(0).ledger.0 + 1), -1);
    assert_eq!(resumption(known, remote(7, Some(8))).after, at(10));
}

#[test]
fn the_same_copy_that_lost_entries_gets_them_again_loudly() {
    let r = resumption(known(Some(8), 10, Some(3)), remote(7, Some(4)));
    assert_eq!((r.after, r.previous), (at(4), at(4)));
    assert_eq!(r.alarms, [LinkAlarm::RemoteLostAcked { acked: at(8), watermark: Some(at(4)) }]);
    assert_eq!((r.resume.last_forwarded, r.resume.mark_delete), (Some(at(4)), at(4)));
}

#[test]
fn the_same_copy_that_lost_entries_which_are_trimmed_here_halts_the_link() {
    for watermark in [Some(2), None] {
        let alarm = LinkAlarm::Halted { acked: at(8), watermark: watermark.map(at), trimmed_up_to: at(3) };
        assert_eq!(decide(known(Some(8), 10, Some(3)), remote(7, watermark)), Decision::Halt(alarm));
    }
}

#[test]
fn another_copy_starts_from_the_beginning_while_the_log_is_complete() {
    let r = resumption(known(Some(8), 10, None), remote(9, None));
    assert_eq!((r.after, r.previous), (Position::EARLIEST, Position::EARLIEST));
    assert_eq!(r.alarms, [LinkAlarm::RemoteReplaced { was: 7, now: 9, watermark: None }]);
    assert_eq!(r.resume.mark_delete, Position::EARLIEST);
}

#[test]
fn another_copy_of_a_trimmed_log_starts_with_what_is_retained_and_names_what_is_missing() {
    let r = resumption(known(Some(8), 10, Some(3)), remote(9, None));
    assert_eq!((r.after, r.previous, r.resume.mark_delete), (at(3), Position::EARLIEST, at(3)));
    assert_eq!(r.alarms[1], LinkAlarm::HistoryMissing { watermark: None, trimmed_up_to: at(3) });
}

#[test]
fn another_copy_is_never_credited_with_what_the_old_one_acknowledged() {
    let r = resumption(known(Some(8), 10, None), remote(9, Some(4)));
    assert_eq!((r.after, r.previous, r.resume.mark_delete), (at(4), at(4), at(4)));
}

#[test]
fn a_remote_ahead_of_the_log_is_an_alarm_and_the_cursor_stays_within_the_log() {
    let r = resumption(known(Some(100), 100, None), remote(7, Some(120)));
    assert_eq!(r.alarms, [LinkAlarm::OriginBehind { last_confirmed: at(100), watermark: at(120) }]);
    assert_eq!((r.after, r.previous, r.resume.mark_delete), (at(120), at(120), at(100)));
}

#[test]
fn a_recreated_origin_topic_goes_on_behind_what_the_remote_holds_of_the_old_one() {
    let mut fresh = known(None, 0, None);
    fresh.durable = LinkResume::starting_after(Position::EARLIEST, 0);
    fresh.log.last_confirmed = Position::EARLIEST;
    let r = resumption(fresh, remote(7, Some(50)));
    assert_eq!((r.after, r.previous, r.alarms), (at(50), at(50), vec![]));
}
