"""The bugs that the tests must find: each an edit of one place, and the tests that fail with it.

A bug is here because a user would get a wrong result, or lose something, without a word. `before` stands
in its file exactly once (`tests/unit/test_mutants.py`), so an edit of that file takes the mutant along.
"""

from __future__ import annotations

from dataclasses import dataclass

_UNIT = "tests/unit/test_"


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """A bug and what finds it.

    Attributes:
        name: For `--only`.
        file: Where the bug is put in, from the repository's root.
        before: The text that is there, once; after: what takes its place.
        tests: Node ids; of each, at least one case must fail by an assertion.
        harm: What the bug would do to a user.
    """

    name: str
    file: str
    before: str
    after: str
    tests: tuple[str, ...]
    harm: str


def _unit(*names: str) -> tuple[str, ...]:
    """Node ids below tests/unit: `verify.py::test_…` without the folder and `test_`."""
    return tuple(f"{_UNIT}{name}" for name in names)


MUTANTS: tuple[Mutant, ...] = (
    # ------------------------------------------------- what integers lose
    Mutant(
        name="bias-corrected-the-wrong-way",
        file="targets/rvc4/quantization/bias_correction.py",
        before="moved = codes - np.rint(",
        after="moved = codes + np.rint(",
        tests=_unit(
            "bias_correction.py::test_a_corrected_layers_channels_have_the_means_of_the_float_layer"
        ),
        harm="Every bias is off by twice what it was.",
    ),
    Mutant(
        name="verify-forgets-corrected-biases",
        file="targets/rvc4/quantization/network.py",
        before='"shifts": shifts_of(report),',
        after='"shifts": None,',
        tests=_unit(
            "bias_correction.py::test_a_correction_is_recorded_and_made_again_without_the_data"
        ),
        harm="An archive cannot be verified: another DLC is made of its record.",
    ),
    Mutant(
        name="a-ranges-search-changes-nothing",
        file="targets/rvc4/quantization/range_choice.py",
        before="            tried = chosen | dict.fromkeys(group, way)",
        after="            tried = dict(chosen)",
        tests=_unit("rvc4_ranges.py::test_tensors_get_unlike_ways_where_the_outputs_gain"),
        harm="The accuracy-focused modes leave accuracy behind, without a word.",
    ),
    # ------------------------------------------------------ cache and hash
    Mutant(
        name="cache-without-calibration-bytes",
        file="converter/calibration/files.py",
        before='            "sha256": self.sha256,\n            "resize_method"',
        after='            "resize_method"',
        tests=_unit(
            "cache_key.py::test_another_calibration_picture_of_the_same_name_and_count_is_another_key[calibration.path]"
        ),
        harm="Other calibration pictures of the same count give the stale DLC of the first ones.",
    ),
    Mutant(
        name="digest-of-names-only",
        file="converter/calibration/files.py",
        before="hashlib.sha256(self.read(name)).digest()",
        after="hashlib.sha256(name.encode()).digest()",
        tests=_unit(
            "cache_key.py::test_another_calibration_picture_of_the_same_name_and_count_is_another_key[calibration.path]"
        ),
        harm="A picture that is replaced under its name changes neither hash nor result.",
    ),
    Mutant(
        name="hash-without-parameters",
        file="converter/plans.py",
        before='            "parameters": self.parameters.to_json(),\n            "steps": [step.to_json() for step in self.steps],\n            **({"postprocessor": self.second.hash}',
        after='            "steps": [step.to_json() for step in self.steps],\n            **({"postprocessor": self.second.hash}',
        tests=_unit(
            "cache_key.py::test_another_calibration_picture_of_the_same_name_and_count_is_another_key[calibration.path]",
            "cache_key.py::test_pictures_in_another_order_are_another_key",
        ),
        harm="Two plans that give different files have one hash, and a job queue runs one of them.",
    ),
    Mutant(
        name="hash-without-config",
        file="converter/plans.py",
        before='            "config": self.model.config,\n',
        after="",
        tests=_unit(
            "cache_key.py::test_other_weights_another_config_and_another_packing_are_other_keys"
        ),
        harm="After an edit of the heads in config.json the cache gives the archive with the old heads.",
    ),
    Mutant(
        name="hash-without-weights",
        file="converter/model.py",
        before='            "files": dict(self.files),\n',
        after="",
        tests=_unit(
            "cache_key.py::test_other_weights_another_config_and_another_packing_are_other_keys"
        ),
        harm="A retrained model of the same name gives the compiled file of the old weights.",
    ),
    Mutant(
        name="stage-without-the-models-bytes",
        file="converter/cache/stages.py",
        before='"files": dict(files_of_model(Path(value)))',
        after='"files": {}',
        tests=_unit("cache_stages.py::test_another_byte_of_anything_is_a_miss[change_weights]"),
        harm="A model that was trained again is converted with the old weights.",
    ),
    Mutant(
        name="stage-of-frames-that-changed",
        file="converter/calibration/dataset.py",
        before='"root": None, "sha256": Tree.open(Path(item.root)).digest(item.files)}',
        after='"root": None}',
        tests=_unit("cache_stages.py::test_another_byte_of_anything_is_a_miss[change_frame]"),
        harm="Ranges of pictures that are not there any more are kept under the new ones' key.",
    ),
    Mutant(
        name="cache-without-code",
        file="converter/cache/key.py",
        before='        "code": [code_of("converter"), code_of(package_of(target))],\n',
        after="",
        tests=_unit("cache_key.py::test_other_code_and_other_libraries_are_another_key"),
        harm="After an update that mends a conversion the cache still gives the broken result.",
    ),
    Mutant(
        name="cache-without-libraries",
        file="converter/cache/key.py",
        before='        "libraries": _libraries(),\n',
        after="",
        tests=_unit("cache_key.py::test_other_code_and_other_libraries_are_another_key"),
        harm="After an update of onnxruntime the ranges of the old version come back.",
    ),
    Mutant(
        name="cache-without-packing",
        file="converter/cache/key.py",
        before='        "made by": made_by(plan.target),\n        "suffix": suffix,\n',
        after='        "made by": made_by(plan.target),\n',
        tests=_unit(
            "cache_key.py::test_other_weights_another_config_and_another_packing_are_other_keys"
        ),
        harm="The file out.tar holds a tar.xz, which a reader that goes by the name refuses.",
    ),
    # ------------------------------------------------------ quantization
    Mutant(
        name="wide-gate-fused",
        file="targets/rvc4/quantization/gates.py",
        before="if gate is not None and made[gate].name in wide:",
        after="if gate is not None and made[gate].name not in wide:",
        tests=_unit("mixed_precision.py::test_wide_tensors_lose_less_and_a_wide_gate_is_kept_apart"),
        harm="The HTP computes something else for a SiLU in 16 bits: the result is off by more than itself.",
    ),
    Mutant(
        name="held-out-frames-decide",
        file="converter/calibration/dataset.py",
        before='frames=self.frames - apart, part="others")',
        after='frames=self.frames - apart, part="all")',
        tests=_unit(
            "mixed_precision.py::test_a_fifth_of_the_frames_is_kept_apart_where_there_are_enough"
        ),
        harm="The frames that judge a search have decided it: the loss that is told is too small.",
    ),
    Mutant(
        name="percentile-not-used",
        file="targets/rvc4/quantization/calibrate.py",
        before="return seen.percentile(percentile)",
        after="return seen.percentile(99.999)",
        tests=_unit(
            "rvc4_quantization.py::test_the_percentile_that_a_user_gives_is_the_share_that_the_range_covers[90-50-950]"
        ),
        harm="rvc4.percentile is ignored: outliers take the codes that the other values need.",
    ),
    Mutant(
        name="percentile-not-read",
        file="targets/rvc4/translate.py",
        before='percentile=options.number("rvc4.percentile")',
        after="percentile=99.999",
        tests=_unit(
            "rvc4_quantization.py::test_the_percentile_that_a_user_gives_is_the_share_that_the_range_covers[90-50-950]"
        ),
        harm="rvc4.percentile is accepted, printed by --explain and never used.",
    ),
    Mutant(
        name="percentile-cut-on-one-side-twice",
        file="targets/rvc4/quantization/observers.py",
        before="cut = (100.0 - percentile) / 200.0",
        after="cut = (100.0 - percentile) / 100.0",
        tests=_unit("rvc4_ranges.py::test_ranges_are_those_of_onnx_runtimes_calibrators[90.0]"),
        harm="Twice as many values as the user allowed are clipped.",
    ),
    Mutant(
        name="outputs-clipped",
        file="targets/rvc4/quantization/calibrate.py",
        before='if name in outputs or way == "min-max"',
        after='if way == "min-max"',
        tests=_unit("rvc4_quantization.py::test_an_output_is_not_clipped_whatever_the_percentile"),
        harm="Boxes at the picture's edge and the highest scores are cut off.",
    ),
    Mutant(
        name="per-channel-switch-ignored",
        file="targets/rvc4/translate.py",
        before='per_channel=precision.per_channel and options.flag("rvc4.use_per_channel_quantization")',
        after="per_channel=precision.per_channel",
        tests=_unit(
            "rvc4_quantization.py::test_a_convolution_has_a_scale_for_each_output_channel_unless_that_is_switched_off[False-1]"
        ),
        harm="rvc4.use_per_channel_quantization=false gives per-channel weights all the same.",
    ),
    Mutant(
        name="per-channel-not-asked-for",
        file="targets/rvc4/quantization/quantize.py",
        before="            proto,\n        per_channel=per_channel,".replace(
            "            proto", "        proto"
        ),
        after="        proto,\n        per_channel=False,",
        tests=_unit(
            "rvc4_quantization.py::test_a_convolution_has_a_scale_for_each_output_channel_unless_that_is_switched_off[True-4]"
        ),
        harm="One scale for all channels: depthwise networks lose most of their accuracy.",
    ),
    Mutant(
        name="activation-bits-are-the-weights",
        file="targets/rvc4/quantization/network.py",
        before='"activations": precision.activations,',
        after='"activations": precision.weights,',
        tests=_unit(
            "rvc4_quantization.py::test_bit_widths_are_those_that_a_user_gives[8-16-int8-65535]"
        ),
        harm="INT8_INT16_MIXED computes with 8-bit activations.",
    ),
    Mutant(
        name="encodings-ignored",
        file="targets/rvc4/quantization/network.py",
        before='            "encodings": parameters.encodings.to_call() if parameters.encodings else None,\n            "output_type"',
        after='            "encodings": None,\n            "output_type"',
        tests=_unit("rvc4_quantization.py::test_given_encodings_take_the_place_of_measured_ranges"),
        harm="The ranges of quantization-aware training are thrown away for measured ones.",
    ),
    Mutant(
        name="lost-parts-stay-lost",
        file="targets/rvc4/quantization/outputs.py",
        before="if 0 < reach < _ENOUGH_STEPS * width / _STEPS[8]:",
        after="if 0 < reach < width / _STEPS[16]:",
        tests=_unit(
            "rvc4_widths.py::test_an_end_of_unlike_ranges_is_wide_from_its_producers_on",
            "rvc4_widths.py::test_the_outputs_leave_as_the_option_says[auto-uint16-5]",
        ),
        harm="Every score beside boxes in pixels becomes 0 in INT8.",
    ),
    Mutant(
        name="widths-without-converts",
        file="targets/rvc4/quantization/widths.py",
        before='row["convert"] = {"quant_type": kind[24 - bits], "recv_nodes": others}',
        after='row["convert"] = {"quant_type": kind[24 - bits], "recv_nodes": set()}',
        tests=_unit("rvc4_widths.py::test_every_node_of_any_graph_has_one_width"),
        harm="Nodes with activations of two widths: QNN refuses the network.",
    ),
    Mutant(
        name="one-bad-entry-costs-all",
        file="targets/rvc4/quantization/aimet.py",
        before="            unused[name] = str(error)\n        except (KeyError",
        after="            raise\n        except (KeyError",
        tests=_unit(
            "rvc4_encodings.py::test_one_entry_that_cannot_be_used_never_costs_the_others[0.6.1]"
        ),
        harm="A file with the encoding of one bias is refused whole.",
    ),
    Mutant(
        name="frame-range-is-what-was-seen",
        file="targets/rvc4/quantization/calibrate.py",
        before="dict.fromkeys(_frame_values(model, frames), (0.0, 255.0))",
        after="dict.fromkeys(_frame_values(model, []), (0.0, 255.0))",
        tests=_unit("rvc4_quantization.py::test_a_frames_code_is_the_pixels_value_whatever_was_seen"),
        harm="On dark calibration pictures a bright pixel overflows its range.",
    ),
    Mutant(
        name="first-frame-only",
        file="converter/calibration/dataset.py",
        before="for index in self._places(count):",
        after="for index in range(min(count, 1)):",
        tests=_unit(
            "rvc4_quantization.py::test_every_frame_of_the_calibration_data_is_measured",
            "calibration.py::test_at_most_so_many_images",
        ),
        harm="The ranges are those of one picture, while the record names fifty.",
    ),
    Mutant(
        name="last-frames-for-first",
        file="converter/calibration/dataset.py",
        before="usable = usable[: maximum * batch_of(item)]",
        after="usable = usable[-maximum * batch_of(item) :]",
        tests=_unit("rvc4_quantization.py::test_every_frame_of_the_calibration_data_is_measured"),
        harm="calibration.max_images takes other pictures than the ones that the documentation names.",
    ),
    Mutant(
        name="calibration-in-rgb",
        file="converter/calibration/files.py",
        before="pixels = pixels[:, :, ::-1]  # Pillow's RGB as the camera's BGR",
        after="pixels = pixels[:, :, :]",
        tests=_unit("calibration.py::test_pictures_come_as_the_cameras_bgr_whatever_the_model_wants"),
        harm="Ranges are measured, and the network is verified, on pictures with red and blue swapped.",
    ),
    Mutant(
        name="resize-method-ignored",
        file="converter/calibration/files.py",
        before="_resize(plain, (width, height), self._data.resize_method)",
        after='_resize(plain, (width, height), "RESIZE")',
        tests=_unit("calibration.py::test_the_three_ways_to_resize"),
        harm="Calibration pictures are stretched where the camera crops or pads.",
    ),
    # ------------------------------------- colour, mean and scale, layout
    Mutant(
        name="reversal-swapped",
        file="converter/preprocessing.py",
        before="return self.color is Color.RGB",
        after="return self.color is Color.BGR",
        tests=_unit(
            "preprocessing.py::test_a_frame_is_reordered_then_the_mean_is_subtracted_then_it_is_divided_by_the_scale",
            "preprocessing.py::test_the_embedded_nodes_and_folded_weights_compute_these_numbers",
        ),
        harm="Red and blue are swapped in the model and in the reference alike, so verification passes.",
    ),
    Mutant(
        name="scale-multiplied",
        file="converter/preprocessing.py",
        before="tensor = tensor / np.asarray(self.scale",
        after="tensor = tensor * np.asarray(self.scale",
        tests=_unit(
            "preprocessing.py::test_a_frame_is_reordered_then_the_mean_is_subtracted_then_it_is_divided_by_the_scale",
            "preprocessing.py::test_the_source_is_fed_these_numbers",
        ),
        harm="The reference is fed (x - mean) * scale, and every right result is called wrong.",
    ),
    Mutant(
        name="reversed-after-the-mean",
        file="converter/preprocessing.py",
        before="        if self.mean:\n            tensor = tensor - np.asarray(self.mean, np.float32)",
        after="        if self.mean:\n            tensor = tensor - np.asarray(self.mean[::-1], np.float32)",
        tests=_unit(
            "preprocessing.py::test_a_frame_is_reordered_then_the_mean_is_subtracted_then_it_is_divided_by_the_scale"
        ),
        harm="The mean of red is subtracted from blue.",
    ),
    Mutant(
        name="scale-before-mean",
        file="converter/graph/embed.py",
        before="""    if any(pre.mean):
        operations.append(("Sub", pre.mean))
    if any(scale != 1 for scale in pre.scale):
        operations.append(("Mul", [1 / scale for scale in pre.scale]))
""",
        after="""    if any(scale != 1 for scale in pre.scale):
        operations.append(("Mul", [1 / scale for scale in pre.scale]))
    if any(pre.mean):
        operations.append(("Sub", pre.mean))
""",
        tests=_unit(
            "preprocessing.py::test_the_embedded_nodes_and_folded_weights_compute_these_numbers"
        ),
        harm="The compiled model computes x / scale - mean: every score is off.",
    ),
    Mutant(
        name="folded-mean-in-model-order",
        file="converter/graph/embed.py",
        before="        mean = pre.mean[::-1] if pre.reverses else pre.mean\n        return",
        after="        mean = pre.mean\n        return",
        tests=_unit(
            "preprocessing.py::test_the_embedded_nodes_and_folded_weights_compute_these_numbers"
        ),
        harm="A model of RGB whose scale was folded subtracts the mean of red from blue.",
    ),
    Mutant(
        name="preprocessing-twice",
        file="converter/feeding.py",
        before="mean=(0.0,) * camera.channels if embed or not pre.mean else pre.mean,",
        after="mean=(0.0,) * camera.channels if not pre.mean else pre.mean,",
        tests=_unit(
            "preprocessing.py::test_preprocessing_is_done_once_wherever_it_is_done",
            "rvc2_translate.py::test_embedded_images_take_planar_camera_frames",
        ),
        harm="The mean is in the model and in the config: a host that reads the config subtracts it twice.",
    ),
    Mutant(
        name="permutation-inverted",
        file="converter/feeding.py",
        before="return [old.index(axis) for axis in new]",
        after="return [new.index(axis) for axis in old]",
        tests=_unit("preprocessing.py::test_a_permutation_turns_one_layout_into_the_other"),
        harm="Frames are turned by the inverse permutation: height, width and channels are mixed up.",
    ),
    Mutant(
        name="contradicting-layout-taken",
        file="converter/config/preprocessing_block.py",
        before='if order and (order == "i") is not interleaved and channels == 3:',
        after="if order == ' ':",
        tests=_unit(
            "understand.py::test_a_problem_is_named_with_its_field_and_what_to_write[dai order]"
        ),
        harm="dai_type and layout contradict each other, and one of them is chosen in silence.",
    ),
    Mutant(
        name="layout-not-held-against-the-shape",
        file="converter/config/tensors.py",
        before='elif is_image and shape[layout.index("C")] not in (1, 3):',
        after='elif is_image and shape[layout.index("C")] < 1:',
        tests=_unit("understand.py::test_a_problem_is_named_with_its_field_and_what_to_write[layout]"),
        harm="A config that says NHWC of a planar model is believed, and width becomes the channels.",
    ),
    Mutant(
        name="reverse-channels-flag-inverted",
        file="converter/config/preprocessing_block.py",
        before='return Color.BGR if entry.get("reverse_channels") is False else Color.RGB, findings',
        after='return Color.BGR if entry.get("reverse_channels") else Color.RGB, findings',
        tests=_unit("understand.py::test_the_colour_follows_the_rules_in_their_order"),
        harm="Archives with the older flag have red and blue swapped.",
    ),
    # ------------------------------------------------------ verification
    Mutant(
        name="either-limit-is-enough",
        file="converter/verification/verdict.py",
        before='if not row["cosine"] >= limits.min_cosine:',
        after='if not said and not row["cosine"] >= limits.min_cosine:',
        tests=_unit(
            "verify.py::test_loosening_one_limit_leaves_the_other_in_force",
            "verify.py::test_a_scaled_output_fails_though_its_cosine_is_one",
        ),
        harm="A network whose output is half as large passes, because its cosine is one.",
    ),
    Mutant(
        name="limits-never-loosen",
        file="converter/verification/limits.py",
        before="max_rel_rmse=float(error) if isinstance",
        after="max_rel_rmse=min(float(error), self.max_rel_rmse) if isinstance",
        tests=_unit(
            "verify.py::test_loosened_limits_let_through_what_the_defaults_refuse_and_tightened_ones_the_reverse"
        ),
        harm="verify.max_rel_rmse is the remedy of the error message, and has no effect.",
    ),
    Mutant(
        name="cosine-limit-never-loosens",
        file="converter/verification/limits.py",
        before="min_cosine=float(cosine) if isinstance",
        after="min_cosine=max(float(cosine), self.min_cosine) if isinstance",
        tests=_unit(
            "verify.py::test_loosened_limits_let_through_what_the_defaults_refuse_and_tightened_ones_the_reverse"
        ),
        harm="A user who allows for a lower cosine cannot convert.",
    ),
    Mutant(
        name="cosine-of-the-result-with-itself",
        file="converter/verification/figures.py",
        before='"cosine": _cosine(a, b) if agree else 0.0,',
        after='"cosine": _cosine(b, b) if agree else 0.0,',
        tests=_unit("verify.py::test_the_figures_are_these_numbers"),
        harm="The cosine is 1 whatever the compiled network computes.",
    ),
    Mutant(
        name="error-in-the-results-own-size",
        file="converter/verification/figures.py",
        before='"rel_rmse": _rms(a - b) / max(_rms(a), _EPSILON) if agree',
        after='"rel_rmse": _rms(a - b) / max(_rms(b), _EPSILON) if agree',
        tests=_unit("verify.py::test_the_figures_are_these_numbers"),
        harm="An output that is a hundred times too large has an error of 99 % and not of 9900 %.",
    ),
    Mutant(
        name="last-output-decides",
        file="converter/verification/verdict.py",
        before='"status": "failed" if failed else "passed",',
        after='"status": "failed" if [*failed][-1:] == [*figures][-1:] else "passed",',
        tests=_unit("verify.py::test_one_output_that_is_off_fails_the_whole"),
        harm="Wrong boxes pass beside right scores.",
    ),
    # ---------------------------------------------------------- read back
    Mutant(
        name="weights-not-read-back",
        file="targets/rvc4/dlc/check.py",
        before="if item and item.kind == STATIC and item.dtype not in allowed:",
        after="if item and item.kind == STATIC and not item.dtype:",
        tests=_unit(
            "dlc.py::test_one_weight_and_one_activation_of_another_width_are_named",
            "dlc.py::test_a_dlc_that_was_not_quantized_is_not_taken_for_one_of_any_mode",
        ),
        harm="A DLC with 8-bit weights is sold as INT16.",
    ),
    Mutant(
        name="activations-not-read-back",
        file="targets/rvc4/dlc/check.py",
        before="if item.dtype not in expected and not _is_converted_input(item, dlc):",
        after="if item.dtype not in expected and is_float and islands:",
        tests=_unit(
            "dlc.py::test_one_weight_and_one_activation_of_another_width_are_named",
            "dlc.py::test_a_dlc_that_was_not_quantized_is_not_taken_for_one_of_any_mode",
        ),
        harm="A float DLC, ten times slower, is sold as INT8.",
    ),
    Mutant(
        name="shaves-not-read-back",
        file="targets/rvc2/blob/check.py",
        before='        if wanted != found:\n            findings.append(_differs("blob"',
        after='        if not found:\n            findings.append(_differs("blob"',
        tests=_unit("rvc2_files.py::test_a_blob_is_held_against_what_was_asked_for"),
        harm="A blob for more SHAVE cores than the pipeline has does not load.",
    ),
    Mutant(
        name="blob-types-not-read-back",
        file="targets/rvc2/blob/check.py",
        before="if wanted.dtype != found.dtype:",
        after="if not found.dtype:",
        tests=_unit("rvc2_files.py::test_a_blob_is_held_against_what_was_asked_for"),
        harm="A blob takes float16 where the camera sends bytes.",
    ),
    Mutant(
        name="patches-in-reverse",
        file="targets/rvc2/blob/superblob.py",
        before="SHAVE_COUNTS: Final = tuple(range(1, 17))",
        after="SHAVE_COUNTS: Final = tuple(range(16, 0, -1))",
        tests=_unit("rvc2_files.py::test_a_superblobs_patches_lie_where_depthai_looks_for_them"),
        harm="DepthAI asks for 6 SHAVE cores and gets the blob for 11.",
    ),
    Mutant(
        name="patch-to-the-wrong-base",
        file="targets/rvc2/steps.py",
        before="checked_patch(self._base, data)",
        after="checked_patch(Base(data), data)",
        tests=_unit("rvc2_files.py::test_patches_are_made_to_the_blob_of_the_chosen_shaves[4]"),
        harm="The patches belong to another base: the device gets garbage for every other SHAVE count.",
    ),
    Mutant(
        name="base-is-not-first",
        file="targets/rvc2/parameters.py",
        before="return (self.shaves, *others) if self.superblob",
        after="return (*others, self.shaves) if self.superblob",
        tests=_unit("rvc2_translate.py::test_a_superblob_is_made_of_all_counts_the_base_first"),
        harm="The first patch is made before there is a base, and no superblob can be written.",
    ),
    # ------------------------------------------------- the target archive
    Mutant(
        name="outputs-sorted-by-name",
        file="converter/target_archive.py",
        before="for item in artifact.outputs]\n    names = ",
        after="for item in sorted(artifact.outputs, key=lambda o: o.name)]\n    names = ",
        tests=_unit("target_archive.py::test_tensors_are_those_of_the_compiled_file_in_its_order"),
        harm="A host that reads outputs by their place takes the masks for the scores.",
    ),
    Mutant(
        name="heads-take-every-output",
        file="converter/target_archive.py",
        before='        if head.get("outputs") is None:\n',
        after="        if True:\n",
        tests=_unit("target_archive.py::test_heads_and_names_and_further_metadata_are_the_sources"),
        harm="A head that named its output is given all of them, and its parser reads the wrong one.",
    ),
    Mutant(
        name="precision-of-the-source",
        file="converter/target_archive.py",
        before='    metadata["precision"] = artifact.precision\n',
        after="",
        tests=_unit("target_archive.py::test_the_precision_is_what_the_weights_became"),
        harm="The archive of an INT8 network says float32.",
    ),
    Mutant(
        name="precision-is-the-activations",
        file="targets/rvc4/quantization/modes.py",
        before='f"int{self.weights}"',
        after='f"int{self.activations}"',
        tests=_unit("rvc4_quantization.py::test_the_precision_of_each_mode_is_the_one_of_its_name"),
        harm="INT8_INT16_MIXED is listed as int16 in a model zoo.",
    ),
    Mutant(
        name="warnings-not-recorded",
        file="converter/target_archive.py",
        before="[*(str(warning) for warning in plan.warnings), *artifact.warnings]",
        after="[*artifact.warnings]",
        tests=_unit("target_archive.py::test_the_record_keeps_the_warnings_of_the_plan_and_of_the_run"),
        harm="Nothing in the archive tells that its ranges come from generated frames.",
    ),
    Mutant(
        name="random-frames-without-a-warning",
        file="targets/rvc4/translate.py",
        before="    if data.random:\n        findings.append(calibration.random_warning())\n",
        after="",
        tests=_unit("target_archive.py::test_the_record_keeps_the_warnings_of_the_plan_and_of_the_run"),
        harm="A network that was calibrated on noise is taken for a finished one.",
    ),
    Mutant(
        name="overwrites-what-came-meanwhile",
        file="converter/archive/write.py",
        before="        if force:\n            part.replace(path)",
        after="        if force or path.is_file():\n            part.replace(path)",
        tests=_unit("target_archive.py::test_a_file_that_somebody_made_during_the_work_is_kept"),
        harm="Two jobs that write to one name: the second destroys the first one's result.",
    ),
    Mutant(
        name="overwrites-without-force",
        file="converter/archive/write.py",
        before="if os.path.lexists(path) and not force:",
        after="if os.path.islink(path) and not force:",
        tests=_unit(
            "target_archive.py::test_an_existing_file_is_refused_before_the_work_unless_force_is_given"
        ),
        harm="An existing archive is found out only after minutes of work.",
    ),
    # ------------------------------------------- hostile input and limits
    Mutant(
        name="traversal-inside-a-name",
        file="converter/archive/tar.py",
        before='if ".." in parts:',
        after='if parts[0] == "..":',
        tests=_unit(
            "tar.py::test_a_hostile_member_is_refused_by_name_and_nothing_is_written_outside[member1-leads out]"
        ),
        harm="A member a/../../evil is written outside of the work folder.",
    ),
    Mutant(
        name="time-limit-ignored",
        file="converter/processes/started.py",
        before="return self.process.wait(timeout_s)",
        after="return self.process.wait()",
        tests=_unit(
            "process_limits.py::test_a_child_whose_time_is_up_is_ended_and_what_it_said_is_kept"
        ),
        harm="A compiler that hangs holds a worker forever.",
    ),
    Mutant(
        name="verification-failure-is-a-tool-failure",
        file="converter/errors.py",
        before="    exit_code = 7\n",
        after="    exit_code = 6\n",
        tests=_unit("api.py::test_every_error_has_an_exit_code_of_its_own"),
        harm="A nightly job retries a conversion that is wrong as if a tool had crashed.",
    ),
    Mutant(
        name="origin-is-the-first-layers",
        file="converter/options/resolve.py",
        before="of_layer[key] = Setting(value=value, origin=layer.origin)",
        after="of_layer[key] = Setting(value=value, origin=layers[0].origin)",
        tests=_unit("options.py::test_a_stronger_layer_wins_and_the_origin_is_known"),
        harm="--explain blames the preset for a value of the command line.",
    ),
    Mutant(
        name="weaker-layer-wins",
        file="converter/options/resolve.py",
        before="return {**{key: value for key, value in weaker.items() if key not in gone}, **stronger}",
        after="return {**stronger, **{key: value for key, value in weaker.items() if key not in gone}}",
        tests=_unit("options.py::test_a_stronger_layer_wins_and_the_origin_is_known"),
        harm="A preset wins over what the user typed.",
    ),
    Mutant(
        name="link-of-a-child-is-followed",
        file="converter/processes/untrusted.py",
        before='_NO_LINK: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)',
        after='_NO_LINK: Final = getattr(os, "O_CLOEXEC", 0)',
        tests=_unit("hostile_attempt.py::test_no_other_file_than_the_attempt_s_is_stored"),
        harm="A hostile model has another tenant's file stored as its result.",
    ),
    Mutant(
        name="sandbox-with-the-network",
        file="converter/processes/sandbox.py",
        before='*("--unshare-all", "--unshare-user"',
        after='*("--unshare-all", "--share-net", "--unshare-user"',
        tests=_unit("sandbox.py::test_a_child_reaches_its_folder_and_nothing_else"),
        harm="A hostile model sends what it finds to anybody.",
    ),
)
