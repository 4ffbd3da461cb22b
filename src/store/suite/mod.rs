//! What every store must do, whatever is beneath it: scenarios against the traits alone.
//!
//! A store runs them all by handing a [`Home`] to `every_store!`.

mod admission;
mod auditing;
mod bulk;
mod claiming;
mod content;
pub(crate) mod dispatching;
mod duties;
mod events;
pub(crate) mod given;
mod links;
mod modes;
mod patients;
mod people;
mod random;
mod recovery;
mod referrals;
mod reporting;
mod retention;
mod sealing;
mod searching;
mod watching;

use std::sync::Arc;

use async_trait::async_trait;
use uuid::Uuid;

use crate::keys::Keys;
use crate::store::{Result, Sealing, Store};

/// Where a store lives when nobody has it open.
#[async_trait]
pub(crate) trait Home: Send + Sync {
    /// Opens it; to be called again after the one before was dropped, as after a crash.
    async fn open(&self) -> Arc<dyn Store>;
    /// Proves that what lies there is whole, as far as the store can tell by itself. Nobody has it open.
    async fn prove(&self);
    /// Runs statements that both stores understand, as somebody who goes past the gateway.
    async fn tamper(&self, sql: &str);
    /// Opens it with these keys, or none.
    async fn open_with(&self, sealing: Option<Sealing>) -> Result<Arc<dyn Store>>;
    /// A master key of its own for each name; `gateway` is that of [`Self::open`].
    fn keys(&self, name: &str) -> Keys;
    /// Every byte that stands there.
    async fn everything(&self) -> Vec<u8>;
    /// An identifier in a statement.
    fn id(&self, id: Uuid) -> String;
    /// Another store, empty, in the place of the one before.
    async fn begin_anew(&self);
    /// How many random steps are tried on it.
    fn random_steps(&self) -> u32 {
        10_000
    }
}

macro_rules! scenarios {
    ($($room:ident: $($scenario:ident),+ $(,)?;)+) => {
        /// Makes a test of every scenario: `every_store!(expression of a Home)`.
        macro_rules! every_store {
            ($home:expr) => {
                $($(
                    #[tokio::test]
                    async fn $scenario() {
                        let home = $home;
                        crate::store::suite::$scenario(&home).await;
                    }
                )+)+
            };
        }
        pub(crate) use every_store;
        $($(pub(crate) use $room::$scenario;)+)+
    };
}

scenarios! {
    admission:
        a_resend_gets_the_first_answer,
        a_control_id_with_other_content_stores_nothing,
        without_a_control_id_nothing_is_a_resend,
        one_failing_admission_spoils_no_neighbour,
        that_a_sender_got_its_answer_is_noted_once;
    referrals:
        the_same_referral_under_a_new_control_id_is_a_duplicate,
        a_changed_referral_waits_for_a_person,
        a_discarded_referral_may_be_sent_again,
        a_message_with_something_new_is_more_than_a_duplicate,
        a_changed_referral_is_not_replayed_beside_the_first,
        a_referral_that_was_only_shadowed_is_made_when_it_comes_again;
    claiming:
        a_thread_runs_one_at_a_time_in_arrival_order,
        other_threads_never_wait,
        whatever_is_not_finished_holds_what_follows,
        waiting_commands_are_claimed_at_their_time,
        what_is_in_doubt_is_looked_at_at_its_time_and_stays_in_doubt,
        what_is_looked_at_when_the_gateway_ends_is_looked_at_again,
        deferrals_are_counted_until_a_step_is_done,
        a_follower_raises_what_holds_it,
        a_paused_source_stays_where_it_is,
        an_outdated_fence_is_refused,
        a_lease_that_ended_is_taken_over,
        aliases_merge_threads_in_arrival_order,
        a_merge_never_lets_two_of_a_thread_run,
        shadowed_commands_are_final;
    recovery:
        what_ran_before_a_crash_runs_again,
        a_write_before_a_crash_is_in_doubt,
        nothing_acknowledged_is_lost_by_a_crash;
    events:
        events_have_one_order_and_one_sequence_a_thread,
        confirmed_events_leave_the_outbox_and_stay_in_the_feed,
        a_rejected_message_has_its_event_without_a_command,
        a_merged_thread_goes_on_with_its_sequence;
    people:
        a_failed_command_is_replayed_with_its_plan,
        what_is_not_failed_is_not_replayed,
        what_is_open_for_a_patient_is_found_and_held,
        discarding_lets_the_followers_go,
        an_unauthorised_command_is_released,
        a_refused_message_that_is_taken_in_again_is_audited_with_it,
        a_refresh_token_has_one_successor,
        what_may_be_used_once_is_removed_once,
        what_waits_for_people_is_listed_with_what_is_behind_it,
        a_word_of_a_person_stands_in_the_plan_and_in_the_log,
        a_mapping_set_is_kept_by_its_digest;
    bulk:
        what_failed_is_found_for_a_replay_by_any_filter,
        refused_messages_are_found_for_a_replay_until_they_are_taken,
        what_something_later_has_overtaken_is_said,
        a_bulk_replay_replays_each_once_and_is_audited,
        what_is_replayed_in_bulk_goes_behind_what_comes_in_unless_it_is_urgent;
    reporting:
        a_day_is_counted_from_both_sides,
        what_ends_days_later_is_told_then,
        a_day_is_told_once;
    auditing:
        acts_are_chained_in_the_audit_log,
        what_is_done_to_the_audit_log_is_named,
        reasons_are_forgotten_and_the_chain_holds;
    patients:
        what_mentions_a_patient_is_found_with_all_of_its_referrals,
        an_answer_that_mentions_a_patient_leads_to_its_message,
        what_is_held_outlives_every_purge_until_it_is_lifted,
        what_older_versions_stored_is_unread_until_it_was_read;
    content:
        messages_are_read_as_they_came,
        documents_are_read_in_ranges,
        a_fetched_document_is_read_part_by_part_and_goes_with_its_command;
    searching:
        messages_are_listed_newest_first_by_any_filter,
        a_command_tells_what_holds_it_and_how_it_came_there,
        what_fails_for_one_reason_is_one_problem,
        what_is_mended_is_no_problem_any_more,
        messages_are_found_by_referral_and_by_patient,
        what_holds_a_cancellation_is_shown_first,
        depths_count_what_is_where,
        the_queue_is_counted_whole_and_told_in_part,
        bells_ring_after_the_commit;
    retention:
        what_is_finished_and_old_is_purged_and_nothing_else,
        what_is_not_finished_stays_however_old,
        a_resend_of_a_purged_message_is_a_resend,
        a_refused_message_that_was_purged_is_new_when_it_comes_again,
        a_purged_referral_is_not_made_again,
        a_purged_referral_outlives_a_merge_and_a_discarded_command,
        events_are_purged_once_nobody_waits_for_them,
        one_call_is_bounded_and_a_round_passes_everything_once,
        numbers_are_not_used_again_after_a_purge;
    duties:
        a_duty_that_was_left_is_had_again_at_once,
        a_duty_that_was_taken_anew_outlives_a_late_leave;
    links:
        a_piece_is_held_until_it_is_let_go,
        the_number_that_comes_next_is_changed_by_who_knows_it;
    modes:
        a_mode_is_switched_by_who_knows_how_it_stood;
    dispatching:
        an_answer_is_due_once_its_outcome_is_known_and_made_once,
        a_destination_is_told_each_event_once,
        a_destination_that_left_is_known_until_it_is_told_again,
        what_is_delivered_leaves_and_what_is_refused_waits_for_a_person,
        what_was_delivered_long_ago_is_purged;
    sealing:
        nothing_that_is_sealed_stands_in_the_store,
        what_stood_in_clear_is_sealed_step_by_step,
        a_value_that_was_moved_does_not_open,
        what_cannot_be_read_harms_itself_alone,
        only_the_key_of_a_store_opens_it,
        a_change_in_the_middle_of_a_renewal_leaves_nothing_to_the_old_data_key,
        the_master_key_is_changed_while_the_store_is_used,
        what_the_gateway_decides_about_a_sealed_command_is_told_in_its_own_words;
    watching:
        a_list_is_replaced_by_who_knows_how_it_was,
        an_allowance_is_spent_once_a_day_and_thing;
    random:
        many_random_steps_keep_the_promises;
}
