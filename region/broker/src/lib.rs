//! Sessions, topics, producers, subscriptions, dispatch.
