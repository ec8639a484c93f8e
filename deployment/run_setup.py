"""From infer.py's command line to what a run needs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from data_utils.errors import InputError
from deployment.backends import open_backend
from deployment.detection_files import DetectionFiles
from deployment.run_parts import RunOptions
from deployment.runtimes.exported import ExportedBackend
from deployment.runtimes.metadata import chosen_conf
from deployment.runtimes.pytorch import TorchBackend
from deployment.tracking import AlertRule, low_conf
from models.predictor import DEFAULT_IOU, Backend, Predictor


def run_options(arguments: argparse.Namespace) -> RunOptions:
    """Read what to do with detections; raises InputError for an unusable value."""
    rule = AlertRule.parse(arguments.alert)
    return RunOptions(arguments.show, arguments.fps, arguments.every, rule if arguments.track else None)


def open_predictor(
    arguments: argparse.Namespace, options: RunOptions, *, one_at_a_time: bool
) -> tuple[Predictor, RunOptions]:
    """Open the weights with the thresholds asked for, else the file's own, else the defaults.

    one_at_a_time: each frame as soon as possible, as a camera wants it, rather than many. Raises InputError for
    thresholds below those a file with suppression in its graph applied itself.
    """
    backend = open_backend(
        arguments.weights, arguments.device, arguments.backend, throughput=not one_at_a_time,
        precision=arguments.precision,
    )  # fmt: skip
    meta = backend.meta if isinstance(backend, ExportedBackend) else None
    conf, _ = _conf(arguments, backend)
    iou = arguments.iou if arguments.iou is not None else meta.iou if meta else DEFAULT_IOU
    lowest = low_conf(conf) if options.track is not None else conf
    if meta is not None and meta.nms:
        if conf < meta.conf or iou > meta.iou:
            raise InputError(
                f"{arguments.weights}: suppressed inside at --conf {meta.conf:g} --iou {meta.iou:g}; ask for no lower "
                "score and no higher IoU, or export it without --nms"
            )
        lowest = max(lowest, meta.conf)
    predictor = Predictor(backend, lowest, iou, tile=arguments.tile, tta=arguments.tta)
    return predictor, replace(options, conf=conf)


def describe_backend(backend: Backend) -> str:
    """Return the run's first line: what computes the detections, in which number format, and why in that one."""
    kind = type(backend).__name__.removesuffix("Backend")
    if isinstance(backend, TorchBackend):
        return f"backend                 {kind} on {backend.device}, {backend.number_format}"
    meta = backend.meta if isinstance(backend, ExportedBackend) else None
    return f"backend                 {kind}" + (f", {meta.precision} (as exported)" if meta else "")


def describe_threshold(arguments: argparse.Namespace, options: RunOptions, backend: Backend) -> str:
    """Return the line that says from which score on detections count, and where that comes from."""
    return f"threshold               {options.conf:g} ({_conf(arguments, backend)[1]})"


def _conf(arguments: argparse.Namespace, backend: Backend) -> tuple[float, str]:
    if arguments.conf is None and isinstance(backend, ExportedBackend):
        return backend.meta.conf, backend.meta.conf_from
    return chosen_conf(arguments.conf, backend.threshold if isinstance(backend, TorchBackend) else None)


def open_files(arguments: argparse.Namespace, out_dir: Path, names: Sequence[str]) -> DetectionFiles | None:
    """Open the text files that were asked for, or None."""
    if not (arguments.save_txt or arguments.save_json):
        return None
    return DetectionFiles(out_dir, names, text=arguments.save_txt, json=arguments.save_json)
