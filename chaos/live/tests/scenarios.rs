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
fn three_nodes_lose_any_one_and_then_all_at_once_and_nothing_acknowledged() -> anyhow::Result<()> {
    live::run("three_nodes.py")
}

#[test]
fn nodes_are_removed_replaced_and_refused_by_name_while_publishing_goes_on() -> anyhow::Result<()> {
    live::run("membership.py")
}

#[test]
fn nodes_join_leave_and_are_replaced_while_others_are_cut_off_frozen_or_killed() -> anyhow::Result<()> {
    live::run("changes_under_faults.py")
}

#[test]
fn a_region_that_is_hurt_in_turns_loses_nothing_acknowledged() -> anyhow::Result<()> {
    live::run("hurt_in_turns.py")
}

#[test]
fn nothing_acknowledged_is_lost_by_power_cuts_of_one_two_and_all_nodes() -> anyhow::Result<()> {
    live::run("power_cut.py")
}

#[test]
fn a_disk_without_a_free_byte_keeps_no_other_node_from_writing_metadata() -> anyhow::Result<()> {
    live::run("full_metadata.py")
}

#[test]
fn three_nodes_that_disagree_about_the_time_keep_order_and_owners() -> anyhow::Result<()> {
    live::run("wrong_clocks.py")
}

#[test]
fn three_nodes_lose_one_after_the_other_and_publishing_pauses_no_longer_than_for_the_first() -> anyhow::Result<()> {
    live::run("losses.py")
}

#[test]
fn bundles_are_split_under_load_and_a_node_that_was_away_gets_bundles_again() -> anyhow::Result<()> {
    live::run("bundles.py")
}

#[test]
fn busy_topics_of_one_bundle_and_of_one_node_are_moved_apart_and_then_stay() -> anyhow::Result<()> {
    live::run("hot_node.py")
}

#[test]
fn each_node_answers_for_topics_that_several_serve() -> anyhow::Result<()> {
    live::run("many_owners.py")
}

#[test]
fn lost_copies_are_made_again_at_the_set_rate_and_then_another_node_may_be_lost() -> anyhow::Result<()> {
    live::run("repair.py")
}

#[test]
fn two_regions_of_three_nodes_lose_a_leader_and_wake_a_frozen_node_and_stay_exact() -> anyhow::Result<()> {
    live::run("playground_of_six.py")
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

#[test]
fn no_command_tells_anything_to_wrong_tokens() -> anyhow::Result<()> {
    live::run("wrong_tokens.py")
}

#[test]
fn no_admin_route_lets_wrong_tokens_in() -> anyhow::Result<()> {
    live::run("wrong_tokens_admin.py")
}

#[test]
fn an_expired_token_is_renewed_or_disconnected() -> anyhow::Result<()> {
    live::run("token_expiry.py")
}

#[test]
fn bad_frames_and_commands_cost_at_most_their_connection() -> anyhow::Result<()> {
    live::run("bad_frames.py")
}

#[test]
fn ten_thousand_silent_connections_are_closed_and_disturb_nobody() -> anyhow::Result<()> {
    live::run("half_open.py")
}

#[test]
fn readers_that_take_nothing_cost_bounded_memory_and_lose_their_places() -> anyhow::Result<()> {
    live::run("slow_readers.py")
}

#[test]
fn a_start_that_cannot_succeed_names_the_cause_and_the_remedy() -> anyhow::Result<()> {
    live::run("bad_start.py")
}

#[test]
fn a_full_disk_refuses_publishing_and_loses_nothing() -> anyhow::Result<()> {
    live::run("full_disk.py")
}

#[test]
fn a_full_disk_of_one_node_of_three_stops_nobody_and_takes_part_again_when_freed() -> anyhow::Result<()> {
    live::run("full_disk_of_three.py")
}

#[test]
fn damaged_files_on_one_node_of_three_cost_no_acknowledged_message() -> anyhow::Result<()> {
    live::run("bitrot.py")
}

#[test]
fn a_node_that_lost_parts_of_its_log_gets_them_back_from_the_others() -> anyhow::Result<()> {
    live::run("limbo.py")
}

#[test]
fn the_admin_api_keeps_tenants_namespaces_and_policies_as_pulsar_does() -> anyhow::Result<()> {
    live::run("admin_rest.py")
}

#[test]
fn the_admin_api_works_on_topics_while_clients_use_them() -> anyhow::Result<()> {
    live::run("admin_topics.py")
}

#[test]
fn metrics_are_prometheus_text_with_the_names_of_dashboards() -> anyhow::Result<()> {
    live::run("metrics.py")
}

#[test]
fn the_command_line_says_what_it_did_and_why_it_did_not() -> anyhow::Result<()> {
    live::run("admin_cli.py")
}
