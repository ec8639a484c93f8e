"""Reading a prepared data set from its split list: the LR frames, their label files and their HR partners.

Everything that can be wrong with the files is found here, before training, and told in one line. No torch.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data_utils.augment import Labels
from data_utils.errors import InputError
from data_utils.formats.yolo import read_labels
from data_utils.imaging.images import image_size, list_images
from data_utils.records import Annotation

if TYPE_CHECKING:
    from data_utils.config.sections import Config, DatasetSection

SHOWN = 3  # examples in a message about many files


def read_split_list(txt_file: str | Path, *, repeats: bool = False) -> list[Path]:
    """Read the LR image paths of a split list, one a line, in the order listed.

    An entry is absolute, or relative to the list file's folder; a relative one may not climb out of the data set, which
    is the folder that holds splits/split<k>/<part>.txt. Blank lines, a BOM and CRLF are accepted. With `repeats` an
    image may be listed several times, as in a balanced list, and is returned as often.
    Raises InputError for a list that is missing, empty, not UTF-8 text or (without `repeats`) names an image twice, and
    for images that do not exist.
    """
    txt_file = Path(txt_file)
    paths: list[Path] = []
    seen: dict[Path, int] = {}
    for number, entry in _entries(txt_file):
        path = _resolved(entry, txt_file, f"{txt_file}:{number}")
        if path in seen and not repeats:
            raise InputError(f"{txt_file}:{number}: repeats line {seen[path]} ({path}); an image is listed once")
        seen.setdefault(path, number)
        paths.append(path)
    if not seen:
        raise InputError(f"{txt_file}: the split is empty; list images in it, or change dataset.split and prepare")
    missing = [path for path in seen if not path.is_file()]
    if missing:
        raise InputError(
            f"{txt_file}:{seen[missing[0]]}: {len(missing)} of {len(seen)} listed images do not exist, first "
            f"{missing[0]}; if the data set was moved, run `python -m data_utils.prepare` again to rewrite the lists"
        )
    return paths


def read_entries(txt_file: str | Path) -> list[str]:
    """Read the lines of a split list as they stand, without blank ones, unresolved and unchecked."""
    return [entry for _, entry in _entries(Path(txt_file))]


def checked_train_list(dataset: DatasetSection, split: int) -> Path:
    """Return the list that training reads: train.txt, or with `dataset.balanced` the one that repeats its images.

    Raises InputError, naming the command that mends it, when the balanced list is missing or stale: when it does not
    hold exactly the images of train.txt.
    """
    path = dataset.train_list(split)
    if not dataset.balanced:
        return path
    command = f"python -m data_utils.balance --split {split}"
    if not path.is_file():
        raise InputError(
            f"{path}: no such list, and dataset.balanced = true trains on it; run `{command}` with this config"
        )
    original = dataset.split_list(split, "train")
    images, listed = set(read_split_list(original)), set(read_split_list(path, repeats=True))
    if images != listed:
        raise InputError(
            f"{path}: stale: {len(images - listed)} images of {original.name} are not in it, {len(listed - images)} of "
            f"its own are not in {original.name}; run `{command}` with this config again"
        )
    return path


def label_path(image_path: str | Path) -> Path:
    """Return where the labels of an LR image lie: .../lr/images/<stem>.jpg has .../lr/labels/<stem>.txt.

    Raises InputError when the path has no folder named images.
    """
    image_path = Path(image_path)
    folders = list(image_path.parent.parts)
    if "images" not in folders:
        raise InputError(f"{image_path}: labels are sought beside a folder named 'images', and the path has none")
    last = len(folders) - 1 - folders[::-1].index("images")
    folders[last] = "labels"
    return Path(*folders, image_path.stem + ".txt")


def read_crowd(image_path: str | Path, nc: int) -> Annotation:
    """Read the crowds of an LR image, from lr/crowd beside lr/labels; most frames have no such file, and no crowd."""
    labels = label_path(image_path)
    path = labels.parent.with_name("crowd") / labels.name
    return read_labels(path, nc) if path.is_file() else Annotation.empty()


def read_all_labels(image_paths: Iterable[Path], nc: int, *, allow_background: bool) -> list[Labels]:
    """Read and check the label files of prepared LR images.

    Returns one float32 [N, 5] (class, cx, cy, w, h, normalised) for each image; an empty file is a healthy frame, a
    missing one is that only with `allow_background`. Raises InputError naming file:line, or the missing files.
    """
    paths = [label_path(path) for path in image_paths]
    missing = [path for path in paths if not path.is_file()]
    if missing and not allow_background:
        raise InputError(
            f"{len(missing)} of {len(paths)} label files are missing: {_examples(missing)}; write an empty file for a "
            "frame without objects, or set dataset.allow_background=true"
        )
    absent = set(missing)
    return [np.zeros((0, 5), np.float32) if path in absent else _label_array(path, nc) for path in paths]


def read_labels_if_needed(image_paths: Sequence[Path], config: Config, *, for_training: bool = True) -> list[Labels]:
    """Return the boxes of prepared LR images; for a training that does not learn detection none, and no file is read.

    Raises InputError as `read_all_labels` does, and when detection is to be learnt on frames without labels.
    """
    data = config.dataset
    if for_training and not config.detects:
        return [np.zeros((0, 5), np.float32) for _ in image_paths]
    if for_training and not data.labelled:
        raise InputError(
            f"dataset.labelled = false: the frames of {data.name} have no labels, so only the branch can learn from "
            "them; set stages.train=branch (or branch+backbone), or label them, set dataset.labelled=true and prepare"
        )
    return read_all_labels(image_paths, data.nc, allow_background=data.allow_background)


def find_hr_partners(image_paths: Sequence[Path], hr_dir: str | Path) -> list[Path]:
    """Return the HR image with the same stem for each LR image: in `hr_dir`, or in its folder images where it has one.

    Raises InputError listing those that have none.
    """
    hr_dir = Path(hr_dir) / "images" if Path(hr_dir, "images").is_dir() else Path(hr_dir)
    if not hr_dir.is_dir():
        raise InputError(f"{hr_dir}: no such folder of HR images; run `python -m data_utils.prepare`")
    by_name = {path.name: path for path in list_images(hr_dir)}
    by_stem = {path.stem: path for path in by_name.values()}
    partners = [by_name.get(path.name) or by_stem.get(path.stem) for path in image_paths]
    missing = [path for path, partner in zip(image_paths, partners, strict=True) if partner is None]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(partners)} LR images have no HR partner in {hr_dir}: {_examples(missing)}; "
            "run `python -m data_utils.prepare` again"
        )
    return [partner for partner in partners if partner is not None]


def check_sizes(lr_paths: Sequence[Path], hr_paths: Sequence[Path] | None, lr_side: int, hr_side: int) -> None:
    """Check from the file headers that LR images are lr_side x lr_side pixels and HR images hr_side x hr_side.

    Raises InputError listing the pairs that are not.
    """
    wrong = []
    for index, lr_path in enumerate(lr_paths):
        pair = [(lr_path, lr_side)] if hr_paths is None else [(lr_path, lr_side), (hr_paths[index], hr_side)]
        sizes = [(path, image_size(path)[:2], side) for path, side in pair]
        if any(size != (side, side) for _, size, side in sizes):
            wrong.append(" with ".join(f"{path} {width}x{height}" for path, (width, height), _ in sizes))
    if wrong:
        expected = f"LR {lr_side}x{lr_side}" + ("" if hr_paths is None else f" and HR {hr_side}x{hr_side}")
        raise InputError(
            f"{len(wrong)} of {len(lr_paths)} prepared frames are not {expected} (imgsz_lr, imgsz_hr): "
            f"{_examples(wrong)}; run `python -m data_utils.prepare` with this config"
        )


def _entries(txt_file: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, entry) of the lines that are not blank."""
    for number, line in enumerate(_text(txt_file).split("\n"), start=1):
        if entry := line.strip():
            yield number, entry


def _text(txt_file: Path) -> str:
    try:
        text = txt_file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{txt_file}: no such split list; run `python -m data_utils.prepare` to write it") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{txt_file}: not a readable UTF-8 list of image paths ({error})") from None
    if "\0" in text:
        raise InputError(f"{txt_file}: a binary file, not a list of image paths")
    return text


def _resolved(entry: str, txt_file: Path, where: str) -> Path:
    if os.path.isabs(entry):
        return Path(os.path.normpath(entry))
    folder = Path(os.path.abspath(txt_file)).parent
    root = folder.parents[1] if len(folder.parents) > 1 else folder
    path = Path(os.path.normpath(folder / entry))
    if not path.is_relative_to(root):
        raise InputError(f"{where}: {entry} leads out of the data set's folder {root}; write the absolute path")
    return path


def _label_array(path: Path, nc: int) -> Labels:
    annotation = read_labels(path, nc)
    return np.concatenate([annotation.class_ids[:, None], annotation.boxes_cxcywhn], axis=1).astype(np.float32)


def _examples(items: Sequence[object]) -> str:
    more = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return ", ".join(str(item) for item in items[:SHOWN]) + more
