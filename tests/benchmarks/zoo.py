"""The zoo: a rebuild that has nothing to do, plans of many cells, and conversions beside a plain loop.

    nox -s zoo_benchmark                       # all of it: a quarter of an hour
    python -m tests.benchmarks.zoo --models 200 --loop 6

Nothing here is a test: figures are printed and never asserted. Every measured command runs in a process
of its own. The cells of the rebuild are not converted: one archive for each target is put
into the cache under the key of each of its cells, and what is measured is the build's own work.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from onnx import numpy_helper

from converter import convert
from converter.archive.write import write_archive
from converter.cache.store import Store
from converter.pinned_wheel import cache_root
from converter.system import usable_cores
from tests.benchmarks.speed import RESULTS
from tests.sources import config_for, conv_model

ROOT = Path(__file__).parents[2]
TARGETS = [
    {"target": "rvc2"},
    {"target": "rvc4", "toolchain": "native", "modes": ["INT8_STANDARD", "FP16_STANDARD"]},
]
QUICK = {"verify.emulator": False, "calibration.random": True}


def archives(folder: Path, count: int) -> list[Path]:
    """Archives of small models whose weights differ, a few kilobytes each."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    found = []
    for index in range(count):
        model = conv_model()
        for tensor in model.graph.initializer:
            if tensor.data_type == 1:
                whole = numpy_helper.to_array(tensor)
                other = (whole + rng.normal(0, 0.01, whole.shape)).astype(np.float32)
                tensor.CopyFrom(numpy_helper.from_array(other, tensor.name))
        config = config_for(model)
        path = folder / f"model{index:03}.tar.xz"
        members: list[tuple[str, bytes | Path]] = [
            ("config.json", json.dumps(config).encode()),
            ("model.onnx", model.SerializeToString()),
        ]
        write_archive(path, members, force=True)
        found.append(path)
    return found


def manifest(folder: Path, sources: Sequence[Path], **more: Any) -> Path:
    """A manifest of these models for three cells each."""
    models = [{"name": f"m{index:06}", "source": str(path)} for index, path in enumerate(sources)]
    document = {"version": 1, "models": models, "targets": TARGETS, "options": QUICK, **more}
    path = folder / "zoo.yaml"
    path.write_text(yaml.dump(document, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper)))
    return path


def fill(path: Path) -> int:
    """Put a result into the cache for every cell; how many there are."""
    from converter.zoo.plan import make_plan

    store = Store()
    plan = make_plan(path)
    made: dict[str, tuple[Path, dict[str, Any]]] = {}
    for cell in plan.cells:
        target = cell.wanted.target
        if target not in made:
            done = convert(
                cell.wanted.source.path,
                target,
                output=path.with_name(f"{target}.tar.xz"),
                options={**QUICK, "rvc4.quantization_mode": "FP16_STANDARD"},
                toolchain="native",
            )
            made[target] = done.output, {**done.to_json(), "exit_code": 0}
        archive, result = made[target]
        document = {"result": result, "tools": {}, "toolchain": "native"}
        assert cell.key is not None
        store.keep([cell.key], {"archive": archive}, document)
    return len(plan.cells)


def nnconvert(*words: str) -> tuple[float, float, int]:
    """A command: wall seconds, CPU seconds, and its peak memory in bytes."""
    code = "import sys; from converter.cli import main; sys.argv[0] = 'nnconvert'; main()"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    wall = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 8):
        raise SystemExit(done.stderr)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, after.ru_maxrss * 1024


def rebuild(folder: Path, count: int) -> list[dict[str, Any]]:
    """A rebuild with nothing to do: the first one copies archives, the second finds them there."""
    folder.mkdir()
    path = manifest(folder, archives(folder / "models", count))
    cells = fill(path)
    rows = []
    for what in ("into a new folder", "again", "once more"):
        wall, cpu, peak = nnconvert("zoo", "build", str(path), "--out", str(folder / "out"), "-q")
        rows.append(
            {"what": f"{cells} cells cached, {what}", "wall_s": wall, "cpu_s": cpu, "peak": peak}
        )
    return rows


def plans(folder: Path, counts: Sequence[int]) -> list[dict[str, Any]]:
    """Plans of many cells of one model under many names: none of them is in the cache."""
    folder.mkdir()
    (source,) = archives(folder / "models", 1)
    rows = []
    for count in counts:
        path = manifest(folder, [source] * (count // 3))
        wall, cpu, peak = nnconvert("zoo", "plan", str(path), "--json")
        rows.append({"what": f"plan of {count:,} cells", "wall_s": wall, "cpu_s": cpu, "peak": peak})
    return rows


def loop(folder: Path, count: int) -> list[dict[str, Any]]:
    """Real conversions: a plain loop over `convert`, and a build of the same cells."""
    folder.mkdir()
    sources = archives(folder / "models", count)
    options = [word for key, value in QUICK.items() for word in (key, json.dumps(value))]
    out = folder / "loop"
    out.mkdir()
    wall = cpu = 0.0
    for source in sources:
        for target, mode in (("rvc2", ""), ("rvc4", "INT8_STANDARD"), ("rvc4", "FP16_STANDARD")):
            chosen = ["rvc4.quantization_mode", mode] if mode else []
            made = out / f"{source.stem}.{target}.{mode}.tar.xz"
            words = ("convert", "-t", target, "--toolchain", "native", str(source), "-o", str(made))
            one_wall, one_cpu, _ = nnconvert(*words, "-q", *options, *chosen)
            wall, cpu = wall + one_wall, cpu + one_cpu
    rows = [{"what": f"{3 * count} conversions, a loop over convert", "wall_s": wall, "cpu_s": cpu}]
    path = manifest(folder, sources, report=False)
    wall, cpu, peak = nnconvert("zoo", "build", str(path), "--out", str(folder / "out"), "-q")
    rows.append({"what": "the same cells, zoo build", "wall_s": wall, "cpu_s": cpu, "peak": peak})
    return rows


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The results as Markdown."""
    lines = [
        "# A zoo: rebuilds, plans, conversions",
        "",
        f"Measured {date.today()} on {usable_cores()} cores ({platform.machine()}), Python "
        f"{platform.python_version()}. Wall seconds are fair on a machine of its own alone.",
        "Goals: 600 cells that are all cached in 5 s; 1.8 times as fast as a loop.",
        "",
        "| what | wall s | CPU s | peak MB |",
        "| --- | ---: | ---: | ---: |",
    ]
    for row in rows:
        peak = f"{row['peak'] / 1e6:.0f}" if "peak" in row else ""
        lines.append(f"| {row['what']} | {row['wall_s']:.1f} | {row['cpu_s']:.1f} | {peak} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", type=int, default=200)
    parser.add_argument("--plans", type=int, nargs="*", default=[1_000, 10_000, 100_000])
    parser.add_argument("--loop", type=int, default=6, help="models that are converted; 0 for none")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    toolchains = cache_root() / "toolchains"
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        # A cache without results, but with the toolchains.
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        cache_root().mkdir(parents=True)
        (cache_root() / "toolchains").symlink_to(toolchains)
        rows = rebuild(folder / "rebuild", given.models) if given.models else []
        rows += plans(folder / "plans", given.plans) if given.plans else []
        rows += loop(folder / "loop", given.loop) if given.loop else []
    print(table(rows))
    if given.write:
        (RESULTS / "zoo.md").write_text(table(rows))


if __name__ == "__main__":
    main()
