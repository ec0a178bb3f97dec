//! The live scenarios, one test each.

#[test]
fn the_official_client_uses_every_subscription_type() -> anyhow::Result<()> {
    live::run("every_subscription_type.py")
}

#[test]
fn nothing_acknowledged_is_lost_or_forgotten_by_kill_9() -> anyhow::Result<()> {
    live::run("killed_and_restarted.py")
}

#[test]
fn two_regions_hold_the_same_messages_after_kills_and_a_freeze() -> anyhow::Result<()> {
    live::run("two_regions.py")
}

#[test]
fn a_namespace_quota_holds_and_its_neighbour_is_unmoved() -> anyhow::Result<()> {
    live::run("quota_and_neighbour.py")
}

#[test]
fn the_playground_heals_after_a_cut_of_20_s_four_kills_and_a_freeze_of_15_s() -> anyhow::Result<()> {
    live::run("playground_healed.py")
}
