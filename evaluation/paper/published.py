"""What Baldini et al. 2025 published for a configuration, to stand beside our own numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from data_utils.config.ablations import EXTERNAL as PAPER_EXTERNAL
from data_utils.config.sections import Config

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


# How the paper lays out its Tables 4 to 10, and where it contradicts itself; its numbers stand in ablations.yaml.


OVER_SPLITS = (  # Table 10: each model's run on splits 1, 2, 3
    ("pretrain_coco", "plain_split2", "plain_split3"),
    ("sr_layers_48", "sre_yolo_split2", "sre_yolo_split3"),
)
EXTERNAL_TABLES = (9, 10)  # they compare models across data that others do not have
Source = tuple[tuple[str, str], ...]  # (run, measure) of one cell; several: their mean
YOLOV5 = (
    "YOLOv5 rows: another architecture than the paper's. Today's ultralytics builds YOLOv5 without anchors (7.1 and "
    "23.8 GFLOPs for n and s with one class; the paper's had 4.1 and 15.8), so published and ours do not compare."
)
FPS = "The paper's FPS was taken on an RTX A6000, ours on another machine (named in eval_*.json): no verdict."
TAPS = "The paper says of the proposed model that detector and branch start from COCO; so do its rows here."
SIZES = "The paper does not say in which pixels its size buckets (small < 32x32, medium < 96x96) are counted."
SWAPPED = (
    "The paper contradicts itself: where its text gives the drop from YOLOv8n to the YOLOv5 models, it swaps this "
    "table's v5s (0.71) and v5n (0.70)."
)
FIFTEEN = (
    "The paper contradicts itself: its text says 15 points more on small lesions, this table gives 14 (0.66 to 0.80)."
)
LIGHT = "In the paper's own table the light decoder (0.82) is above the proposed deep one (0.80) on small lesions."
MEANS = "Published means: the paper gives 0.79 against 0.82 on test, 0.80 against 0.86 on the external set."
COUNT = "The 14 rows of Tables 4 to 8 are 14 different runs; accounts of the paper that count 13 miss one."


@dataclass(frozen=True)
class PaperTable:
    """One table: groups of columns (a measure, or a model), and rows of (label, source of each group's cell)."""

    number: int
    title: str
    groups: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Source, ...]], ...]
    notes: tuple[str, ...] = ()
    splits: Mapping[str, int] = field(default_factory=dict)  # of the runs whose rows name one

    @property
    def runs(self) -> frozenset[str]:
        """The runs that its cells are of."""
        return frozenset(run for _, sources in self.rows for source in sources for run, _ in source)


def _by_run(measures: tuple[str, ...], *rows: tuple[str, str]) -> tuple[tuple[str, tuple[Source, ...]], ...]:
    """Return a row for each (label, run), with one cell for each measure."""
    return tuple((label, tuple(((run, measure),) for measure in measures)) for label, run in rows)


def _splits() -> tuple[tuple[str, tuple[Source, ...]], ...]:
    """Return Table 10: a row for each measure and split, then means, with a cell for each of the two models."""
    labels = {"ap50": "test", "ext_small": "external, small", "ext_medium": "external, medium"}
    rows: list[tuple[str, tuple[Source, ...]]] = []
    for measure, label in labels.items():
        for split in range(3):
            rows.append((f"{label}, split {split + 1}", tuple(((runs[split], measure),) for runs in OVER_SPLITS)))
    means = {"test, mean": ("ap50",), "external, mean over sizes": ("ext_small", "ext_medium")}
    for label, measures in means.items():
        rows.append((label, tuple(tuple((run, m) for m in measures for run in runs) for runs in OVER_SPLITS)))
    return tuple(rows)


TABLES = (
    PaperTable(
        4,
        "Pre-training of YOLOv8n",
        ("AP50",),
        _by_run(
            ("ap50",),
            ("Kaiming initialisation", "pretrain_none"),
            ("HyperKvasir", "pretrain_hyperkvasir"),
            ("COCO, then HyperKvasir", "pretrain_coco_hyperkvasir"),
            ("COCO", "pretrain_coco"),
        ),
        (COUNT,),
    ),
    PaperTable(
        5,
        "Detectors",
        ("AP50", "GFLOPs", "FPS"),
        _by_run(
            ("ap50", "gflops", "fps"),
            ("YOLOv5s", "yolov5s"),
            ("YOLOv5n", "yolov5n"),
            ("YOLOv8s", "yolov8s"),
            ("YOLOv8n", "pretrain_coco"),
        ),
        (YOLOV5, SWAPPED, FPS),
    ),
    PaperTable(
        6,
        "Layers that the branch taps (deep decoder)",
        ("AP50",),
        _by_run(("ap50",), ("layers 2-6", "sr_layers_26"), ("layers 4-8", "sr_layers_48")),
        (TAPS,),
    ),
    PaperTable(
        7,
        "Decoder of the branch (layers 4-8)",
        ("AP50",),
        _by_run(("ap50",), ("light", "sr_light"), ("deep", "sr_layers_48")),
        (TAPS,),
    ),
    PaperTable(
        8,
        "First weights of detector and branch",
        ("AP50",),
        _by_run(
            ("ap50",),
            ("both HyperKvasir labelled", "sr_hyperkvasir"),
            ("detector COCO; branch COCO, HyperKvasir unlabelled, labelled", "sr_unlabelled"),
            ("both COCO, then HyperKvasir labelled", "sr_coco_hyperkvasir"),
            ("detector COCO; branch Kaiming", "sr_kaiming"),
            ("both COCO (SRE-YOLO)", "sr_layers_48"),
        ),
    ),
    PaperTable(
        9,
        "External set, by lesion size",
        ("AP50, small", "AP50, medium"),
        _by_run(
            ("ext_small", "ext_medium"),
            ("YOLOv8n", "pretrain_coco"),
            ("SR 4-8 light", "sr_light"),
            ("SR 2-6 deep", "sr_layers_26"),
            ("SRE-YOLO", "sr_layers_48"),
        ),
        (FIFTEEN, LIGHT, SIZES),
    ),
    PaperTable(
        10,
        "Three splits",
        ("YOLOv8n, AP50", "SRE-YOLO, AP50"),
        _splits(),
        (MEANS, SIZES),
        {run: split for runs in OVER_SPLITS for split, run in enumerate(runs, start=1)},
    ),
)
