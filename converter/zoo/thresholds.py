"""The manifest's `gate`: how much a cell may differ from the last published build."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0)]


class Thresholds(BaseModel):
    """Each limit by itself says no; `null` switches it off.

    A cell that fails and is not expected to always says no, with or without an older build.

    Attributes:
        size_growth: By which share an archive may grow: 0.1 is a tenth.
        accuracy_loss: By how much the task's metric of the result may fall (0 to 1).
        cosine_loss: By how much the cosine of an output with the source's may fall.
        rel_rmse_growth: By how much an output's relative RMS error may grow.
        slowdown: By which factor a conversion may take longer; machines differ, so it is off.
        new_warnings: Whether a cell may have warnings that it had not.
        changed_tensors: Whether names, shapes, types or layouts of inputs and outputs may differ.
        missing_cells: Whether a cell of the last build may be gone from the manifest.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    size_growth: Share | None = 0.1
    accuracy_loss: Share | None = 0.01
    cosine_loss: Share | None = 0.005
    rel_rmse_growth: Share | None = 0.02
    slowdown: Annotated[float, Field(gt=1)] | None = None
    new_warnings: bool = True
    changed_tensors: bool = False
    missing_cells: bool = True
