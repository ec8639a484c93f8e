"""What Baldini et al. 2025 published for a configuration, to stand beside our own numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from data_utils.ablation_registry import EXTERNAL as PAPER_EXTERNAL
from data_utils.config_sections import Config

PAPER_COLUMN = "paper (ENDO-LC)"
PAPER_DATASET = "lesions"  # the default data set's name: where the paper's own frames would be put
PAPER_SIDE = 640  # of the input, in pixels
PAPER_EPOCHS = 100

# AP50 on split 1, tables 4 to 8: (detector, pretrain) without a branch, (taps, decoder) of yolov8n from COCO with one.
_DETECTORS = {
    ("yolov8n", None): 0.71,
    ("yolov8n", "coco"): 0.77,
    ("yolov5s", "coco"): 0.71,
    ("yolov5n", "coco"): 0.70,
    ("yolov8s", "coco"): 0.77,
}
_BRANCHES = {((2, 6), "deep"): 0.80, ((4, 8), "deep"): 0.82, ((4, 8), "light"): 0.80}
# Cost of inference at 640 with one class, table 5: GFLOPs (a multiply-add is two) and FPS on an RTX A6000.
_COSTS = {"yolov8n": (8.2, 58.8), "yolov8s": (28.6, 37.9), "yolov5s": (15.8, 46.7), "yolov5n": (4.1, 64.9)}
# Table 10, splits 1 to 3: AP50, then AP50 of small and of medium lesions of the external set.
_PLAIN_BY_SPLIT = {1: (0.77, 0.66, 0.80), 2: (0.81, 0.82, 0.82), 3: (0.79, 0.86, 0.85)}
_PROPOSED_BY_SPLIT = {1: (0.82, 0.80, 0.82), 2: (0.83, 0.95, 0.85), 3: (0.82, 0.88, 0.84)}
# Table 9, split 1 only: external small and medium.
_EXTERNAL: dict[Any, tuple[float, float]] = {((4, 8), "light"): (0.82, 0.77), ((2, 6), "deep"): (0.74, 0.82)}

# What the paper says of every row of Tables 9 and 10, of those with a branch, and of its deep decoder (EDSR's).
_ROWS: dict[str, Any] = {"imgsz_lr": PAPER_SIDE, "imgsz_hr": 2 * PAPER_SIDE, "pretrain": "coco", "stages.train": "all"}
_WITH_BRANCH: dict[str, Any] = {"c1": 0.1, "loss.sr_target": "hr"}
_DEEP: dict[str, Any] = {"sr_resblocks": 16, "model.upsampler": "staged"}

# The rows of Table 9, in its order: (taps, decoder) of a yolov8n, None without a branch.
EXTERNAL_MODELS = {
    "YOLOv8n": None,
    "SR 4-8 light": ((4, 8), "light"),
    "SR 2-6 deep": ((2, 6), "deep"),
    "SRE-YOLO": ((4, 8), "deep"),
}


def table_9() -> dict[str, tuple[float, float]]:
    """Return {model: AP50 of small, of medium lesions} of the external set, trained on split 1."""
    published = {None: _PLAIN_BY_SPLIT[1][1:], ((4, 8), "deep"): _PROPOSED_BY_SPLIT[1][1:], **_EXTERNAL}
    return {name: published[branch] for name, branch in EXTERNAL_MODELS.items()}


def table_10() -> dict[str, dict[int, tuple[float, float, float]]]:
    """Return {model: {split: (AP50 on its test list, AP50 of small, of medium lesions of the external set)}}."""
    return {"YOLOv8n": dict(_PLAIN_BY_SPLIT), "SRE-YOLO": dict(_PROPOSED_BY_SPLIT)}


def external_model(config: Mapping[str, Any]) -> str | None:
    """Return the row of Table 9 that a run's detector, taps and decoder, as saved in JSON, name; None for others."""
    if config["model"]["detector"] != "yolov8n":
        return None
    has_branch = config["sr_decoder"] != "none" and config["c1"] > 0
    branch = (tuple(config["sr_layers"]), config["sr_decoder"]) if has_branch else None
    return next((name for name, own in EXTERNAL_MODELS.items() if own == branch), None)


def other_than_paper(config: Mapping[str, Any]) -> list[str]:
    """Return the settings, as saved in JSON, that keep a run out of Tables 9 and 10: ["imgsz_lr = 320, not 640"].

    Raises KeyError where one is not among them.
    """
    stated = dict(_ROWS)
    if config["sr_decoder"] != "none" and config["c1"] > 0:
        stated |= _WITH_BRANCH | (_DEEP if config["sr_decoder"] == "deep" else {})
    found = {}
    for key in stated:
        section, _, name = key.rpartition(".")
        found[key] = (config[section] if section else config)[name]
    return [f"{key} = {found[key]}, not {value}" for key, value in stated.items() if found[key] != value]


def is_for_tables_9_and_10(config: Config, data: str) -> bool:
    """Whether an evaluation on the external set `data` is one of those that the paper's Tables 9 and 10 show."""
    plain = config.model_dump(mode="json")
    is_its_set = config.dataset.name == PAPER_DATASET and data == PAPER_EXTERNAL
    return is_its_set and external_model(plain) is not None and not other_than_paper(plain)


def paper_values(config: Config, split: int, data: str) -> dict[str, float]:
    """Return the published values of this configuration, by metric name; empty where the paper has none.

    AP values exist for the default data set only (`data` test, or `ext` for the paper's external set); GFLOPs and FPS
    for a one-class detector at 640 px, whatever the data.
    """
    values: dict[str, float] = {}
    detector = config.model.detector
    if config.dataset.nc == 1 and config.imgsz_lr == PAPER_SIDE and detector in _COSTS:
        values["gflops"], values["fps"] = _COSTS[detector]
    if config.dataset.name != PAPER_DATASET or config.imgsz_lr != PAPER_SIDE:
        return values
    if config.has_branch and other_than_paper(config.model_dump(mode="json")):
        return values
    by_split = _by_split(config)
    if data == "test":
        ap50 = by_split[split][0] if split in by_split else _on_split_1(config) if split == 1 else None
        return values if ap50 is None else {**values, "ap50": ap50}
    if data == PAPER_EXTERNAL:
        small_medium = by_split[split][1:] if split in by_split else None
        if small_medium is None and split == 1 and config.has_branch and config.pretrain == "coco":
            small_medium = _EXTERNAL.get((config.sr_layers, config.sr_decoder))
        if small_medium is not None:
            values["ap50_small"], values["ap50_medium"] = small_medium
    return values


def paper_notes(config: Config, values: Mapping[str, float]) -> list[str]:
    """Return what a reader must know to compare with the published values; empty without any."""
    notes = []
    if "fps" in values:
        notes.append("The paper's FPS was taken on an RTX A6000.")
    if config.model.detector.startswith("yolov5") and values:
        notes.append(
            "Today's ultralytics builds YOLOv5 without anchors (7.1 and 23.8 GFLOPs for n and s with one class): "
            "another architecture than the paper's."
        )
    if values.keys() & {"ap50_small", "ap50_medium"}:
        notes.append("The paper does not say in which pixels its size buckets are counted.")
    return notes


def _by_split(config: Config) -> dict[int, tuple[float, float, float]]:
    if config.model.detector != "yolov8n" or config.pretrain != "coco":
        return {}
    if not config.has_branch:
        return _PLAIN_BY_SPLIT
    return _PROPOSED_BY_SPLIT if (config.sr_layers, config.sr_decoder) == ((4, 8), "deep") else {}


def _on_split_1(config: Config) -> float | None:
    if not config.has_branch:
        return _DETECTORS.get((config.model.detector, config.pretrain))
    if config.model.detector != "yolov8n" or config.pretrain != "coco":
        return None
    return _BRANCHES.get((config.sr_layers, config.sr_decoder))
