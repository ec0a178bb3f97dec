//! What a watcher is told when a snapshot replaces the state, and who decides alone.

use super::*;
use bytes::Bytes;
use meta_api::{MetaRequest, Write};
use openraft::{CommittedLeaderId, Membership};
use proptest::prelude::{any, proptest};
use std::collections::BTreeSet;

fn log_id(node: u64, index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(1, node), index)
}

fn write(state: &mut MetaState, key: u8, value: Option<u8>) {
    let key = format!("/{key}");
    let write = match value {
        Some(value) => Write::Put { key, value: Bytes::from(vec![value]) },
        None => Write::Delete { key },
    };
    state.apply(&MetaRequest::Txn { compare: vec![], writes: vec![write] });
}

fn voters(configs: Vec<BTreeSet<u64>>) -> StoredMembership {
    StoredMembership::new(Some(log_id(1, 1)), Membership::new(configs, None))
}

proptest! {
    #[test]
    fn a_watcher_that_follows_the_difference_holds_the_later_state(
        before in proptest::collection::vec((0..8u8, any::<Option<u8>>()), 0..20),
        after in proptest::collection::vec((0..8u8, any::<Option<u8>>()), 0..20),
    ) {
        let mut earlier = MetaState::new();
        before.into_iter().for_each(|(key, value)| write(&mut earlier, key, value));
        let mut later = earlier.clone();
        after.into_iter().for_each(|(key, value)| write(&mut later, key, value));
        let mut followed: BTreeMap<String, Versioned> =
            earlier.iter_prefix("").map(|(key, item)| (key.to_owned(), item.clone())).collect();
        let mut last = earlier.revision();
        for MetaEvent { revision, key, value } in difference(&earlier, &later) {
            assert!(revision >= last && revision > earlier.revision() && revision <= later.revision());
            last = revision;
            match value {
                Some(value) => drop(followed.insert(key, Versioned { value, version: revision })),
                None => assert!(followed.remove(&key).is_some()),
            }
        }
        let expected: BTreeMap<String, Versioned> =
            later.iter_prefix("").map(|(key, item)| (key.to_owned(), item.clone())).collect();
        assert_eq!(followed, expected);
    }
}

#[test]
fn only_a_sole_voter_that_has_led_and_expects_no_other_decides_alone() {
    let mut applied = Applied { last: Some(log_id(1, 2)), ..Applied::default() };
    assert!(!applied.decides_alone(1), "no membership yet");
    applied.set_membership(voters(vec![BTreeSet::from([1])]));
    assert!(applied.decides_alone(1) && !applied.decides_alone(2));
    applied.expect_other_voters();
    assert!(!applied.decides_alone(1), "another set of voters may be in its log");
    applied.set_membership(voters(vec![BTreeSet::from([1]), BTreeSet::from([1, 2])]));
    assert!(!applied.decides_alone(1));
    applied.set_membership(voters(vec![BTreeSet::from([1])]));
    applied.last = Some(log_id(2, 3));
    assert!(!applied.decides_alone(1), "what node 2 committed last may not be applied yet");
}
