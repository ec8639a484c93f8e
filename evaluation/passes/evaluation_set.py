"""Which frames an evaluation runs on, and under which settings: what evaluate.py needs before it can measure."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_utils.config.loading import load_config, override_config
from data_utils.config.sections import Config
from data_utils.errors import InputError, nearest_name
from data_utils.imaging.images import list_images
from data_utils.manifest import ManifestRow, read_manifest, unit_of

PARTS = ("train", "val", "test", "val_healthy", "test_healthy")
_BUILDS_THE_MODEL = ("model", "sr_layers", "sr_decoder", "sr_resblocks")  # config keys the weights depend on


@dataclass(frozen=True, eq=False)
class EvaluationSet:
    """Frames to evaluate on: `label` for headings and file names, `sizes` by stem (empty without a manifest)."""

    label: str
    loader: Any
    sizes: dict[str, ManifestRow]
    notes: tuple[str, ...]


def evaluation_config(trained: Config, config_path: str | None, overrides: Iterable[str], weights: str) -> Config:
    """Return the settings to evaluate with: the checkpoint's, with another data set where one is asked for.

    The file at `config_path`, where given, replaces the sections `dataset` and `eval`; `overrides` come last. Raises
    InputError when the data set's classes differ from the checkpoint's, or an override asks for another architecture.
    """
    config = trained
    if config_path is not None:
        other = load_config(config_path)
        config = trained.model_copy(update={"dataset": other.dataset, "eval": other.eval})
    config = override_config(config, overrides)
    if config.dataset.names != trained.dataset.names:
        raise InputError(
            f"{weights}: trained on {_classes(trained)}, but data set {config.dataset.name} has {_classes(config)}; "
            "name weights trained on these classes, or another data set with --config"
        )
    changed = [key for key in _BUILDS_THE_MODEL if getattr(config, key) != getattr(trained, key)]
    if changed:
        raise InputError(f"{weights}: {', '.join(changed)} cannot be overridden: the weights were trained with another")
    return config


def open_evaluation_set(config: Config, split: int, data: str) -> EvaluationSet:
    """Open `data`: a part of split number `split` (PARTS), or the name of a set under dataset.external.

    Raises InputError for an unknown name and for lists, labels or images that are missing or wrong.
    """
    from data_utils.dataset import SREYOLODataset
    from data_utils.loader import make_loader

    processed, list_file, label = _locate(config, split, data)
    manifest = processed / "manifest.csv"
    sizes = read_manifest(manifest) if manifest.is_file() else {}
    hr_images = processed / "hr" / "images"
    hr_dir = hr_images if config.has_branch and config.run.sr_metric_frames and hr_images.is_dir() else None
    with tempfile.TemporaryDirectory() as scratch:
        list_file = list_file or _list_of_all(data, processed, sizes, Path(scratch))
        dataset = SREYOLODataset(list_file, hr_dir, config=config, uint8=True)
    batch_size = config.eval.batch_size or config.batch_size
    loader = make_loader(dataset, batch_size, workers=config.run.workers, shuffle=False, seed=config.seed)
    return EvaluationSet(label, loader, sizes, _notes(sizes))


def require_unseen(evaluated: EvaluationSet, config: Config, data: str, split: int, trained_split: int | None) -> None:
    """Raise InputError when frames of a part of split number `split`, or others of their groups, were trained on.

    That is how it is with weights of another split of the same frames, where test frames of one train the other.
    """
    if trained_split in (None, split) or data not in PARTS or data == "train":
        return
    list_file = config.dataset.split_list(trained_split, "train")
    if not list_file.is_file():
        raise InputError(
            f"--split {split}: the weights are of split {trained_split}, and {list_file} is not at hand to see which "
            f"frames they were trained on; use --split {trained_split}"
        )
    trained = {Path(line.strip()).stem for line in list_file.read_text(encoding="utf-8").splitlines() if line.strip()}
    group_of = {stem: row.group for stem, row in evaluated.sizes.items()}
    groups = {group_of[stem] for stem in trained if stem in group_of}
    stems = [path.stem for path in evaluated.loader.dataset.image_paths]
    n_seen = sum(stem in trained or group_of.get(stem) in groups for stem in stems)
    if n_seen:
        raise InputError(
            f"--split {split}: the weights are of split {trained_split}, and {n_seen} of these {len(stems)} frames, or "
            f"others of their {unit_of(evaluated.sizes.values())}s, were trained on; use --split {trained_split}"
        )


def label_of(config: Config, split: int, data: str) -> str:
    """Return what headings and file names call `data`: "<set>_split<N>_<part>", or an external set's name."""
    return f"{config.dataset.name}_split{split}_{data}" if data in PARTS else data


def _locate(config: Config, split: int, data: str) -> tuple[Path, Path | None, str]:
    """Return the prepared folder, the list of frames (None: all in the manifest) and a label."""
    dataset = config.dataset
    if shadowed := sorted(set(PARTS) & set(dataset.external)):
        raise InputError(f"dataset.external.{shadowed[0]}: that is the name of a part of a split; choose another")
    if data in PARTS:
        list_file = dataset.split_list(split, data)
        if data.endswith("_healthy") and not list_file.is_file():
            raise InputError(f"{list_file}: no such list; set dataset.split.lesion_only_eval = true and prepare again")
        return Path(dataset.processed), list_file, label_of(config, split, data)
    if data in dataset.external:
        external = dataset.external[data]
        if not external.list_file:
            return Path(external.processed), None, data
        if not Path(external.list_file).is_file():
            raise InputError(
                f"dataset.external.{data}.list_file: {external.list_file} is no file; list LR image paths in it, one a "
                "line, or leave list_file out to take every frame"
            )
        return Path(external.processed), Path(external.list_file), data
    known = [*PARTS, *dataset.external]
    near = nearest_name(data, known)
    hint = f", did you mean '{near}'?" if near else "."
    raise InputError(f"--data {data}: not among {', '.join(known)}{hint} Name more sets under dataset.external")


def _list_of_all(data: str, processed: Path, sizes: dict[str, ManifestRow], folder: Path) -> Path:
    """Write a list of every frame in the manifest; a file that is not in it is none of the set's frames."""
    if not sizes:
        raise InputError(
            f"{processed / 'manifest.csv'}: missing or empty: the external set {data} is not prepared; run `python -m "
            "data_utils.prepare --config FILE` with its own config (dataset.split.n_splits: 0), or correct "
            f"dataset.external.{data}.processed"
        )
    images = {path.stem: path for path in list_images(processed / "lr" / "images")}
    if gone := [stem for stem in sizes if stem not in images]:
        raise InputError(
            f"{processed / 'lr' / 'images'}: {len(gone)} of the {len(sizes)} frames in manifest.csv are not there, "
            f"first {gone[0]}; prepare the external set {data} again"
        )
    list_file = folder / "all.txt"
    list_file.write_text("".join(f"{images[stem].absolute()}\n" for stem in sorted(sizes)), encoding="utf-8")
    return list_file


def _notes(sizes: Mapping[str, ManifestRow]) -> tuple[str, ...]:
    """Say it where the set's own manifest does not group its frames by patient, whatever the training set does."""
    unit = unit_of(sizes.values())
    if unit in ("patient", "frame"):
        return ()
    return (f"Grouped by {unit}: NOT patient-independent, expect worse on new patients.",)


def _classes(config: Config) -> str:
    return f"{config.dataset.nc} classes {list(config.dataset.names)}"
