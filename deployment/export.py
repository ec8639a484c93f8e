"""Write the detector of a checkpoint as an ONNX, OpenVINO or TorchScript file, and keep it only when it agrees.

Legend: B frames; S input side in pixels; A anchors; nc classes. What a file maps to what: deployment/runtimes/metadata.
"""

from __future__ import annotations

import json
import os
import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from data_utils.config.sections import Config
from data_utils.errors import InputError
from data_utils.records import FloatArray
from deployment.exporting.checks import (
    HALF_BOX_PX,
    HALF_SCORE,
    MAX_ABS_ERROR,
    MAX_BOX_PX,
    MAX_SCORE,
    Agreement,
    ParityError,
    ap50_of,
    check_agreement,
    check_ap50,
    check_parity,
    detections_agree,
    open_part,
    parity_errors,
)
from deployment.exporting.files import (
    INPUT_NAME,
    OUTPUT_NAME,
    InferenceGraph,
    NmsGraph,
    halve_onnx,
    write_onnx,
    write_openvino,
    write_torchscript,
)
from deployment.exporting.int8 import as_inputs, find_frames, quantise_onnx, quantise_openvino, read_frames, spread
from deployment.runtimes.exported import FORMAT, ExportedBackend, chosen_conf
from deployment.runtimes.registry import BACKENDS, TorchBackend, open_backend
from models.checkpoint import load_model
from models.predictor import DEFAULT_CONF, DEFAULT_IOU, DEFAULT_MAX_DET, Predictor

__all__ = ["ExportReport", "ExportSettings", "InferenceGraph", "ParityError", "export_model", "export_onnx"]

FORMATS = ("onnx", "openvino", "torchscript")
MIN_OPSET, MAX_OPSET = 13, 20  # what the tracing exporter of PyTorch writes and ONNX Runtime has long read
CHECK_FRAMES = 16  # real frames on which detections are compared


@dataclass(frozen=True)
class ExportSettings:
    """What to write. Raises InputError for settings that do not go together.

    half: weights stored in float16. int8: eight bits, calibrated on `calib` training frames.
    conf: None for the score chosen on validation frames, else 0.25. nms: suppression at `conf` and `iou` inside the
    graph. dynamic: any number of frames at once (ONNX).
    split: of the checkpoint's data set. frames: a folder of frames to use instead of its lists.
    """

    format: str = "onnx"
    half: bool = False
    int8: bool = False
    calib: int = 100
    nms: bool = False
    dynamic: bool = False
    simplify: bool = False
    opset: int = 17
    conf: float | None = None
    iou: float = DEFAULT_IOU
    split: int = 1
    frames: Path | None = None

    def __post_init__(self) -> None:
        refused = {
            f"--format {self.format}: use {', '.join(FORMATS)}": self.format not in FORMATS,
            f"--opset {self.opset}: must lie between {MIN_OPSET} and {MAX_OPSET}":
                not MIN_OPSET <= self.opset <= MAX_OPSET,
            "--half and --int8 exclude each other": self.half and self.int8,
            f"--format torchscript: has no {'--half' if self.half else '--int8'}; use onnx or openvino":
                self.format == "torchscript" and (self.half or self.int8),
            "--dynamic: only --format onnx takes any number of frames at once": self.dynamic and self.format != "onnx",
            "--dynamic and --nms exclude each other: a suppressed file takes one frame": self.dynamic and self.nms,
            "--dynamic and --int8 exclude each other: an INT8 file takes one frame": self.dynamic and self.int8,
            f"--calib {self.calib}: must be at least 1": self.calib < 1,
        }  # fmt: skip
        for reason in (reason for reason, is_so in refused.items() if is_so):
            raise InputError(reason)
        conf = DEFAULT_CONF if self.conf is None else self.conf
        Predictor(_NO_BACKEND, conf, self.iou)  # holds the thresholds to their range

    @property
    def ending(self) -> str:
        """The ending of the file."""
        return BACKENDS[self.format][0]

    @property
    def precision(self) -> str:
        """fp32, fp16 or int8."""
        return "int8" if self.int8 else "fp16" if self.half else "fp32"


_NO_BACKEND: Any = None


@dataclass(frozen=True)
class ExportReport:
    """What was written, and what its checks gave.

    errors: largest absolute difference of raw outputs from PyTorch, by check ("random, batch 1", ...). agreement: of
    detections on real frames; None where there were none. ap50: of PyTorch and of the file on the validation list.
    """

    path: Path
    n_bytes: int
    errors: dict[str, float]
    metadata: dict[str, str]
    agreement: Agreement | None = None
    ap50: tuple[float | None, float | None] | None = None
    notes: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return what a user wants to read after an export."""
        side = self.metadata["input_size"]
        output = ("[1, K, 6], corners over the input side, score, class" if self.metadata["nms"] == "true" else
                  "[B, 4+nc, A], (cx, cy, w, h) over the input side, then class scores")  # fmt: skip
        return [
            *(f"parity   {check}: max abs error {error:.1e}" for check, error in self.errors.items()),
            *([f"limit    {MAX_ABS_ERROR:.0e} (units: the input side for boxes, 1 for scores)"] * (self._is_fp32)),
            f"frames   {self.agreement or 'no real frames at hand (--frames FOLDER): detections were not compared'}",
            *self._ap50_lines(),
            *(f"note     {note}" for note in self.notes),
            f"size     {self.n_bytes / 1e6:.1f} MB",
            f"wrote    {self.path}",
            f"input    {INPUT_NAME}: float32 [B, 3, {side}, {side}], RGB / 255, plain resize",
            f"output   {OUTPUT_NAME}: float32 {output}",
            f"conf     {float(self.metadata['conf']):g} ({self.metadata['conf_from']})",
            f"classes  {', '.join(json.loads(self.metadata['names']))}",
            f"use      python infer.py --weights {shlex.quote(str(self.path))} --source FRAME_OR_FOLDER_OR_VIDEO",
        ]

    def _ap50_lines(self) -> list[str]:
        if self.ap50 is None:
            return []
        before, after = self.ap50
        if before is None or after is None:
            return ["AP50     the validation list holds no true box"]
        change = f"change {after - before:+.4f}"
        return [f"AP50     validation list: {before:.4f} by PyTorch, {after:.4f} by the file, {change}"]

    @property
    def _is_fp32(self) -> bool:
        return self.metadata["precision"] == "fp32"


def export_onnx(weights: Path, target: Path, opset: int = 17) -> ExportReport:
    """Export the checkpoint `weights` as a float32 ONNX file; see `export_model`."""
    return export_model(weights, target, ExportSettings(opset=opset))


def export_model(weights: Path, target: Path, settings: ExportSettings) -> ExportReport:
    """Export the checkpoint `weights` to `target`, with names, sizes, thresholds and origin in the file's metadata.

    Written in a hidden folder, checked, and moved only when it passes (deployment/exporting/checks.py): raw outputs on
    random and image-like input, detections on real frames, and for eight bits AP50 on the validation list. Else it is
    deleted, an older `target` stays, and ParityError is raised. Raises InputError for a bad checkpoint or target, and
    for a package or frames that are needed and missing.
    """
    if target.suffix.lower() != settings.ending:
        raise InputError(f"--out {target}: --format {settings.format} files must end in {settings.ending}")
    export = _Export(weights, settings)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export.", dir=target.parent) as scratch:
        written = Path(scratch) / target.name
        report = export.write_checked(written)
        n_bytes = 0
        for file in (written.with_suffix(".bin"), written):  # an .xml without its .bin would be no model
            if file.is_file():
                n_bytes += file.stat().st_size
                os.replace(file, target.with_suffix(file.suffix))
    return replace(report, path=target, n_bytes=n_bytes)


class _Export:
    """One checkpoint being exported: its graph, what it says of itself, and the frames to check and calibrate on."""

    def __init__(self, weights: Path, settings: ExportSettings) -> None:
        self.weights, self.settings = weights, settings
        model, self.config, meta = load_model(weights)
        self.side = self.config.imgsz_lr
        self.graph = InferenceGraph(model, self.side).eval()  # eval on the wrapper: the exporter restores its mode
        self.conf, conf_from = chosen_conf(settings.conf, meta["threshold"])
        self.metadata = {**_metadata(self.config, meta, settings), "conf": str(self.conf), "conf_from": conf_from}
        self.frames = find_frames(self.config, settings.split, "val", settings.frames)
        self.calibration = self._calibration() if settings.int8 else []
        self.reference = TorchBackend(weights, "cpu")

    def write_checked(self, path: Path) -> ExportReport:
        """Write the file and hold it against PyTorch; raises ParityError when they differ."""
        settings, what = self.settings, f"{self.weights}: the {self.settings.format} graph"
        plain = path.with_name(f"plain{path.suffix}") if settings.nms else path  # without suppression: raw outputs
        plain_backend = self._written(plain, self.graph, nms=False)
        errors = parity_errors(self.graph, plain_backend)
        check_parity(errors, what, MAX_ABS_ERROR if settings.precision == "fp32" else float("inf"))
        ap50 = self._ap50(plain_backend) if settings.precision != "fp32" else None
        if ap50 is not None:
            check_ap50(*ap50, what)
        file = plain_backend
        if settings.nms:
            graph = NmsGraph(self.graph, self.conf, settings.iou, DEFAULT_MAX_DET).eval()
            file = self._written(path, graph, nms=True)
        agreement = None
        if self.frames:
            frames = read_frames(spread(self.frames, CHECK_FRAMES))
            agreement = detections_agree(self.reference, file, frames, self.conf, settings.iou)
            if not settings.int8:
                limits = (HALF_BOX_PX, HALF_SCORE) if settings.half else (MAX_BOX_PX, MAX_SCORE)
                check_agreement(agreement, what, *limits)
        unmeasured = settings.int8 and ap50 is None
        notes = ["AP50 was not measured: the validation list is not prepared here"] if unmeasured else []
        return ExportReport(path, 0, errors, {**self.metadata, "nms": json.dumps(settings.nms)}, agreement, ap50, notes)

    def _written(self, path: Path, graph: nn.Module, *, nms: bool) -> ExportedBackend:
        settings, metadata = self.settings, {**self.metadata, "nms": json.dumps(nms)}
        if settings.format == "torchscript":
            write_torchscript(graph, path, self.side, metadata)
            return _opened(path)
        onnx_file = path.with_suffix(".onnx")
        write_onnx(graph, onnx_file, self.side, settings.opset, metadata, dynamic=settings.dynamic,
                   simplify=settings.simplify)  # fmt: skip
        if settings.format == "openvino":
            if settings.int8:
                quantise_openvino(onnx_file, path, self.calibration, metadata)
            else:
                write_openvino(onnx_file, path, metadata, half=settings.half)
        elif settings.int8:
            quantise_onnx(path, self.calibration, metadata)
        elif settings.half:
            halve_onnx(path, metadata)
        return _opened(path)

    def _ap50(self, file: ExportedBackend) -> tuple[float | None, float | None] | None:
        frames = open_part(self.config, self.settings.split, "val")
        if frames is None:
            return None
        return ap50_of(self.reference, frames, self.config), ap50_of(file, frames, self.config)

    def _calibration(self) -> Sequence[FloatArray]:
        paths = find_frames(self.config, self.settings.split, "train", self.settings.frames)
        if not paths:
            listed = self.config.dataset.split_list(self.settings.split, "train")
            raise InputError(f"--int8: {listed} is not prepared here; name frames to calibrate on: --frames FOLDER")
        predictor = Predictor(TorchBackend(self.weights, "cpu"))
        return as_inputs(np.stack([predictor.input_of(bgr) for bgr in read_frames(spread(paths, self.settings.calib))]))


def _opened(path: Path) -> ExportedBackend:
    backend: Any = open_backend(path, "cpu")
    return backend


def _metadata(config: Config, meta: dict[str, Any], settings: ExportSettings) -> dict[str, str]:
    return {
        "format": FORMAT,
        "names": json.dumps(meta["names"]),
        "crop_border": json.dumps(config.dataset.crop_border),
        "input_size": str(config.imgsz_lr),
        "batch": json.dumps(None if settings.dynamic else 1),
        "precision": settings.precision,
        "normalisation": "RGB, value / 255, plain bilinear resize without letterbox",
        "box_unit": "input side",
        "iou": str(settings.iou),
        "run": str(meta.get("run") or config.run.name or ""),
        "epoch": str(meta["epoch"]),
        "weights_sha256": str(meta["weights_sha256"]),
    }
