"""ModelConverter itself, as the judge of what we write for it, in a virtual environment of its own.

It wants an older onnx than we do and two OpenCVs, so it never comes into ours. `NNCONVERT_MODELCONV` may
name the Python of an environment that has it already.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.kept import kept

VERSION = "0.6.2"

_LOAD = """
import json, os, sys
from modelconverter.utils.config import Config
results = []
for path, overrides in json.loads(sys.argv[1]):
    os.chdir(os.path.dirname(path))
    from modelconverter.utils.filesystem_utils import set_input_base
    from pathlib import Path
    set_input_base(Path(path).parent)
    try:
        results.append({"config": json.loads(Config.get_config(path, overrides).model_dump_json(by_alias=True))})
    except Exception as error:
        results.append({"error": str(error)})
print("\\n" + json.dumps(results))
"""

_FIELDS = """
import json, typing
from pydantic import BaseModel
from modelconverter.utils import config

def models(kind):
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [kind]
    return [model for inner in typing.get_args(kind) for model in models(inner)]

def fields(model, prefix):
    for name, field in model.model_fields.items():
        key = prefix + (field.alias or name)
        yield key
        for inner in models(field.annotation):
            # What an encodings file holds is AIMET's, not a configuration.
            if inner not in (config.Encodings, config.QuantizationOverrides):
                yield from fields(inner, f"{key}.NAME." if key in ("inputs", "outputs") else f"{key}.")

found = {*config.Config.model_fields, *fields(config.SingleStageConfig, "")}
print("\\n" + json.dumps(sorted(found)))
"""

_FLAGS = """
import json
from modelconverter.__main__ import app
found = set()
for part in (app.meta, app["convert"]):
    for argument in part.assemble_argument_collection():
        found |= {name for name in argument.names if name.startswith("--")}
print("\\n" + json.dumps(sorted(found)))
"""


def python() -> Path:
    """The Python of an environment with ModelConverter, made if there is none."""
    if given := os.environ.get("NNCONVERT_MODELCONV"):
        return Path(given)
    return kept(f"modelconv-{VERSION}-python-{platform.python_version()}", _install) / "bin" / "python"


def _install(folder: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = [folder / "bin" / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, f"modelconv=={VERSION}"], check=True, timeout=1800)


def _ask(interpreter: Path, program: str, *arguments: str) -> Any:
    done = subprocess.run(
        [interpreter, "-c", program, *arguments], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def load(interpreter: Path, *files: Path, overrides: Sequence[str] = ()) -> list[dict[str, Any]]:
    """What ModelConverter's own loader makes of each file: `config`, or `error`."""
    work = [[str(path), list(overrides)] for path in files]
    return list(_ask(interpreter, _LOAD, json.dumps(work)))


def fields(interpreter: Path) -> set[str]:
    """Every key of its configuration models, by the names that files use."""
    return set(_ask(interpreter, _FIELDS))


def flags(interpreter: Path) -> set[str]:
    """Every flag of `modelconverter convert`."""
    return set(_ask(interpreter, _FLAGS))
