"""The tests that only `make test-all` runs, besides those that have the mark `slow` themselves.

Two groups of tests are listed: tests that check every member of a family, of which `make test` keeps a few, and tests
that run many processes, whose parts are covered by other tests.
"""

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent

ONE_OF_A_KIND = r"^(gaussian|fusion|mixture|linear|zeroshot|labelwise|bilinear|bank|decoder)($|-)"
"""Of the heads that tests are run with, those with the defaults of their kind."""

SLOW: dict[str, dict[str, str | None]] = {
    "embedder/test_checks.py": {
        "test_every_encoder_keeps_every_promise": "lite0|melstat",
        "test_so_they_do_in_16_bits": None,
    },
    "embedder/engines/test_engine.py": {
        "test_torch_compile_gives_the_modules_numbers_without_compiling_for_every_number_of_rows": None,
    },
    "embedder/engines/test_compiling.py": {
        "test_a_compiler_that_works_is_used": None,
        "test_a_compiler_that_fails_ends_in_eager_mode_and_one_line": None,
    },
    "embedder/engines/test_blocks.py": {
        "test_no_family_is_compiled_more_often_than_it_has_kinds_of_blocks": None,
        "test_many_networks_do_not_use_up_each_others_variants": None,
    },
    "embedder/engines/test_fp8.py": {"test_the_engine_keeps_the_vectors_within_the_probes_limit": None},
    "embedder/engines/test_jpegs.py": {
        "test_the_pixels_are_those_of_the_usual_way": "^4:2:0|^grey-",
        "test_every_kind_keeps_the_vectors_of_lite0": None,
        "test_the_speeds_of_both_ways_are_measured": None,
    },
    "embedder/engines/test_fastest.py": {
        "test_the_choice_is_the_fastest_precision_that_the_probe_accepts": "clip",
    },
    "embedder/encoders/test_imagebind_weights.py": {"test_importing_it_imports_no_video_library": None},
    "embedder/engines/test_onnx.py": {
        "test_lite0_in_onnx_runtime_gives_our_engines_vectors_tokens_and_texts": None,
        "test_another_runtime_reads_the_file_too": None,
        "test_the_folder_tells_all_that_another_runtime_needs": None,
        "test_open_clip_in_onnx_runtime_gives_its_own_vectors": None,
    },
    "embedder/encoders/test_textmap.py": {"test_remaking_agrees_with_the_committed_artifact": None},
    "embedder/encoders/test_lite.py": {
        "test_equals_timm_with_its_own_preprocessing": "lite0",
        "test_a_batch_gives_what_each_gives_alone": "lite0",
        "test_every_engine_passes_the_probe": "lite0",
        "test_cold_without_network_then_warm_without_torch": None,
    },
    "embedder/encoders/test_imagebind.py": {
        "test_pictures": "torch-fp32|openvino-bf16",
        "test_texts": "torch-fp32|openvino-bf16",
        "test_sounds": "torch-fp32|openvino-bf16",
        "test_depth_thermal_and_motion": "torch-fp32|openvino-bf16",
        "test_alone_and_in_a_batch": "torch-fp32",
        "test_the_probe_covers_every_modality": "torch-fp32",
        "test_videos": "torch-fp32|openvino-bf16",
    },
    "embedder/encoders/test_hf.py": {
        "test_images_equal_transformers": r"torch-cpu-fp32|openvino-bf16-siglip$|openvino-fp32-dinov3_vit$",
        "test_texts_equal_transformers": r"torch-cpu-fp32",
    },
    "embedder/encoders/test_hf_sounds.py": {"test_vectors_equal_transformers": "torch-cpu-fp32"},
    "embedder/encoders/test_hf_naflex.py": {
        "test_vectors_equal_transformers_whatever_the_shapes_in_a_batch": "torch-cpu-fp32",
    },
    "embedder/encoders/test_hf_waves.py": {
        "test_vectors_equal_transformers_whatever_the_lengths_in_a_batch": "torch-cpu-fp32",
        "test_texts_equal_transformers": "video",
    },
    "embedder/weights/test_hub.py": {
        "test_all_that_a_model_with_texts_needs_comes_from_a_hub": r"^(siglip2|pe_audio)$",
    },
    "embedder/encoders/test_timm_tower.py": {"test_equals_timm": "torch-cpu-fp32|test_vit$|test_convnext"},
    "embedder/encoders/test_openclip_outputs.py": {
        "test_tokens_are_those_of_the_layer": "quickgelu|tinyres|map-tokens",
        "test_pooled_vectors_and_tokens_in_low_precision": "quickgelu",
    },
    "embedder/encoders/test_openclip_parity.py": {
        "test_every_format_gives_open_clips_vectors": "^tiny-",
        "test_texts_of_every_kind": "^tiny-|^map|^coca",
        "test_every_kind_of_tower_alone_and_in_a_batch_in_every_precision": "torch-fp32|^tiny-",
    },
    "embedder/encoders/test_openclip_records.py": {
        "test_the_nine_openai_towers": "RN50-|ViT-B-32",
        "test_towers_of_timm": "SigLIP-|MobileCLIP-B",
    },
    "services/cli/test_commands.py": {
        "test_compare_ranks_heads_and_tells_how_to_train_the_best": None,
        "test_parquet_in_and_out_and_in_again": None,
        "test_comparisons_begun_at_once_have_folders_of_their_own": None,
        "test_compare_stopped_by_ctrl_c_can_go_on": None,
        "test_compare_refuses_what_cannot_be": None,
    },
    "classifiers/fit/test_sklearn_contract.py": {
        "test_scikit_learn_contract": r"^\w+\(\)-",
    },
    "classifiers/fit/test_mixture.py": {
        "test_no_setting_diverges_or_is_worse_than_its_start": "dgmmc-s-white|huge scales|one row in a class",
    },
    "classifiers/heads/test_head_suite.py": {
        "test_a_fit_in_float64_is_nearly_one_in_float32": ONE_OF_A_KIND,
        "test_class_order_is_that_of_the_sorted_labels_whatever_the_row_order": ONE_OF_A_KIND,
        "test_the_same_rows_give_the_same_head_and_are_not_touched": ONE_OF_A_KIND,
    },
    "classifiers/published/test_artifact.py": {
        "test_a_manifest_that_is_not_right_is_refused": ONE_OF_A_KIND,
        "test_a_manifest_that_is_no_object_is_refused": ONE_OF_A_KIND,
        "test_a_manifest_changed_after_the_fact_is_refused": ONE_OF_A_KIND,
        "test_a_file_changed_after_the_fact_is_refused": ONE_OF_A_KIND,
        "test_a_missing_file_is_refused": ONE_OF_A_KIND,
        "test_arrays_that_are_not_those_of_the_manifest_are_refused": ONE_OF_A_KIND,
        "test_a_file_that_is_no_safetensors_is_refused": ONE_OF_A_KIND,
        "test_an_outlier_file_that_is_no_detector_is_refused": ONE_OF_A_KIND,
        "test_outlier_quantiles_without_the_detector_are_refused": ONE_OF_A_KIND,
    },
    "classifiers/published/test_probe.py": {
        "test_a_damaged_number_in_any_array_is_refused": ONE_OF_A_KIND,
        "test_any_change_of_the_settings_is_read_or_refused": ONE_OF_A_KIND,
        "test_arrays_that_are_ordinary_alone_but_give_no_probabilities": ONE_OF_A_KIND,
        "test_a_head_that_takes_too_long_is_refused": ONE_OF_A_KIND,
    },
    "services/test_torch_free.py": {"test_a_command_that_needs_more_says_what_to_install": "train"},
    "services/web/access/test_hosts.py": {"test_no_endpoint_answers_for_another_name": "/health/live|/docs|/nothing"},
    "classifiers/training/test_pipeline.py": {
        "test_without_validation_rows_held_out_folds_calibrate": "fusion|gaussian|linear|zeroshot",
        "test_training_again_is_no_new_version_and_another_snapshot_neither": "fusion|gaussian|linear|zeroshot",
    },
    "faults/test_inputs.py": {"test_every_broken_promise_of_a_decoder_is_noticed": "raises|aborts"},
    "store/test_label_history.py": {"test_a_change_that_was_killed_is_finished_by_the_next": "put"},
    "services/classification/test_readiness.py": {
        "test_media_come_and_go_with_the_embedding_service_and_all_else_stays": None,
        "test_a_health_check_of_three_seconds_sees_that_the_embedding_service_hangs": None,
    },
    "services/cli/test_interrupt.py": {"test_ctrl_c_is_one_line_and_130": "doctor"},
    "services/embedding/test_decode_memory.py": {
        "test_freed_pixels_go_back_to_the_system": None,
        "test_decoders_take_no_more_than_they_reserve": "png|wav",
    },
    "services/cli/test_help.py": {
        "test_zsh_and_fish_have_a_script_and_answers": None,
        "test_bash_completes_commands_options_encoders_and_heads": None,
    },
    "services/cli/test_extras.py": {"test_every_module_that_is_imported_has_the_command_that_installs_it": None},
    "services/classification/jobs/test_reviews.py": {
        "test_a_review_makes_a_file_of_ids_without_folders_of_the_server": None,
    },
    "services/test_front_door.py": {
        "test_the_wheel_has_one_package_at_the_top_and_no_import_of_the_others": None,
        "test_it_works_in_a_project_with_packages_of_the_same_names": None,
    },
    "services/test_one_process.py": {
        "test_a_request_under_way_is_answered_before_both_stop": None,
        "test_a_taken_port_ends_both": "embedding",
        "test_one_port_is_refused_for_two_services": None,
        "test_a_head_of_an_encoder_that_is_not_loaded": None,
    },
    "services/web/test_limits.py": {
        "test_ready_turns_false_when_the_embedding_service_hangs_and_true_when_it_goes_on": None,
        "test_services_stop_cleanly": None,
        "test_a_taken_port_is_named_before_anything_starts": None,
        "test_an_encoder_that_cannot_be_loaded_is_live_but_not_ready": None,
    },
    "services/web/test_server.py": {"test_a_body_that_never_ends_does_not_keep_a_service_from_stopping": r"^15$"},
    "services/jobs/test_backfill.py": {
        "test_two_backfills_at_once_store_every_vector_once": None,
        "test_ctrl_c_ends_with_130_and_what_is_written_stays": None,
    },
    "services/jobs/test_derived.py": {
        "test_condensed_tokens_come_from_stored_ones_or_from_images_and_answer": None,
        "test_store_backfill_and_service_give_one_vector": None,
    },
    "services/jobs/test_ray.py": {
        "test_statistics_of_shares_make_the_head_of_one_process": None,
        "test_what_the_cluster_cannot_do_is_told": None,
        "test_no_cluster_at_the_address_is_one_line": None,
        "test_the_rows_are_those_of_the_local_engine": None,
        "test_so_they_are_of_every_modality": None,
        "test_a_killed_worker_is_replaced_and_nothing_is_lost": None,
        "test_what_kills_every_worker_ends_the_job": None,
        "test_a_worker_that_disagrees_with_the_table_may_not_write": None,
        "test_a_local_and_a_ray_backfill_at_once_store_every_vector_once": None,
        "test_a_stopped_driver_is_resumed_and_leaves_no_process": None,
    },
    "services/test_parity.py": {
        "test_a_precision_that_is_too_coarse_is_refused": None,
        "test_alone_and_in_a_batch": "lite0|torch-cpu-fp32",
        "test_through_http": None,
    },
    "services/embedding/test_imagebind_spine.py": {
        "test_vectors_over_http_are_the_same_alone_and_together": None,
        "test_a_head_of_photos_answers_anything": None,
        "test_texts_find_any_modality": None,
        "test_the_licence_has_to_be_accepted_and_is_told": None,
        "test_text_sides_ask_for_it_too": None,
        "test_every_modality_is_in_one_table": None,
    },
    "services/embedding/test_openclip_http.py": {
        "test_vectors_and_texts_over_http_are_open_clips": None,
        "test_every_output_has_its_own_identity_over_http": None,
        "test_a_head_on_pooled_vectors_answers": None,
    },
    "services/classification/test_cascade.py": {
        "test_without_the_second_encoder_the_first_answers_for_all_and_says_so": None,
    },
    "store/test_fragments.py": {"test_processes_that_append_and_put_the_same_rows": None},
    "store/test_faults.py": {"test_faults_of_a_whole_process": "too_large"},
    "store/test_processes.py": {"test_processes_that_make_the_tables_and_write_the_same_rows": None},
    "store/test_interchange.py": {"test_exports_into_one_folder_at_once_do_not_mix": None},
    "store/test_search_index.py": {"test_a_killed_build_leaves_the_table_whole": None},
    "services/embedding/test_encoders.py": {
        "test_an_encoder_answers_while_another_one_loads": None,
        "test_the_least_recently_used_encoder_makes_room": None,
        "test_an_encoder_that_does_not_fit_fails_and_the_service_stays_ready": None,
        "test_a_removed_encoder_answers_what_waits_and_leaves_no_network_behind": None,
    },
    "services/embedding/test_encoders_http.py": {"test_an_admin_loads_uses_and_unloads_an_encoder": None},
    "services/embedding/test_sounds.py": {"test_depth_maps_are_stored_when_they_are_called_so": None},
    "services/test_plugin.py": {
        "test_from_photos_to_a_head": None,
        "test_doctor_lists_the_package_without_importing_it": None,
        "test_installed_they_keep_every_promise": None,
        "test_what_the_readme_shows_runs": None,
    },
    "yardstick/test_imagenet.py": {
        "test_the_command": None,
        "test_every_form_of_a_label": None,
        "test_ranks_are_those_of_the_whole_classifier": None,
        "test_what_cannot_be_read_is_told_and_left_out": None,
        "test_labels_that_are_no_class_or_several_are_errors": None,
    },
    "yardstick/test_quality.py": {
        "test_an_outcome_is_measured_once_and_a_failure_again": None,
        "test_the_indicator_has_a_column_for_each_name": None,
        "test_a_draw_deals_every_class_in_its_share": None,
        "test_a_verdict_is_unsure_while_its_interval_holds_the_limit": None,
        "test_a_paired_interval_is_that_of_resampled_rows": None,
    },
    "services/test_client.py": {
        "test_an_answer_of_another_program_is_shown_in_one_line": "-200-502-Stranger$",
    },
    "services/page/test_journey.py": {
        "test_the_first_line_of_up_is_the_address_of_the_page": None,
    },
    "services/page/test_grid.py": {
        "test_many_photos_take_some_cells": None,
    },
    "services/page/test_jobs_view.py": {
        "test_the_form_has_the_fields_of_each_kind_as_the_service_describes_them": None,
    },
    "services/page/test_map.py": {
        "test_the_legend_counts_what_is_on_the_map": None,
    },
    "services/cli/test_ingest.py": {
        "test_watch_embeds_what_appears_until_it_is_stopped": None,
    },
    "services/classification/jobs/test_jobs.py": {
        "test_a_job_waits_for_the_next_service_and_does_what_the_command_does": None,
    },
    "services/web/test_labels.py": {
        "test_many_changes_leave_few_fragments_so_that_the_next_change_is_fast": None,
    },
    "services/test_docs.py": {
        "test_every_command_line_in_the_docs_can_be_typed": None,
    },
    "classifiers/published/test_head.py": {
        "test_prediction_sets_hold_the_true_class_as_promised": ONE_OF_A_KIND,
        "test_a_larger_coverage_gives_no_smaller_set": ONE_OF_A_KIND,
        "test_a_coverage_beyond_the_rows_gives_every_class": ONE_OF_A_KIND,
    },
    "services/classification/test_hostile_heads.py": {
        "test_finite_vectors_that_overflow_are_bad_vectors_for_every_kind_of_head": None,
    },
}
"""{file: {test: pattern}}. `make test` keeps parameter sets whose id matches the pattern; with None, it keeps none."""


def mark_slow(items: Iterable[pytest.Item]) -> None:
    """Give the mark `slow` to the tests listed in SLOW."""
    for item in items:
        listed = SLOW.get(item.path.relative_to(TESTS).as_posix(), {}) if item.path.is_relative_to(TESTS) else {}
        name, _, parameters = item.name.partition("[")
        if name in listed and not _stays(listed[name], parameters.rstrip("]")):
            item.add_marker(pytest.mark.slow)


def _stays(pattern: str | None, parameters: str) -> bool:
    return pattern is not None and re.search(pattern, parameters) is not None
