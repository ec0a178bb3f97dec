//! The state machine against table tests and a reference model.

use super::*;
use proptest::prelude::*;

fn put(key: &str, value: &str) -> Write {
    Write::Put { key: key.to_owned(), value: Bytes::copy_from_slice(value.as_bytes()) }
}

fn delete(key: &str) -> Write {
    Write::Delete { key: key.to_owned() }
}

fn txn(compare: Vec<Compare>, writes: Vec<Write>) -> MetaRequest {
    MetaRequest::Txn { compare, writes }
}

fn state_of(items: &[(&str, &str)]) -> MetaState {
    let mut state = MetaState::new();
    for (key, value) in items {
        state.apply(&txn(vec![], vec![put(key, value)]));
    }
    state
}

fn keys(response: &MetaResponse) -> Vec<&str> {
    match response {
        MetaResponse::Range { items, .. } => items.iter().map(|(key, _)| key.as_str()).collect(),
        other => panic!("a range, not {other:?}"),
    }
}

fn range(prefix: &str, after: Option<&str>, limit: u32) -> MetaRequest {
    MetaRequest::Range { prefix: prefix.into(), after: after.map(str::to_owned), limit }
}

#[test]
fn a_put_is_readable_at_the_revision_of_its_commit() {
    let mut state = MetaState::new();
    let (response, events) = state.apply(&txn(vec![Compare::Absent { key: "a".into() }], vec![put("a", "1")]));
    assert_eq!(response, MetaResponse::Committed { revision: 1 });
    assert_eq!(events, [MetaEvent { revision: 1, key: "a".into(), value: Some(Bytes::from_static(b"1")) }]);
    assert_eq!(state.get("a"), Some(&Versioned { value: Bytes::from_static(b"1"), version: 1 }));
}

#[test]
fn a_failed_condition_changes_nothing_and_names_what_stands_there() {
    let mut state = state_of(&[("a", "1"), ("d/x", "2")]);
    let before = state.clone();
    let writes = || vec![put("b", "9"), delete("a")];
    let standing = state.get("a").cloned();
    let under = state.get("d/x").cloned();
    let cases = [
        (vec![Compare::Exists { key: "a".into() }, Compare::Absent { key: "a".into() }], 1, standing.clone()),
        (vec![Compare::Version { key: "a".into(), version: 2 }], 0, standing),
        (vec![Compare::Version { key: "b".into(), version: 1 }], 0, None),
        (vec![Compare::Exists { key: "b".into() }], 0, None),
        (vec![Compare::NoneWithPrefix { prefix: "d/".into() }], 0, under),
    ];
    for (compare, index, actual) in cases {
        let (response, events) = state.apply(&txn(compare, writes()));
        assert_eq!(response, MetaResponse::Conflict { index, actual });
        assert!(events.is_empty());
        assert_eq!(state, before);
    }
}

#[test]
fn conditions_that_hold_let_all_writes_through_in_order() {
    let mut state = state_of(&[("a", "1")]);
    let compare = vec![
        Compare::Version { key: "a".into(), version: 1 },
        Compare::Exists { key: "a".into() },
        Compare::Absent { key: "b".into() },
        Compare::NoneWithPrefix { prefix: "d/".into() },
    ];
    let (response, events) = state.apply(&txn(compare, vec![put("b", "2"), delete("a"), delete("zz"), put("b", "3")]));
    assert_eq!(response, MetaResponse::Committed { revision: 2 });
    let seen: Vec<_> = events.iter().map(|event| (event.key.as_str(), event.value.as_deref())).collect();
    assert_eq!(seen, [("b", Some(&b"2"[..])), ("a", None), ("b", Some(&b"3"[..]))]);
    assert_eq!((state.len(), state.get("b").map(|item| item.version)), (1, Some(2)));
}

#[test]
fn a_transaction_without_writes_is_a_check_and_takes_no_revision() {
    let mut state = state_of(&[("a", "1")]);
    let (response, events) = state.apply(&txn(vec![Compare::Exists { key: "a".into() }], vec![]));
    assert_eq!((response, events.len(), state.revision()), (MetaResponse::Committed { revision: 1 }, 0, 1));
}

#[test]
fn a_range_pages_through_a_prefix_without_leaving_it() {
    let mut state = state_of(&[("/a", "0"), ("/b/1", "1"), ("/b/2", "2"), ("/b/3", "3"), ("/c", "4")]);
    let (page, _) = state.apply(&range("/b/", None, 2));
    assert_eq!(keys(&page), ["/b/1", "/b/2"]);
    assert!(matches!(page, MetaResponse::Range { more: true, .. }));
    let (page, _) = state.apply(&range("/b/", Some("/b/2"), 2));
    assert_eq!(keys(&page), ["/b/3"]);
    assert!(matches!(page, MetaResponse::Range { more: false, .. }));
    // `after` before the prefix starts at the prefix; behind it there is nothing.
    assert_eq!(keys(&state.apply(&range("/b/", Some("/a"), 9)).0), ["/b/1", "/b/2", "/b/3"]);
    assert!(keys(&state.apply(&range("/b/", Some("/c"), 9)).0).is_empty());
    assert_eq!(state.iter_prefix("/b/").map(|(key, _)| key).collect::<Vec<_>>(), ["/b/1", "/b/2", "/b/3"]);
}

#[test]
fn a_range_answer_is_bounded_in_items_and_bytes() {
    let mut state = MetaState::new();
    let big = "x".repeat(VALUE_FOR_TEST);
    for index in 0..4 {
        state.apply(&txn(vec![], vec![put(&format!("big/{index}"), &big)]));
    }
    let (page, _) = state.apply(&range("big/", None, 100));
    assert_eq!(keys(&page), ["big/0", "big/1"]);
    assert!(matches!(page, MetaResponse::Range { more: true, .. }));
}

/// Two of these and their keys fit a range answer, three do not.
const VALUE_FOR_TEST: usize = RANGE_BYTES_MAX / 2 - 16;

#[test]
fn reserve_hands_out_consecutive_blocks() {
    let mut state = MetaState::new();
    let reserve = |by| MetaRequest::Reserve { key: "/counters/ledger".into(), by };
    assert_eq!(state.apply(&reserve(10)).0, MetaResponse::Reserved { first: 0 });
    let (response, events) = state.apply(&reserve(5));
    assert_eq!(response, MetaResponse::Reserved { first: 10 });
    assert_eq!(events.first().and_then(|event| event.value.clone()), Some(Bytes::from_static(b"15")));
    assert_eq!(state.revision(), 2);
}

#[test]
fn a_counter_that_is_no_number_or_would_overflow_is_refused_unchanged() {
    for value in ["twelve", "18446744073709551615", ""] {
        let mut state = state_of(&[("n", value)]);
        let before = state.clone();
        let (response, events) = state.apply(&MetaRequest::Reserve { key: "n".into(), by: 1 });
        assert!(matches!(response, MetaResponse::Refused { .. }), "{value}: {response:?}");
        assert!(events.is_empty());
        assert_eq!(state, before);
    }
}

#[test]
fn requests_over_a_limit_are_refused_and_say_which() {
    let mut state = MetaState::new();
    let long = "k".repeat(crate::KEY_BYTES_MAX + 1);
    let cases = [
        (MetaRequest::Get { key: long.clone() }, "key"),
        (range(&long, None, 1), "key"),
        (range("", Some(&long), 1), "key"),
        (MetaRequest::Reserve { key: long.clone(), by: 1 }, "key"),
        (txn(vec![Compare::Exists { key: long.clone() }], vec![]), "key"),
        (txn(vec![], vec![delete(&long)]), "key"),
        (txn(vec![], vec![put("a", &"v".repeat(crate::VALUE_BYTES_MAX + 1))]), "value"),
        (txn(vec![], vec![delete("a"); crate::WRITES_MAX + 1]), "writes"),
        (txn(vec![Compare::Exists { key: "a".into() }; crate::COMPARES_MAX + 1], vec![]), "conditions"),
        (txn(vec![], vec![put("a", &"v".repeat(crate::VALUE_BYTES_MAX)); 3]), "bytes"),
    ];
    for (request, word) in cases {
        match state.apply(&request).0 {
            MetaResponse::Refused { reason } => assert!(reason.contains(word), "{reason}"),
            other => panic!("refused, not {other:?}"),
        }
        if let Some(response) = state.read(&request) {
            assert!(matches!(response, MetaResponse::Refused { .. }));
        }
    }
    assert_eq!(state, MetaState::new());
}

#[test]
fn a_full_store_refuses_puts_and_still_deletes() {
    let mut state = state_of(&[("a", "1")]);
    // As if the rest of the gibibyte stood in other keys.
    state.bytes = STATE_BYTES_MAX - 1;
    assert!(matches!(state.apply(&txn(vec![], vec![put("b", "2")])).0, MetaResponse::Refused { .. }));
    assert_eq!(state.apply(&txn(vec![], vec![delete("a")])).0, MetaResponse::Committed { revision: 2 });
}

#[test]
fn read_answers_reads_like_apply_and_no_writes() {
    let mut state = state_of(&[("/a", "1"), ("/b", "2")]);
    for request in [MetaRequest::Get { key: "/a".into() }, range("/", None, 1)] {
        assert_eq!(state.read(&request), Some(state.apply(&request).0));
    }
    assert_eq!(state.read(&txn(vec![], vec![])), None);
    assert_eq!(state.read(&MetaRequest::Reserve { key: "n".into(), by: 1 }), None);
}

fn any_key() -> impl Strategy<Value = String> {
    "[ab](/[ab]){0,2}"
}

fn any_compare() -> impl Strategy<Value = Compare> {
    prop_oneof![
        any_key().prop_map(|key| Compare::Absent { key }),
        (any_key(), 0u64..12).prop_map(|(key, version)| Compare::Version { key, version }),
        any_key().prop_map(|key| Compare::Exists { key }),
        any_key().prop_map(|prefix| Compare::NoneWithPrefix { prefix }),
    ]
}

fn any_write() -> impl Strategy<Value = Write> {
    prop_oneof![
        (any_key(), "[0-9]{1,3}").prop_map(|(key, value)| put(&key, &value)),
        any_key().prop_map(|key| delete(&key)),
    ]
}

fn any_request() -> impl Strategy<Value = MetaRequest> {
    prop_oneof![
        4 => (prop::collection::vec(any_compare(), 0..2), prop::collection::vec(any_write(), 0..4))
            .prop_map(|(compare, writes)| txn(compare, writes)),
        1 => (any_key(), 0u64..9).prop_map(|(key, by)| MetaRequest::Reserve { key, by }),
        1 => (any_key(), prop::option::of(any_key()), 0u32..4)
            .prop_map(|(prefix, after, limit)| MetaRequest::Range { prefix, after, limit }),
        1 => any_key().prop_map(|key| MetaRequest::Get { key }),
    ]
}

/// The plainest store that could be right: a list, searched from end to end.
#[derive(Default)]
struct Model {
    items: Vec<(String, Vec<u8>, u64)>,
    revision: u64,
}

impl Model {
    fn find(&self, key: &str) -> Option<&(String, Vec<u8>, u64)> {
        self.items.iter().find(|(k, _, _)| k == key)
    }

    fn holds(&self, compare: &Compare) -> bool {
        match compare {
            Compare::Absent { key } => self.find(key).is_none(),
            Compare::Version { key, version } => self.find(key).is_some_and(|(_, _, v)| v == version),
            Compare::Exists { key } => self.find(key).is_some(),
            Compare::NoneWithPrefix { prefix } => !self.items.iter().any(|(k, _, _)| k.starts_with(prefix.as_str())),
        }
    }

    fn write(&mut self, key: &str, value: Option<Vec<u8>>) {
        self.items.retain(|(k, _, _)| k != key);
        if let Some(value) = value {
            self.items.push((key.to_owned(), value, self.revision));
        }
        self.items.sort();
    }
}

fn check_against_model(state: &mut MetaState, model: &mut Model, request: &MetaRequest) {
    let revision_before = state.revision();
    let (response, events) = state.apply(request);
    match request {
        MetaRequest::Txn { compare, writes } => match compare.iter().position(|c| !model.holds(c)) {
            Some(failed) => {
                assert!(matches!(response, MetaResponse::Conflict { index, .. } if index as usize == failed));
            }
            None => {
                model.revision += u64::from(!writes.is_empty());
                for write in writes {
                    match write {
                        Write::Put { key, value } => model.write(key, Some(value.to_vec())),
                        Write::Delete { key } => model.write(key, None),
                    }
                }
                assert_eq!(response, MetaResponse::Committed { revision: model.revision });
            }
        },
        MetaRequest::Reserve { key, by } => {
            let current =
                model.find(key).map_or_else(|| "0".to_owned(), |(_, v, _)| String::from_utf8(v.clone()).unwrap());
            let first: u64 = current.parse().unwrap();
            model.revision += 1;
            model.write(key, Some((first + by).to_string().into_bytes()));
            assert_eq!(response, MetaResponse::Reserved { first });
        }
        MetaRequest::Get { key } => {
            let expected = model.find(key).map(|(_, v, version)| (v.clone(), *version));
            match response {
                MetaResponse::Value(found) => assert_eq!(found.map(|i| (i.value.to_vec(), i.version)), expected),
                other => panic!("a value, not {other:?}"),
            }
        }
        MetaRequest::Range { prefix, after, limit } => {
            let all: Vec<&str> = model.items.iter().map(|(k, _, _)| k.as_str()).collect();
            let behind = |k: &&str| after.as_deref().is_none_or(|after| *k > after);
            let all: Vec<&str> = all.into_iter().filter(|k| k.starts_with(prefix.as_str())).filter(behind).collect();
            let page: Vec<&str> = all.iter().copied().take(*limit as usize).collect();
            assert_eq!(keys(&response), page);
            assert!(matches!(response, MetaResponse::Range { more, .. } if more == (page.len() < all.len())));
        }
    }
    assert!(events.iter().all(|event| event.revision == revision_before + 1));
}

proptest! {
    #[test]
    fn any_sequence_of_requests_behaves_like_the_model(requests in prop::collection::vec(any_request(), 0..60)) {
        let (mut state, mut model) = (MetaState::new(), Model::default());
        let mut from_events: BTreeMap<String, Bytes> = BTreeMap::new();
        for request in &requests {
            let mut shadow = state.clone();
            check_against_model(&mut state, &mut model, request);
            for event in shadow.apply(request).1 {
                match event.value {
                    Some(value) => from_events.insert(event.key, value),
                    None => from_events.remove(&event.key),
                };
            }
            prop_assert_eq!(&shadow, &state);
            let stands: Vec<_> = state.items.iter().map(|(k, i)| (k.clone(), i.value.to_vec(), i.version)).collect();
            prop_assert_eq!(&stands, &model.items);
            // Whoever applies all events holds the same keys and values.
            let followed: Vec<_> = from_events.iter().map(|(k, v)| (k.clone(), v.to_vec())).collect();
            prop_assert_eq!(followed, stands.into_iter().map(|(k, v, _)| (k, v)).collect::<Vec<_>>());
            let bytes: usize = state.items.iter().map(|(k, i)| k.len() + i.value.len()).sum();
            prop_assert_eq!(state.bytes(), bytes as u64);
        }
    }
}
