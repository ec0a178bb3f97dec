//! Each checker notices what it is there for, and is silent otherwise.

use super::{Kind, check};
use crate::clocks::Gain;
use crate::history::{AUDIT, AckAnswered, Acked, Delivered, History, Message, Opened, ProducerPlan, Sent, SubKey};
use crate::history::{Life, LogChanged, Owned, OwnerChanged};
use base::{LedgerId, NodeId, OwnerId, Position};

fn sub(region: usize, name: &str) -> SubKey {
    SubKey { region, topic: "t".into(), name: name.into() }
}

/// One producer in each of two regions, four messages each, everything right.
fn good() -> History {
    let mut history = History { regions: 2, ..History::default() };
    for region in 0..2 {
        history.producers.push(ProducerPlan { region, topic: "t".into(), messages: 4, local: false });
        history.subs.push(sub(region, AUDIT));
        history.subs.push(sub(region, "shared"));
    }
    for region in 0..2_usize {
        let ledger = LedgerId(region as u64 + 1);
        for number in 0..4_u64 {
            for producer in 0..2_usize {
                let position =
                    Position::new(ledger, i64::try_from(number * 2).unwrap() + i64::try_from(producer).unwrap());
                let message = Message { producer, number };
                if producer == region {
                    history.sent.push(Sent { message: message.clone() });
                    let at = number * 1_000_000;
                    let acked = Acked { producer, first: number, last: number, position: Some(position), at, boot: 1 };
                    history.acked.push(acked);
                }
                for name in [AUDIT, "shared"] {
                    let step = number + 1;
                    let messages = vec![message.clone()];
                    let sub = sub(region, name);
                    let session = region as u64;
                    history.delivered.push(Delivered {
                        sub,
                        session,
                        position,
                        messages,
                        redelivery: 0,
                        absent: Vec::new(),
                        step,
                        boot: 1,
                    });
                }
            }
        }
    }
    // Sessions of the shared consumers do not count for order; give the audits their own.
    for delivered in &mut history.delivered {
        if delivered.sub.name != AUDIT {
            delivered.session += 10;
        }
    }
    history
}

fn kinds(history: &History) -> Vec<Kind> {
    let mut kinds: Vec<Kind> = check(history).into_iter().map(|violation| violation.kind).collect();
    kinds.dedup();
    kinds
}

#[test]
fn a_correct_history_has_no_findings() {
    assert_eq!(check(&good()), []);
}

#[test]
fn a_lost_message_is_found() {
    let mut history = good();
    history.delivered.retain(|d| d.messages[0] != Message { producer: 0, number: 2 });
    assert!(kinds(&history).contains(&Kind::Lost));
}

#[test]
fn a_message_missing_in_the_other_region_is_found() {
    let mut history = good();
    history.delivered.retain(|d| d.sub.region == 0 || d.messages[0] != Message { producer: 0, number: 3 });
    let kinds = kinds(&history);
    assert!(kinds.contains(&Kind::Lost) && kinds.contains(&Kind::Copy), "{kinds:?}");
}

#[test]
fn a_message_missing_in_one_subscription_is_found() {
    let mut history = good();
    history.delivered.retain(|d| d.sub.name == AUDIT || d.messages[0] != Message { producer: 0, number: 3 });
    assert_eq!(kinds(&history), [Kind::Lost]);
}

#[test]
fn a_message_that_is_gone_at_the_end_is_found() {
    let mut history = good();
    let audits: Vec<Delivered> = history.delivered.iter().filter(|d| d.sub.name == AUDIT).cloned().collect();
    let again = audits.into_iter().map(|d| Delivered { step: d.step + 100, session: d.session + 20, ..d });
    history.delivered.extend(again);
    history.read_back = Some(100);
    assert_eq!(check(&history), []);
    history.delivered.pop();
    assert_eq!(kinds(&history), [Kind::Lost]);
}

#[test]
fn a_duplicate_is_found() {
    let mut history = good();
    let mut again = history.delivered[0].clone();
    again.position = Position::new(LedgerId(1), 100);
    again.session = 77;
    history.delivered.push(again);
    assert!(kinds(&history).contains(&Kind::Duplicate));
}

#[test]
fn a_swap_is_found_as_order_and_as_different_copies() {
    let mut history = good();
    let audit: Vec<usize> = (0..history.delivered.len())
        .filter(|i| history.delivered[*i].sub == sub(0, AUDIT) && history.delivered[*i].messages[0].producer == 1)
        .collect();
    let (a, b) = (audit[0], audit[1]);
    let first = history.delivered[a].messages.clone();
    history.delivered[a].messages = history.delivered[b].messages.clone();
    history.delivered[b].messages = first;
    let kinds = kinds(&history);
    assert!(kinds.contains(&Kind::Order) && kinds.contains(&Kind::Copy), "{kinds:?}");
}

#[test]
fn a_message_of_nobody_is_found() {
    let mut history = good();
    history.sent.remove(0);
    assert!(kinds(&history).contains(&Kind::Phantom));
}

#[test]
fn a_receipt_with_a_wrong_position_is_found() {
    let mut history = good();
    history.acked[0].position = Some(Position::new(LedgerId(1), 55));
    assert_eq!(kinds(&history), [Kind::Position]);
}

#[test]
fn a_position_with_two_contents_is_found() {
    let mut history = good();
    let mut again = history.delivered[0].clone();
    again.messages = vec![Message { producer: 0, number: 3 }];
    again.session = 78;
    history.delivered.push(again);
    assert!(kinds(&history).contains(&Kind::Position));
}

#[test]
fn a_forgotten_acknowledgement_is_found() {
    let mut history = good();
    let position = history.delivered[1].position;
    let key = history.delivered[1].sub.clone();
    let (positions, parts) = (vec![position], vec![]);
    history.answered.push(AckAnswered { sub: key.clone(), positions, parts, step: 50, boot: 1 });
    assert_eq!(check(&history), []);
    let mut again = history.delivered[1].clone();
    again.step = 60;
    history.delivered.push(again);
    assert_eq!(kinds(&history), [Kind::AckForgotten]);
}

#[test]
fn an_acknowledgement_that_an_older_owner_does_not_know_of_is_not_forgotten() {
    let mut history = good();
    let position = history.delivered[1].position;
    let sub = history.delivered[1].sub.clone();
    history.answered.push(AckAnswered { sub, positions: vec![position], parts: vec![], step: 50, boot: 2 });
    let again = Delivered { step: 60, ..history.delivered[1].clone() };
    for (boot, step) in [(1, 0), (2, 40), (3, 55)] {
        let SubKey { region, topic, .. } = again.sub.clone();
        history.opened.push(Opened { region, topic, boot, owner: OwnerId(boot), step });
    }
    history.delivered.push(again.clone());
    assert_eq!(check(&history), []);
    history.delivered.push(Delivered { step: 61, boot: 3, ..again });
    assert_eq!(kinds(&history), [Kind::AckForgotten], "the next owner has to know");
}

#[test]
fn an_exclusive_consumer_that_goes_back_is_found() {
    let mut history = good();
    let again = history.delivered[0].clone();
    history.delivered.push(again);
    assert_eq!(kinds(&history), [Kind::DeliveryOrder]);
}

#[test]
fn too_much_within_ten_seconds_is_found() {
    let mut history = good();
    history.quota = Some(10);
    assert_eq!(check(&history), []);
    let mut many = history.acked[0].clone();
    many.first = 0;
    many.last = 3;
    many.position = None;
    history.acked.extend(std::iter::repeat_n(many.clone(), 100));
    assert_eq!(check(&history), [], "duplicates are not charged");
    for acked in &mut history.acked {
        acked.position.get_or_insert_with(|| Position::new(LedgerId(1), 0));
    }
    assert!(kinds(&history).contains(&Kind::Quota));
}

#[test]
fn a_quota_is_measured_in_seconds_of_its_servers_clock() {
    let exceeds = |messages: usize, gain: i32| {
        let mut history = good();
        (history.quota, history.quota_clocks) = (Some(100), vec![Gain(gain); 2]);
        let one = Acked { first: 0, last: 0, ..history.acked[0].clone() };
        history.acked = vec![one; messages];
        kinds(&history).contains(&Kind::Quota)
    };
    assert!(!exceeds(1020, 0) && exceeds(1021, 0));
    assert!(!exceeds(1071, 50_000) && exceeds(1072, 50_000));
    assert!(!exceeds(969, -50_000) && exceeds(970, -50_000));
}

#[test]
fn an_unfinished_run_is_found() {
    let mut history = good();
    history.unfinished = Some("nobody came".into());
    assert_eq!(kinds(&history), [Kind::Liveness]);
}

/// A Key_Shared subscription whose clients 1 and 2 get entries of one key, in steps 10 and up.
fn key_shared(sends: &[(u64, i64, u32)]) -> History {
    let mut history = History { regions: 2, ..History::default() };
    for ((client, entry, redelivery), step) in sends.iter().zip(10..) {
        history.delivered.push(Delivered {
            sub: sub(0, "key-shared"),
            session: client << 32,
            position: Position::new(LedgerId(1), *entry),
            messages: vec![Message { producer: 0, number: 0 }],
            redelivery: *redelivery,
            absent: Vec::new(),
            step,
            boot: 1,
        });
    }
    history
}

fn findings(history: &History) -> String {
    let mut found = Vec::new();
    super::holders::check_holders(history, &mut found);
    found.iter().map(|violation| violation.text.split("}: ").nth(1).unwrap()[..2].to_owned()).collect()
}

#[test]
fn a_key_with_two_consumers_is_found_until_the_first_lets_go() {
    let mut history = key_shared(&[(1, 0, 0), (2, 1, 0)]);
    assert_eq!(findings(&history), "H2");
    let position = Position::new(LedgerId(1), 0);
    history.released.push(crate::history::Released { client: 1, position, step: 10 });
    assert_eq!(findings(&history), "");
}

#[test]
fn an_entry_with_two_consumers_is_found() {
    assert!(findings(&key_shared(&[(1, 0, 0), (2, 0, 1)])).contains("H1"));
}

#[test]
fn a_key_out_of_order_and_a_falling_count_are_found() {
    assert_eq!(findings(&key_shared(&[(1, 1, 0), (1, 0, 0)])), "H3");
    assert_eq!(findings(&key_shared(&[(1, 0, 2), (1, 0, 1)])), "H4");
}

#[test]
fn a_seek_that_brings_too_little_is_found() {
    let mut history = good();
    let to = history.delivered[0].position;
    let key = SubKey { name: crate::history::SEEKER.into(), ..sub(0, AUDIT) };
    history.seeks.push(crate::history::Seek { sub: key.clone(), to, kept: to, step: Some(100) });
    assert_eq!(kinds(&history), [Kind::Seek], "nothing came");
    let log: Vec<Delivered> = history.delivered.iter().filter(|d| d.sub == sub(0, AUDIT)).cloned().collect();
    for (delivered, step) in log.into_iter().zip(101..) {
        history.delivered.push(Delivered { sub: key.clone(), step, session: 9 << 32, ..delivered });
    }
    assert_eq!(check(&history), []);
    history.delivered.pop();
    assert_eq!(kinds(&history), [Kind::Seek], "the last is missing");
}

fn life(node: u64, incarnation: u64) -> Life {
    Life { node: NodeId(node), incarnation }
}

#[test]
fn a_log_that_is_changed_by_another_one_than_its_owner_is_found() {
    for owner in [Some(life(1, 4)), None] {
        let mut history = good();
        let change = LogChanged { region: 0, topic: "t".into(), by: life(1, 3), owner: Some(life(1, 3)), step: 5 };
        history.log_changes.push(change.clone());
        assert_eq!(check(&history), []);
        history.log_changes.push(LogChanged { owner, ..change });
        assert_eq!(kinds(&history), [Kind::Ownership]);
    }
}

#[test]
fn owners_that_come_and_go_as_they_should_are_fine_and_others_are_found() {
    let owned = |node, epoch| Some(Owned { life: life(node, 2), epoch });
    let change = |by, before, after, alive| {
        let bundle = "b".to_owned();
        let change = OwnerChanged { region: 0, bundle, by: life(by, 2), before, after, alive, step: 1 };
        let history = History { owner_changes: vec![change], ..good() };
        check(&history).first().map(|violation| violation.text[..2].to_owned())
    };
    assert_eq!(change(3, None, owned(1, 1), Some(2)), None, "whoever is asked assigns");
    assert_eq!(change(3, owned(1, 4), owned(2, 5), Some(2)), None, "a takeover");
    assert_eq!(change(3, owned(1, 4), owned(1, 4), None), None, "asked to hand over");
    assert_eq!(change(1, owned(1, 4), None, None), None, "given up");
    assert_eq!(change(3, owned(1, 4), owned(2, 4), Some(2)).as_deref(), Some("O2"));
    assert_eq!(change(3, owned(1, 4), owned(2, 3), Some(2)).as_deref(), Some("O2"));
    assert_eq!(change(3, owned(1, 4), owned(2, 5), Some(3)).as_deref(), Some("O3"));
    assert_eq!(change(3, None, owned(2, 1), None).as_deref(), Some("O3"));
    assert_eq!(change(3, owned(1, 4), None, None).as_deref(), Some("O4"));
}
