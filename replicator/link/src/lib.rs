//! Forwards one topic to one remote region, exactly once and in order.
