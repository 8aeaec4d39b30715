"""Building a zoo: what the cache has is taken, the rest is converted, the folder changes at the end."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from converter.cache.key import files_of_tools
from converter.cache.store import Record, Store
from converter.digests import sha256_of
from converter.errors import Cancelled, ConvertError, ModelError, ToolError, disk_error
from converter.jobs.states import State
from converter.storage import Corrupt, Missing, Storage
from converter.zoo import index as indices
from converter.zoo.cells import cell_of, document_of, failed
from converter.zoo.events import Began, CellEnded, Noted, OnZooEvent
from converter.zoo.index import Build, Cell, Index
from converter.zoo.output import Output
from converter.zoo.plan import PlannedCell, ZooPlan, make_plan
from converter.zoo.thresholds import Thresholds

if TYPE_CHECKING:
    from converter.zoo.running import Ended

# Failures that another run repeats: what is wrong is wrong with the archive or the model.
_LASTING: Final = (3, ModelError.exit_code)
_FILES: Final = ("archive", "report", "log")
_NO_ERROR: Final[Mapping[str, Any]] = {"message": "", "remedy": "", "findings": [], "stage": ""}
# Takes the folder, a build whose files are in it, and the gate's thresholds; gives what was published.
Finish = Callable[[Path, Index, Thresholds], Index]


def build(
    manifest: Path,
    out: Path,
    on_event: OnZooEvent,
    *,
    only: Sequence[str] = (),
    scheduler: str | None = None,
    database: str | None = None,
    finish: Finish | None = None,
) -> Index:
    """Build the cells of a manifest into a folder.

    Cells that fail are in the index as failed, and the others go on. A build that is cancelled changes
    nothing in the folder; what it has converted is in the cache, so that the next one goes on there.

    Args:
        out: The folder; what an older build wrote there is replaced.
        only: Selectors, see `converter.zoo.matrix.chosen`.
        scheduler: A Dask scheduler, `tcp://host:8786`; None converts on this machine.
        database: A database for the jobs; None for one that ends with the build.
        finish: What puts the build into place (`converter.zoo.release`); None writes the index alone.

    Raises:
        UsageError: The manifest or the folder cannot be used.
        Cancelled: Ctrl-C, or SIGTERM.
        ToolError: The folder, the database or the storage cannot be written to.
    """
    with Output(out) as output:
        building = _Building(manifest, output, on_event, only, scheduler, database, finish)
        try:
            return building.run()
        except KeyboardInterrupt as error:
            raise Cancelled(building.cancelled()) from error
        except OSError as error:
            raise disk_error(error, f"building {out}") from error


class _Building:
    """A build on its way."""

    def __init__(
        self,
        manifest: Path,
        output: Output,
        on_event: OnZooEvent,
        only: Sequence[str],
        scheduler: str | None,
        database: str | None,
        finish: Finish | None,
    ) -> None:
        self._manifest, self._output, self._on_event = manifest, output, on_event
        self._only, self._scheduler, self._database = only, scheduler, database
        self._finish = finish
        self._started = time.monotonic()
        self._at = datetime.now(UTC)
        self._today = self._at.date()
        self._cells: dict[str, Cell] = {}
        self._plan: ZooPlan | None = None

    def cancelled(self) -> str:
        """What to say of a build that was cancelled."""
        total = len(self._plan.cells) if self._plan else 0
        kept = "in the cache" if self._plan and self._plan.store else "lost, for the cache is off"
        done = f"{len(self._cells)} of {total} cells are done and {kept}"
        return f"Cancelled; {self._output.folder} is as it was. {done}." if total else "Cancelled."

    def run(self) -> Index:
        folder = self._output.folder
        before = indices.read(folder) if (folder / indices.FILE).is_file() else None
        plan = make_plan(
            self._manifest, only=self._only, before=before, is_remote=self._scheduler is not None
        )
        self._plan = plan
        todo = [cell for cell in plan.cells if not self._settled(cell)]
        costs = [cell.cost_s for cell in todo]
        known = [cost for cost in costs if cost is not None]
        estimate = sum(known) if len(known) == len(costs) else None
        done = [*self._cells.values()]
        self._tell_plan(len(plan.cells), len(todo), estimate, done)
        if todo:
            self._convert(plan, todo, estimate)
        made = Index(build=self._about(plan), cells=[self._cells[cell.id] for cell in plan.cells])
        if self._finish is None:
            self._output.finish(made)
        else:
            # From here on the folder may name these files: no Ctrl-C may take them away.
            self._output.keep()
            made = self._finish(folder, made, plan.manifest.gate)
        if plan.store is not None:
            with contextlib.suppress(OSError, ConvertError):
                plan.store.prune(int(plan.options.number("cache.max_gb") * 1e9))
        return made

    def _tell_plan(self, total: int, to_run: int, estimate: float | None, done: Sequence[Cell]) -> None:
        self._on_event(Began(total=total, to_run=to_run, estimate_s=estimate, at_once=0))
        for target, why in self._plan.left_out.items() if self._plan else ():
            self._on_event(Noted(text=f"{target} is left out: {why}"))
        for cell in done:
            self._on_event(CellEnded(cell=cell))

    # ------------------------------------------------------------ what runs nothing

    def _settled(self, planned: PlannedCell) -> bool:
        """Whether a cell is done without converting it: the cache has it, or it cannot be tried."""
        if planned.error is not None:
            self._cells[planned.id] = failed(planned, planned.error, self._today)
            return True
        if planned.found is None or self._plan is None or self._plan.store is None:
            return False
        files = self._taken(planned.id, self._plan.store, planned.found)
        if files is None:
            return False
        document = planned.found.document
        self._cells[planned.id] = cell_of(planned, document, files, cached=True, today=self._today)
        return True

    def _taken(self, cell: str, store: Store, record: Record) -> dict[str, str] | None:
        """Put the files of a result of the cache into the folder; None if it has no whole ones."""
        files = {}
        for what, digest in record.files.items():
            try:
                files[what] = self._output.add(cell, what, store.storage, digest)
            except (Missing, Corrupt):
                store.drop(record)
                return None
        store.used(record)
        return files

    # ------------------------------------------------------------ what runs

    def _convert(self, plan: ZooPlan, todo: Sequence[PlannedCell], estimate: float | None) -> None:
        from converter.zoo.running import Runner  # SQLAlchemy takes its time

        batch = f"zoo-{self._at:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
        runner = Runner(
            plan, self._output.folder, batch, scheduler=self._scheduler, database=self._database
        )
        with runner:
            self._on_event(
                Began(
                    total=len(plan.cells), to_run=len(todo), estimate_s=estimate, at_once=runner.at_once
                )
            )
            for ended in runner.run(todo, self._on_event):
                cell = self._ended(plan, ended, runner.storage)
                self._cells[cell.id] = cell
                self._on_event(CellEnded(cell=cell))

    def _ended(self, plan: ZooPlan, ended: Ended, storage: Storage) -> Cell:
        """The cell of a job that ended; what is worth it goes into the cache."""
        planned, job = ended.planned, ended.job
        result = _result(ended)
        places = [planned.wanted.source, *planned.wanted.files.values()]
        changed = [place.given for place in places if not plan.places.is_unchanged(place)]
        changed += _changed_by_tools(planned)
        if changed and planned.key is not None:
            error = ToolError(f"{changed[0]} was changed during the build.", remedy="Build again.")
            return failed(planned, error, self._today)
        kinds = [kind for kind in _FILES if kind in ended.artefacts]
        document = document_of(planned, result)
        try:
            files = {
                kind: self._output.add(planned.id, kind, storage, ended.artefacts[kind].digest)
                for kind in kinds
            }
        except (Missing, Corrupt) as error:
            return failed(planned, error, self._today)
        is_lasting = job.state is State.SUCCEEDED or result.get("exit_code") in _LASTING
        if plan.store is not None and planned.key is not None and is_lasting:
            _keep(plan.store, planned.key, self._output.folder, files, document)
        return cell_of(planned, document, files, cached=False, today=self._today)

    def _about(self, plan: ZooPlan) -> Build:
        ended = datetime.now(UTC)
        return Build(
            id=f"{self._at:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}",
            started_at=self._at.isoformat(timespec="seconds"),
            ended_at=ended.isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - self._started, 1),
            converter=version("nnarchive-converter"),
            manifest=plan.path.name,
            manifest_sha256=sha256_of(plan.path),
            only=plan.only,
        )


def _result(ended: Ended) -> dict[str, Any]:
    """What a job's row says of its end."""
    job = ended.job
    result = dict(job.result or {})
    if job.state is not State.SUCCEEDED and "error" not in result:
        said = job.reason or f"The job is {job.state}."
        result |= {"exit_code": ToolError.exit_code, "error": {"class": "ToolError", "message": said}}
    if "error" in result:
        told = dict(result["error"])
        told = {"kind": told.pop("class", ""), **told, "exit_code": result["exit_code"]}
        result["error"] = {**_NO_ERROR, **told}
        if job.started_at is not None and job.ended_at is not None:
            result["seconds"] = round(job.ended_at - job.started_at, 3)
    return result


def _changed_by_tools(planned: PlannedCell) -> list[str]:
    """What the tools' arguments name and has another content than when the build was planned."""
    if planned.key is None:
        return []
    try:
        now = files_of_tools(planned.wanted.options) or {}
    except OSError:
        now = {}
    either = planned.by_tools.keys() | now.keys()
    return sorted(name for name in either if planned.by_tools.get(name) != now.get(name))


def _keep(
    store: Store, key: str, folder: Path, files: Mapping[str, str], document: Mapping[str, Any]
) -> None:
    """Keep a result; it is no error if the cache cannot be written to."""
    with contextlib.suppress(OSError, ConvertError):
        store.keep([key], {what: folder / name for what, name in files.items()}, document)
