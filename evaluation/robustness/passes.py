"""Run a checkpoint over corrupted frames, one stored pass for each kind and severity, and sum them up.

A cell's pass lies in RUN/robustness_<weights>_<list>/. It is kept when the next start asks for the same weights, list,
input side, detection settings and corruption, so a killed study goes on where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data_utils.config.loading import config_hash
from data_utils.config.sections import Config
from data_utils.errors import InputError
from data_utils.files import write_csv, write_text
from data_utils.imaging.corruptions import CORRUPTIONS, PARAMETERS, SEVERITIES, corrupt
from evaluation.evaluation_run import output_folder
from evaluation.passes.evaluation_set import EvaluationSet, evaluation_config, open_evaluation_set, require_unseen
from evaluation.passes.predict import LoadedModel, describe_pass, predict
from evaluation.passes.stored import StoredPass, list_hash, load, prediction_path, store
from evaluation.robustness.study import CLEAN, corruption_rows, draw, flat_rows, format_study, source_rows
from evaluation.score import chosen_threshold
from evaluation.scoring.ledger import is_spent_by_scoring, note_scoring
from evaluation.statistics.headline import Scoring
from models.checkpoint import load_model, pick_device

SOURCES = "sources"
Report = Callable[[str], None]


@dataclass(frozen=True)
class Study:
    """The table as text, and the files written."""

    report: str
    files: tuple[Path, ...]


@dataclass(frozen=True, eq=False)
class Bench:
    """One list of frames, opened, with the model to run over it and the folder that keeps its cells."""

    loaded: LoadedModel
    config: Config
    split: int
    data: str
    evaluated: EvaluationSet
    folder: Path

    @property
    def name(self) -> str:
        """Weights and list, as in file names."""
        return f"{self.loaded.weights.stem}_{self.evaluated.label}"


def run_study(
    weights: Path,
    *,
    split: int = 1,
    data: str = "val",
    device_name: str = "auto",
    config_path: str | None = None,
    overrides: Sequence[str] = (),
    only: Sequence[str] = (),
    severities: Sequence[int] = SEVERITIES,
    command: str = "",
    report: Report = print,
) -> Study:
    """Measure the checkpoint on `data` clean, under each corruption, and by source; save JSON, CSV and a picture.

    only: kinds of corruption, or "sources"; () is all. The result tells of every finished cell that fits, those of
    earlier starts too. The threshold is chosen on clean validation frames of the same split. Scoring a test list or an
    external set goes into the ledger, once for each start. Raises InputError for unusable weights, data or settings.
    """
    device = pick_device(device_name)
    model, trained, meta = load_model(weights, device)
    loaded = LoadedModel(model, weights, meta, device)
    config = evaluation_config(trained, config_path, overrides, str(weights))
    folder = output_folder(weights, config)
    bench = open_bench(loaded, config, split, data, folder)
    clean = run_cell(bench, CLEAN, 0, report)
    validation, notes = _validation(bench, clean, folder, report)
    for kind in [kind for kind in CORRUPTIONS if not only or kind in only]:
        for severity in severities:
            run_cell(bench, kind, severity, report)
    scoring = Scoring.of(config)
    threshold = chosen_threshold(clean, validation, scoring)
    finished = [(kind, severity) for kind in CORRUPTIONS for severity in SEVERITIES]
    found = {cell: stored.results for cell in finished if (stored := finished_cell(bench, *cell)) is not None}
    rows = corruption_rows(clean.results, found, scoring, threshold.value)
    rows += source_rows(clean.results, scoring, threshold.value)
    notes = [*bench.evaluated.notes, *clean.notes, *notes]
    if is_spent_by_scoring(data):
        notes.append(note_scoring(Path(config.run.results_dir), clean.about, command).sentence())
    record = _head(bench, scoring, clean.about) | {"threshold": asdict(threshold), "rows": rows, "notes": notes}
    return Study(format_study(record), _save(record, folder / f"robustness_{bench.name}"))


def open_bench(loaded: LoadedModel, config: Config, split: int, data: str, folder: Path) -> Bench:
    """Open the frames of `data`; HR frames stay closed."""
    without_hr = config.model_copy(update={"run": config.run.model_copy(update={"sr_metric_frames": 0})})
    evaluated = open_evaluation_set(without_hr, split, data)
    require_unseen(evaluated, config, data, split, loaded.meta.get("split"))
    cells = folder / f"robustness_{loaded.weights.stem}_{evaluated.label}"
    return Bench(loaded, config, split, data, evaluated, cells)


def run_cell(bench: Bench, kind: str, severity: int, report: Report = print) -> StoredPass:
    """Return the pass over the frames under one corruption (CLEAN, 0: none), stored before or made now."""
    if (stored := finished_cell(bench, kind, severity)) is not None:
        return stored
    evaluated = bench.evaluated
    batches = evaluated.loader if kind == CLEAN else corrupted(evaluated.loader, kind, severity)
    loaded = bench.loaded
    results = predict(loaded.model, batches, loaded.device, bench.config, evaluated.sizes)
    about = describe_pass(results, bench.config, bench.split, bench.data, evaluated.sizes)
    about |= {"weights": str(loaded.weights), "weights_sha256": loaded.meta["weights_sha256"],
              "epoch": loaded.meta["epoch"], "corruption": kind, "severity": severity,
              "cell": cell_key(bench, kind, severity)}  # fmt: skip
    path = cell_path(bench, kind, severity)
    store(path, results, about)
    report(f"{kind} {severity or ''}".strip() + f": {len(results)} frames")
    return load(path)


def finished_cell(bench: Bench, kind: str, severity: int) -> StoredPass | None:
    """Return the stored pass of a cell if it is whole and of the same weights, list, settings and corruption."""
    path = cell_path(bench, kind, severity)
    if not path.is_file():
        return None
    try:
        stored = load(path)
    except InputError:  # torn or foreign: it is made again, as if it were not there
        return None
    fits = stored.about.get("cell") == cell_key(bench, kind, severity) and not stored.notes
    return stored if fits else None


def cell_path(bench: Bench, kind: str, severity: int) -> Path:
    """Return where the pass of one cell is kept."""
    return prediction_path(bench.folder, f"{kind}_{severity}")


def cell_key(bench: Bench, kind: str, severity: int) -> str:
    """Return 12 hex digits for everything that a cell's detections depend on."""
    config, evaluated = bench.config, bench.evaluated
    stems = [Path(path).stem for path in evaluated.loader.dataset.image_paths]
    return config_hash(
        {
            "weights": bench.loaded.meta["weights_sha256"],
            "list": list_hash(stems, evaluated.sizes),
            "settings": [config.imgsz_lr, config.conf_thresh, config.eval.nms_iou, config.eval.max_det],
            "corruption": [kind, severity, PARAMETERS.get(kind)],
        }
    )


def corrupted(batches: Iterable[Mapping[str, Any]], kind: str, severity: int) -> Iterator[dict[str, Any]]:
    """Yield the batches with corrupted frames; "lr_image" is uint8 [B, 3, S, S] RGB before and after."""
    for batch in batches:
        frames = batch["lr_image"].permute(0, 2, 3, 1).contiguous().numpy()
        stems = [Path(path).stem for path in batch["img_path"]]
        bad = np.stack([corrupt(frame, kind, severity, stem) for frame, stem in zip(frames, stems, strict=True)])
        yield {**batch, "lr_image": torch.from_numpy(bad).permute(0, 3, 1, 2)}


def _validation(bench: Bench, clean: StoredPass, folder: Path, report: Report) -> tuple[StoredPass | None, list[str]]:
    """Return clean validation predictions of the same weights, or why there are none."""
    if bench.data == "val":
        return clean, []
    try:
        other = open_bench(bench.loaded, bench.config, bench.split, "val", folder)
    except InputError as error:
        return None, [f"No threshold could be chosen on validation frames: {error}"]
    return run_cell(other, CLEAN, 0, report), []


def _head(bench: Bench, scoring: Scoring, about: Mapping[str, Any]) -> dict[str, Any]:
    taken = ("weights", "weights_sha256", "epoch", "split", "list_sha256", "n_frames", "unit")
    head = {name: about[name] for name in taken}
    return head | {"data": bench.evaluated.label, "imgsz": bench.config.imgsz_lr, "scoring": scoring.as_dict(),
                   "corruptions": PARAMETERS}  # fmt: skip


def _save(record: Mapping[str, Any], stem: Path) -> tuple[Path, ...]:
    files = tuple(stem.with_name(f"{stem.name}.{kind}") for kind in ("json", "csv", "png"))
    write_text(files[0], json.dumps(record, indent=1, allow_nan=False) + "\n")
    rows = flat_rows(record["rows"])
    write_csv(files[1], list(rows[0]), rows)
    draw(files[0], files[2])
    return files
