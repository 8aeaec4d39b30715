"""Mixed precision from end to end: searched, by name, from a file; read back, compared on the emulator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import converter
from converter.errors import UsageError, VerificationError
from converter.events import Event, Progress, StageStarted
from converter.run import Conversion, plan
from tests.convert.test_rvc4_convert import FEW, FP16, RANDOM, dlc_of, member_of, record_of, wheel
from tests.convert.test_rvc4_formats import net_of, node, weights
from tests.sources import DIGITS_ARCHIVE, RGB, write_folder

__all__ = ["wheel"]
OUTLIERS = Path(__file__).parents[1] / "data" / "outliers" / "outliers.tar.xz"
LIMIT = 0.05
QUICK = {"verify.enabled": False}


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Conversion, list[Event]]:
    """The net that 8 bits hurt, with a limit that 8 bits are far from."""
    events: list[Event] = []
    done = converter.convert(
        OUTLIERS,
        "rvc4",
        output=tmp_path_factory.mktemp("mixed") / "o.tar",
        options={"rvc4.max_drop": LIMIT},
        on_event=events.append,
    )
    return done, events


def mixed_of(archive: Path) -> dict[str, Any]:
    return dict(record_of(archive)["compiled"]["calibration"]["mixed"])


def widths_of(archive: Path) -> dict[str, str]:
    """Element types of a DLC's inner tensors, by their names in the prepared graph."""
    return {
        t.name.partition("_QuantizeLinear")[0]: t.dtype for t in dlc_of(archive).tensors if t.kind == 3
    }


def test_few_wide_nodes_keep_the_limit_on_frames_kept_apart_and_on_the_emulator(
    searched: tuple[Conversion, list[Event]],
) -> None:
    done, _ = searched
    found, wide = mixed_of(done.output), record_of(done.output)["compiled"]["calibration"]["wide"]
    assert 1 <= len(wide["nodes"]) <= 4
    assert (
        max(found["search"]["drop"], found["search"]["held_out"]) <= LIMIT < found["search"]["without"]
    )
    # One step less was tried, and is beyond the limit.
    tried = {item["nodes"]: item["drop"] for item in found["search"]["tried"] if item["drop"]}
    fewer = max(count for count in tried if count < len(wide["nodes"]))
    assert tried[len(wide["nodes"])] <= LIMIT < tried[fewer]
    assert done.verification["outputs"]["scores"]["rel_rmse"] <= LIMIT
    made = widths_of(done.output)
    assert {made[name] for name in wide["tensors"]} == {"uint16"}
    assert sorted(made.values()).count("uint16") <= len(wide["tensors"]) + 2  # and their converts
    assert dlc_of(done.output).outputs[0].dtype == "uint8"


def test_a_search_tells_how_far_it_is(searched: tuple[Conversion, list[Event]]) -> None:
    _, events = searched
    (started,) = [e for e in events if isinstance(e, StageStarted) and e.stage == "search"]
    assert started.title == "Searching for the fewest 16-bit nodes"
    (measured,) = [e for e in events if isinstance(e, StageStarted) and e.stage == "calibrate"]
    assert measured.title == "Measuring ranges on 48 frames"  # 12 of the 60 are kept apart
    steps = [e for e in events if isinstance(e, Progress) and e.stage == "search"]
    assert [e.done for e in steps] == list(range(1, len(steps) + 1))
    assert steps[-1].done == steps[-1].total


def test_what_was_found_is_made_again_without_a_search(
    searched: tuple[Conversion, list[Event]],
) -> None:
    done, _ = searched
    record = converter.verify_archive(done.output, OUTLIERS, options={"verify.emulator": False})
    assert record["status"] == "passed"


def test_an_assignment_of_a_build_record_can_be_given(
    searched: tuple[Conversion, list[Event]], tmp_path: Path
) -> None:
    done, _ = searched
    file = tmp_path / "kept.json"
    file.write_bytes(member_of(done.output, "buildinfo.json"))
    again = converter.convert(
        *(OUTLIERS, "rvc4"),
        output=tmp_path / "o.tar",
        options={"rvc4.precision_file": str(file), **QUICK},
    )
    assert mixed_of(again.output)["wide"] == mixed_of(done.output)["wide"]
    wide = record_of(again.output)["compiled"]["calibration"]["wide"]
    assert wide["nodes"] == record_of(done.output)["compiled"]["calibration"]["wide"]["nodes"]


def test_a_limit_that_nothing_keeps_fails_with_the_best_and_its_file(tmp_path: Path) -> None:
    with pytest.raises(
        VerificationError, match=r"the best found is 0\.\d+ \('scores'\), with"
    ) as caught:
        converter.convert(
            *(OUTLIERS, "rvc4"),
            output=tmp_path / "o.tar",
            options={"rvc4.max_drop": 1e-4, "calibration.max_images": 8, **QUICK},
            keep_work=tmp_path / "work",
        )
    assert caught.value.exit_code == 7
    assert "--keep-work" in caught.value.remedy
    assert json.loads((tmp_path / "work" / "precision.json").read_text())["wide"]
    assert not (tmp_path / "o.tar").exists()


def test_named_tensors_are_wide_and_a_wide_silu_is_right_on_the_emulator(tmp_path: Path) -> None:
    nodes = [
        node("Conv", "images w0", "c0", pads=[1] * 4),
        node("Sigmoid", "c0", "g0"),
        node("Mul", "c0 g0", "s0"),
        node("Conv", "s0 w1", "c1", pads=[1] * 4),
        node("Sigmoid", "c1", "g1"),
        node("Mul", "c1 g1", "s1"),
        node("Conv", "s1 w2", "out"),
    ]
    constants = {"w0": weights(8, 3, 3, 3, size=0.05), "w1": weights(8, 8, 3, 3, size=3)}
    constants["w2"] = np.asarray(weights(4, 8, 1, 1))
    net = net_of(nodes, {"out": [1, 4, 16, 16]}, constants)
    folder = write_folder(tmp_path / "a", net, preprocessing=RGB)
    # The fault that is kept away shows in this mode.
    options = {**RANDOM, "rvc4.wide": "n_c1,g1,s1", "verify.emulator_optimization": 1}
    done = converter.convert(folder, "rvc4", output=tmp_path / "o.tar", options=options)
    assert mixed_of(done.output)["wide"] == ["c1", "g1", "s1"]
    made = widths_of(done.output)
    assert {made[name] for name in ("c1", "s1")} == {"uint16"}
    assert made["s0"] == "uint8"
    assert done.verification["outputs"]["out"]["rel_rmse"] < 0.03


def test_named_nodes_compute_in_float16_and_are_right_on_the_emulator(tmp_path: Path) -> None:
    """A Conv between two integer ones, and what makes the output."""
    nodes = [
        node("Conv", "images w0", "c0"),
        node("Conv", "c0 w1", "c1", pads=[1] * 4),
        node("Relu", "c1", "r1"),
        node("Conv", "r1 w2", "c2"),
        node("Conv", "c2 w3", "out"),
    ]
    constants = {f"w{i}": np.asarray(weights(8, 8, 1, 1)) for i in (2, 3)}
    constants |= {"w0": weights(8, 3, 1, 1, size=0.05), "w1": weights(8, 8, 3, 3)}
    net = net_of(nodes, {"out": [1, 8, 16, 16]}, constants)
    folder = write_folder(tmp_path / "a", net, preprocessing=RGB)
    options = {**RANDOM, "rvc4.float": "n_c1,out"}
    done = converter.convert(folder, "rvc4", output=tmp_path / "o.tar", options=options)
    assert record_of(done.output)["compiled"]["calibration"]["floats"] == ["n_c1", "n_r1", "n_out"]
    dlc = dlc_of(done.output)
    types = {tensor.name: tensor.dtype for tensor in dlc.tensors}
    made = {item.op: set() for item in dlc.nodes}
    for item in dlc.nodes:
        made[item.op] |= {types[name] for name in item.outputs}
    assert made["Conv2d"] == {"float16", "uint8"}
    assert [output.dtype for output in dlc.outputs] == ["float32"]
    assert not any("floating point" in warning for warning in done.warnings)
    assert done.verification["outputs"]["out"]["rel_rmse"] < 0.03


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rvc4.max_drop": 0.1, "rvc4.quantization_mode": "INT16_STANDARD"}, "none of 8 bits"),
        ({"rvc4.wide": "a", "rvc4.quantization_mode": "INT8_INT16_MIXED"}, "none of 8 bits"),
        (
            {"rvc4.float": "a", "rvc4.quantization_mode": "FP16_STANDARD"},
            "all nodes compute in float16",
        ),
        ({**FP16, "rvc4.max_drop": 0.1}, "none of 8 bits"),
        ({"rvc4.drop_metric": "head"}, "what rvc4.max_drop limits"),
        ({"rvc4.max_drop": 0.1, "rvc4.drop_metric": "labels"}, "needs labels"),
        ({"rvc4.max_drop": 0.1, "rvc4.precision_file": "x.json"}, "Leave one of them out"),
        ({"rvc4.precision_file": "x.json"}, "no such file"),
    ],
)
def test_options_that_exclude_each_other_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        plan(DIGITS_ARCHIVE, "rvc4", options={**FEW, **options})


def test_a_mode_of_16_bits_begins_with_8_where_a_limit_is_given() -> None:
    options = {**FEW, "rvc4.quantization_mode": "INT8_INT16_MIXED_ACCURACY_FOCUSED"}
    made = plan(DIGITS_ARCHIVE, "rvc4", options={**options, "rvc4.max_drop": 0.1})
    told = made.parameters.to_json()
    assert told["precision"]["activations"] == 8
    assert told["mixed"]["max_drop"] == 0.1
    assert [step.name for step in made.steps].index("search") == 3
    assert "mixed" not in plan(DIGITS_ARCHIVE, "rvc4", options=options).parameters.to_json()
