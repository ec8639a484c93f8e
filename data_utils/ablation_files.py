"""What run_all_ablations.py leaves below <results>/ablations, read back so that a damaged file does no harm."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from data_utils.errors import InputError
from data_utils.saved_json import finite, read_saved_json

VERSION = 1  # of the plan's layout
FOLDER, PLAN, STATE, RESULT = "ablations", "plan.json", "state.json", "result.json"
NUMBERS = ("ap50", "fps", "gflops", "epochs_trained")  # that a result holds; None where one is not defined


class PlannedRun(BaseModel):
    """What plan.json says of one run. seeds: {seed: its folder, below <results>/ablations}.

    base: stands for what the command asked of all runs, epochs included; where it differs, more than overrides does.
    settings: the command's own key=value texts. Both are None in plans made before they were noted.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    key: str
    seeds: Annotated[dict[Annotated[str, Field(pattern=r"^\d+$")], str], Field(min_length=1)]
    split: int
    overrides: list[str] | None = None
    config: str
    dataset: str
    external: list[str] = Field(default_factory=list)
    imgsz: int
    epochs: int
    needs: str | None = None
    base: str | None = None
    settings: list[str] | None = None

    @property
    def folders(self) -> dict[int, str]:
        """The folder of each seed, in order."""
        return {int(seed): self.seeds[seed] for seed in sorted(self.seeds, key=int)}

    @property
    def made_from(self) -> str:
        """Config file and settings, without those of place and machine."""
        own = [text for text in self.settings or () if not text.startswith(("run.", "dataset."))]
        return " ".join([self.config, *own])


_PLANNED = TypeAdapter(dict[str, PlannedRun])


def plan_path(results_dir: str | Path) -> Path:
    """Return where it is noted which folder holds each run's seeds."""
    return Path(results_dir) / FOLDER / PLAN


def read_plan(results_dir: str | Path) -> dict[str, PlannedRun]:
    """Return what was ever planned there, by run; empty before the first. Raises InputError for a damaged file."""
    path = plan_path(results_dir)
    if not path.exists():
        return {}
    reason, values = "torn", read_saved_json(path)
    if values.get("version", VERSION) != VERSION:
        raise InputError(
            f"{path}: of version {values['version']}, this project reads version {VERSION}; use the one that wrote it, "
            "or another folder: run.results_dir=PATH"
        )
    try:
        return _PLANNED.validate_python(values.get("runs"))
    except ValidationError as error:
        first = error.errors()[0]
        reason = ".".join(map(str, first["loc"])) or reason
    raise InputError(
        f"{path}: not a plan of run_all_ablations.py ({reason}); move it away and run that again with all runs and "
        "seeds that the tables are to show: what is finished is not repeated"
    )


def read_result(folder: Path) -> dict[str, Any]:
    """Return the result in a seed's folder; empty when it is missing, torn, or not as it was written."""
    result = read_saved_json(folder / RESULT)
    files = result.get("evaluations")
    return result if isinstance(files, dict) and all(isinstance(path, str) for path in files.values()) else {}


def has_numbers(result: Mapping[str, Any]) -> bool:
    """Say whether each of `NUMBERS` is there, as a number or as None."""
    return all(name in result and (result[name] is None or finite(result[name]) is not None) for name in NUMBERS)
