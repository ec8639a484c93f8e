"""What backends of exported files share: checks, batches, units."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_utils.errors import InputError
from data_utils.records import FloatArray
from models.predictor import DEFAULT_CONF

# What travels inside an exported file, so that it runs without the checkpoint, its config or PyTorch.
#
# The layout of a file's output, by its metadata. Legend: B frames; S input side in pixels; A anchors; nc classes; K
# rows.
# raw: float32 [B, 4+nc, A], (cx, cy, w, h) in units of the input side, then class scores in [0, 1].
# With `nms`: float32 [B, K, 6], (x1, y1, x2, y2) in units of the input side, score, class; unused rows are zero.


ON_VALIDATION, BY_DEFAULT, ASKED_FOR = "best F1 on the validation frames", "the default", "as asked for"
FORMAT = "sre-yolo-1"  # value of the key "format": our layout, box unit and normalisation
NMS_COLUMNS = 6


@dataclass(frozen=True)
class Metadata:
    """What a file says of itself. `texts` are all its entries, as stored.

    batch: frames the graph takes at once, None for any number. conf, iou: thresholds to use unless told otherwise; with
    `nms` they are part of the graph; conf_from: where conf comes from, in words. precision: fp32, fp16 or int8.
    """

    texts: Mapping[str, str]
    names: tuple[str, ...]
    input_size: int
    crop_border: bool
    batch: int | None
    nms: bool
    precision: str
    conf: float
    iou: float
    conf_from: str = "the file's"

    def check_shapes(self, path: Path, input_shape: Sequence[object], output_shape: Sequence[object]) -> None:
        """Raise InputError when a graph's shapes (None or a name for an open size) are not those its metadata means."""
        size, nc = self.input_size, len(self.names)
        known = list(output_shape)[2:] == [NMS_COLUMNS] if self.nms else list(output_shape)[1:2] == [4 + nc]
        if list(input_shape)[1:] != [3, size, size] or not known:
            raise InputError(
                f"{path}: metadata says {nc} classes at {size} px, but the graph maps {list(input_shape)} to "
                f"{list(output_shape)}; export the checkpoint again"
            )

    def to_raw(self, output: FloatArray) -> FloatArray:
        """Turn the graph's output into raw float32 [B, 4+nc, A or K] with boxes in input pixels."""
        if not self.nms:
            raw = np.array(output, dtype=np.float32)  # a copy: the runtime may own the other
            raw[:, :4] *= self.input_size
            return raw
        corners, scores, class_ids = output[..., :4], output[..., 4], output[..., 5]
        low, high = corners[..., :2], corners[..., 2:]
        of_class = class_ids[..., None] == np.arange(len(self.names))
        boxes = np.concatenate([(low + high) / 2, high - low], axis=-1) * self.input_size
        raw = np.concatenate([boxes, np.where(of_class, scores[..., None], 0)], axis=-1)
        return np.ascontiguousarray(raw.transpose(0, 2, 1), dtype=np.float32)


def parse_metadata(texts: Mapping[str, str], path: Path) -> Metadata:
    """Read the entries of a file. Raises InputError for a file that export.py did not write, or a damaged one.

    Entries that older files lack have the value that those files mean.
    """
    if texts.get("format") != FORMAT:
        raise InputError(f"{path}: not written by this project's export.py (metadata 'format' is not {FORMAT})")
    try:
        batch = json.loads(texts.get("batch", "null"))
        return Metadata(
            texts=dict(texts),
            names=tuple(str(name) for name in json.loads(texts["names"])),
            input_size=int(texts["input_size"]),
            crop_border=texts.get("crop_border") == "true",
            batch=None if batch is None else int(batch),
            nms=texts.get("nms") == "true",
            precision=texts.get("precision", "fp32"),
            conf=float(texts.get("conf", "0.25")),
            iou=float(texts.get("iou", "0.45")),
            conf_from=texts.get("conf_from", "the file's"),
        )
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path}: metadata is damaged ({error}); export the checkpoint again") from None


def chosen_conf(asked: float | None, on_validation: float | None) -> tuple[float, str]:
    """Return the score from which detections count, and in words where it comes from."""
    if asked is not None:
        return asked, ASKED_FOR
    return (DEFAULT_CONF, BY_DEFAULT) if on_validation is None else (on_validation, ON_VALIDATION)


def check_images(images: FloatArray, size: int) -> None:
    """Raise InputError for anything but float32 [B, 3, size, size] with at least one frame."""
    if images.ndim != 4 or images.shape[1:] != (3, size, size) or images.dtype != np.float32 or not len(images):
        raise InputError(
            f"this detector takes float32 [B, 3, {size}, {size}] with B >= 1, got {images.dtype} {list(images.shape)}"
        )


def first_line(error: Exception) -> str:
    """Return the first line of an exception's message, or its kind."""
    return next(iter(str(error).splitlines()), type(error).__name__).strip()


class ExportedBackend:
    """A `Backend` over a file that export.py wrote; a runtime adds opening it and `_run`."""

    errors: tuple[type[Exception], ...]  # what the runtime raises about an input

    def __init__(self, path: Path, meta: Metadata, parallel: int) -> None:
        self.path, self.meta = path, meta
        self.input_size, self.names, self.crop_border = meta.input_size, meta.names, meta.crop_border
        self.parallel = parallel

    @property
    def metadata(self) -> Mapping[str, str]:
        """The file's own entries, as text."""
        return self.meta.texts

    def __call__(self, images: FloatArray) -> FloatArray:
        """Detect in float32 [B, 3, S, S]; returns float32 [B, 4+nc, A] with boxes in input pixels."""
        return self.meta.to_raw(self.run_graph(images))

    def run_graph(self, images: FloatArray) -> FloatArray:
        """Return what the graph itself gives, float32; a graph of a fixed batch is called as often as it takes.

        Raises InputError for a shape or type that the file does not take.
        """
        check_images(images, self.input_size)
        step = self.meta.batch or len(images)
        try:
            parts = [self._run(images[start : start + step]) for start in range(0, len(images), step)]
        except self.errors as error:
            shape = list(images.shape)
            raise InputError(f"{self.path}: refused a batch of shape {shape}: {first_line(error)}") from None
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _run(self, images: FloatArray) -> FloatArray:
        raise NotImplementedError


# Optional packages, imported when something needs them.


def import_extra(name: str, what: str) -> Any:
    """Import an optional package or module. Raises InputError, saying what needs it, where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise InputError(f"{what} needs {package} ({error}); install it: pip install {package}") from None
