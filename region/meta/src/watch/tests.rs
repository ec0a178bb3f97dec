//! Delivery, bounds and the reasons for closing.

use super::*;
use bytes::Bytes;

fn event(revision: u64, key: &str, bytes: usize) -> MetaEvent {
    MetaEvent { revision, key: key.to_owned(), value: Some(Bytes::from(vec![0; bytes])) }
}

#[tokio::test]
async fn a_watcher_gets_the_events_of_its_prefixes_once_and_in_order() {
    let mut watchers = Watchers::default();
    let mut receiver = watchers.add(&["/a/", "/a/b", "/c"]).unwrap();
    watchers.deliver(&[event(1, "/a/b/1", 1), event(1, "/b", 1), event(2, "/c", 1)]);
    watchers.deliver(&[event(3, "/b", 1)]);
    watchers.deliver(&[event(4, "/a/x", 1)]);
    let keys = |events: Vec<MetaEvent>| events.into_iter().map(|event| event.key).collect::<Vec<_>>();
    assert_eq!(keys(receiver.next().await.unwrap()), ["/a/b/1", "/c"]);
    assert_eq!(keys(receiver.next().await.unwrap()), ["/a/x"]);
    drop(watchers);
    assert_eq!(receiver.next().await, Err(WatchClosed::Stopped));
}

#[tokio::test]
async fn a_watcher_that_does_not_read_is_closed_behind_a_gapless_prefix() {
    let mut watchers = Watchers::default();
    let mut receiver = watchers.add(&[""]).unwrap();
    let deliveries = QUEUE_MAX as u64 + 10;
    (1..=deliveries).for_each(|revision| watchers.deliver(&[event(revision, "k", 1)]));
    assert_eq!(watchers.len(), 0);
    for revision in 1..=QUEUE_MAX as u64 {
        assert_eq!(receiver.next().await.unwrap()[0].revision, revision);
    }
    assert_eq!(receiver.next().await, Err(WatchClosed::FellBehind));
    assert_eq!(receiver.next().await, Err(WatchClosed::FellBehind), "the reason stays");
}

#[tokio::test]
async fn the_bytes_that_wait_for_a_watcher_are_bounded_and_come_free_by_reading() {
    let mut watchers = Watchers::default();
    let mut slow = watchers.add(&[""]).unwrap();
    let mut quick = watchers.add(&[""]).unwrap();
    let big = QUEUE_BYTES_MAX / 2 - 64;
    for revision in 1..=3 {
        watchers.deliver(&[event(revision, "k", big)]);
        assert_eq!(quick.next().await.unwrap()[0].revision, revision);
    }
    assert_eq!(watchers.len(), 1);
    assert_eq!(slow.next().await.unwrap()[0].revision, 1);
    assert_eq!(slow.next().await.unwrap()[0].revision, 2);
    assert_eq!(slow.next().await, Err(WatchClosed::FellBehind));
    // A single delivery above the bound passes when nothing else waits: it exists already.
    watchers.deliver(&[event(4, "k", QUEUE_BYTES_MAX + 1)]);
    assert_eq!(quick.next().await.unwrap()[0].revision, 4);
}

#[test]
fn watchers_are_limited_and_a_dropped_one_makes_place() {
    let mut watchers = Watchers::default();
    let mut receivers: Vec<WatchReceiver> = (0..WATCHERS_MAX).map(|_| watchers.add(&["k"]).unwrap()).collect();
    assert_eq!(watchers.add(&["k"]).unwrap_err(), WatchClosed::TooMany);
    receivers.pop();
    assert!(watchers.add(&["k"]).is_ok());
}
