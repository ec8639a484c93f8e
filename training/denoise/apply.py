"""Denoising a prepared data set into another one, which training reads in its place.

The copy is built beside its place and moved there when it is complete, so that it appears whole or not at all.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from data_utils.config.sections import DatasetSection
from data_utils.errors import InputError, InterruptedRun, StopSignal
from data_utils.files import write_text
from data_utils.imaging.images import list_images, read_bgr, write_image
from data_utils.lists import find_hr_partners, label_path
from data_utils.manifest import read_manifest
from models.denoiser import SpeckleDenoiser, denoise_image

RECORD = "denoised.json"


@dataclass(frozen=True)
class PreparedSet:
    """The files of a prepared set: LR images, their HR partners in the same order, and the lists below its splits."""

    dataset: DatasetSection
    lr_paths: tuple[Path, ...]
    hr_paths: tuple[Path, ...]
    lists: tuple[Path, ...]
    n_strangers: int


def find_prepared(dataset: DatasetSection) -> PreparedSet:
    """Find every file of the set by its manifest. Raises InputError for what is missing."""
    rows = read_manifest(dataset.manifest)
    images = list_images(dataset.lr_images) if dataset.lr_images.is_dir() else []
    by_stem = {path.stem: path for path in images}
    missing = [stem for stem in rows if stem not in by_stem]
    if missing or not rows:
        raise InputError(
            f"{dataset.manifest}: {len(missing)} of {len(rows)} frames are not in {dataset.lr_images}"
            f"{f', first {missing[0]}' if missing else ''}; run `python -m data_utils.prepare` again"
        )
    lr_paths = [by_stem[stem] for stem in rows]
    lists = tuple(sorted(Path(dataset.splits).glob("split*/*.txt")))
    if not lists:
        raise InputError(f"{dataset.splits}: no split lists; run `python -m data_utils.prepare`")
    hr_paths = find_hr_partners(lr_paths, dataset.hr_images)
    return PreparedSet(dataset, tuple(lr_paths), tuple(hr_paths), lists, len(images) - len(lr_paths))


def check_out(out: Path, dataset: DatasetSection) -> None:
    """Raise InputError when `out` holds something, or when it lies in the source set or around it."""
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise InputError(f"--out {out}: is there and not empty; name another folder, or remove it")
    real = Path(os.path.realpath(out))
    for source in (dataset.processed, dataset.splits, dataset.raw):
        folder = Path(os.path.realpath(source))
        if real.is_relative_to(folder) or folder.is_relative_to(real):
            raise InputError(f"--out {out}: overlaps {source}, which is never written; name another folder")


def denoise_prepared(
    model: SpeckleDenoiser, prepared: PreparedSet, out: Path, source: dict[str, Any], progress: bool = True
) -> dict[str, int]:
    """Write the denoised set to `out`: processed/{lr,hr}/images, lr/labels, manifest.csv, and splits/.

    `source` goes into denoised.json beside the counts, which are returned. Labels are copied, lists rewritten to the
    new paths. Raises InputError as `check_out` does and for lists that name other images; a signal leaves nothing
    behind and raises InterruptedRun.
    """
    check_out(out, prepared.dataset)
    out = Path(os.path.abspath(out))
    with _built_beside(out) as folder:
        processed = folder / "processed"
        texts = {path: _moved(path, prepared, out / "processed" / "lr" / "images") for path in prepared.lists}
        n_without_labels = 0
        pairs = list(zip(prepared.lr_paths, prepared.hr_paths, strict=True))
        with StopSignal() as stop, tqdm(pairs, desc="denoising", unit="frame", disable=not progress or None) as bar:
            for lr_path, hr_path in bar:
                if stop.number is not None:
                    name = signal.Signals(stop.number).name
                    raise InterruptedRun(f"stopped by {name}; {out} was not written: start again", 128 + stop.number)
                _denoise_file(model, lr_path, processed / "lr" / "images", prepared.dataset.jpeg_quality)
                _denoise_file(model, hr_path, processed / "hr" / "images", prepared.dataset.jpeg_quality)
                n_without_labels += not _copy_labels(lr_path, processed / "lr" / "labels")
        splits = Path(prepared.dataset.splits)
        for path, text in texts.items():
            write_text(folder / "splits" / path.relative_to(splits), text)
        for path in sorted(splits.glob("*.csv")):
            shutil.copyfile(path, folder / "splits" / path.name)
        shutil.copyfile(prepared.dataset.manifest, processed / "manifest.csv")
        counts = {
            "frames": len(pairs),
            "lists": len(texts),
            "frames_without_label_file": n_without_labels,
            "files_not_in_the_manifest": prepared.n_strangers,
        }
        write_text(folder / RECORD, json.dumps({**source, **counts}, indent=1) + "\n")
    return counts


def _denoise_file(model: SpeckleDenoiser, path: Path, folder: Path, jpeg_quality: int) -> None:
    rgb = cv2.cvtColor(read_bgr(path).bgr, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
    clean = cv2.cvtColor(denoise_image(model, rgb), cv2.COLOR_RGB2BGR).astype(np.uint8, copy=False)
    write_image(folder / path.name, clean, jpeg_quality)


def _copy_labels(lr_path: Path, folder: Path) -> bool:
    """Copy the label file of an LR image, and say whether there is one."""
    folder.mkdir(parents=True, exist_ok=True)
    labels = label_path(lr_path)
    if labels.is_file():
        shutil.copyfile(labels, folder / labels.name)
        return True
    return False


def _moved(list_file: Path, prepared: PreparedSet, images: Path) -> str:
    """Return the text of a split list with the same frames, in the same order, in the folder `images`."""
    known = {path.name for path in prepared.lr_paths}
    folder = os.path.realpath(prepared.dataset.lr_images)
    lines = []
    for number, line in enumerate(list_file.read_text(encoding="utf-8-sig").splitlines(), start=1):
        path = list_file.parent / line.strip()
        name = path.name if line.strip() else ""
        if name and (name not in known or os.path.realpath(path.parent) != folder):
            raise InputError(
                f"{list_file}:{number}: {name} is not in {prepared.dataset.manifest}; prepare the data set again"
            )
        lines += [str(images / name)] if name else []
    return "".join(line + "\n" for line in lines)


@contextlib.contextmanager
def _built_beside(out: Path) -> Iterator[Path]:
    """Yield a new folder that becomes `out` when the block ends well, and is removed when it does not."""
    folder = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        folder.mkdir(parents=True)
        yield folder
        if out.is_dir():
            out.rmdir()  # empty, as was checked; Windows renames onto no folder at all
        os.replace(folder, out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
