"""The typed sections of configs/*.yaml. Unknown keys are refused, instances are frozen.

The guide's 19 published hyperparameters have no default here: their one home is configs/train.yaml. Every other setting
has its one home, and its unit, below.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]  # becomes part of a path: never "." or ".."
# YAML and JSON have lists and text keys where the sections have tuples and numbers; their elements stay strict.
FromList = Field(strict=False)
SIDE_MULTIPLE = 32  # the detector's largest stride: input sides are multiples of it


class Section(BaseModel):
    """Base of all sections: unknown keys refused, frozen, no silent conversion of text to numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, protected_namespaces=(), validate_default=True)


class FilterSection(Section):
    """Which raw frames are kept; null switches a test off. Scores are taken on the displayed frame in 8-bit grey."""

    blur_thresh: NonNegative | None = 100.0  # Laplacian variance below this: blurred
    bright_min: NonNegative | None = 30.0  # mean grey (0-255) below this: dark
    bright_max: NonNegative | None = 240.0  # mean grey above this: blown out
    min_bytes: int | None = Field(default=5 * 1024, ge=0)  # file size in bytes below this: tiny
    min_side: int | None = Field(default=None, ge=1)  # shorter side in pixels below this: tiny
    glare_max: Probability | None = 0.2  # share of saturated pixels above this: glare

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.bright_min is not None and self.bright_max is not None and self.bright_min >= self.bright_max:
            raise ValueError(
                f"dataset.filter.bright_min = {self.bright_min} and bright_max = {self.bright_max} leave no frame"
            )
        return self


class LabelMapSection(Section):
    """Segmentation masks turned into boxes: one box for each connected component of a listed value."""

    images: str = "img"  # folder of frames below the raw folder
    masks: str = "annot"  # folder of masks, same relative paths, .png
    values: dict[Annotated[int, FromList], str] = Field(default_factory=dict)  # mask grey value -> class name
    min_area: int = Field(default=16, ge=1)  # smaller components (mask pixels) are counted and dropped


class SplitSection(Section):
    """Hold-out splits; a group (patient) is never cut."""

    ratios: Annotated[tuple[Positive, Positive, Positive], FromList] = (89, 7, 4)  # train : val : test, by frames
    n_splits: Count = 3
    seed: int = 42
    lesion_only_eval: bool = False  # healthy frames of held-out patients go to {val,test}_healthy.txt
    # User-made split: list files below the raw folder (stems or paths), or path prefixes ending in "/".
    predefined: dict[Literal["train", "val", "test"], Annotated[tuple[str, ...], FromList]] | None = None


class ExternalSection(Section):
    """An external test set, already prepared: `evaluate.py --data NAME`."""

    processed: str  # folder with lr/{images,labels} and manifest.csv
    list_file: str | None = None  # default: every frame in the manifest


class DatasetSection(Section):
    """One data set: where it lies, how it is read, filtered and split. Paths are relative to the working folder."""

    name: Name = "lesions"
    raw: str = "data/raw"
    processed: str = "data/processed"
    splits: str = "data/splits"
    filter_log: str = "results/filter_log.csv"
    format: Literal["auto", "yolo", "voc", "labelmap"] = "auto"
    metadata: str | None = "metadata.csv"  # below raw: filename, patient_id, dataset_source[, modality, has_lesion]
    group: Literal["patient", "sequence", "image"] = "patient"  # what a split never cuts; only `patient` is independent
    group_pattern: str | None = None  # regex on the path below raw with (?P<patient>...) and (?P<sequence>...)
    nc: Count
    names: Annotated[tuple[str, ...], FromList]
    labels_frame: Literal["displayed", "stored"] = "displayed"  # EXIF-rotated files: the frame the boxes were drawn in
    bad_boxes: Literal["error", "drop"] = "error"
    allow_background: bool = False  # a missing label file means a healthy frame instead of an error
    max_unreadable: Probability = 0.05  # share of undecodable frames above which preparing stops
    image_format: Literal["jpg", "png"] = "jpg"
    jpeg_quality: int = Field(default=95, ge=1, le=100)
    hr_native_min: Count | None = None  # original longer side from which HR counts as native; default: imgsz_hr
    filter: FilterSection = FilterSection()
    labelmap: LabelMapSection = LabelMapSection()
    split: SplitSection = SplitSection()
    external: dict[str, ExternalSection] = Field(default_factory=dict)

    @field_validator("names")
    @classmethod
    def _distinct(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) != len(names) or not all(name.strip() for name in names):
            raise ValueError("class names must be distinct and not empty")
        return names

    @field_validator("group_pattern")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        try:
            groups = re.compile(pattern or "(?P<patient>)").groupindex
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        if not {"patient", "sequence"} & set(groups):
            raise ValueError("must hold a named group (?P<patient>...) or (?P<sequence>...)")
        return pattern

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.names) != self.nc:
            raise ValueError(f"dataset.nc = {self.nc} but dataset.names lists {len(self.names)}: {list(self.names)}")
        unknown = sorted(set(self.labelmap.values.values()) - set(self.names))
        if unknown:
            raise ValueError(f"dataset.labelmap.values names {unknown}, not among dataset.names {list(self.names)}")
        return self

    @property
    def lr_images(self) -> Path:
        """Folder of the prepared LR frames."""
        return Path(self.processed) / "lr" / "images"

    @property
    def hr_images(self) -> Path:
        """Folder of the prepared HR frames, same stems as the LR ones."""
        return Path(self.processed) / "hr" / "images"

    @property
    def manifest(self) -> Path:
        """CSV with one line for each prepared frame."""
        return Path(self.processed) / "manifest.csv"

    def split_list(self, split: int, part: str) -> Path:
        """Text file with the LR image paths of `part` (train, val, test) in split number `split`."""
        return Path(self.splits) / f"split{split}" / f"{part}.txt"


class ModelSection(Section):
    """The detector and the geometry of the SR branch (see models/sr_branch.py)."""

    detector: str = "yolov8n"  # any ultralytics detector yaml: yolov5n, yolov8s, yolov8n-p2, yolo11n, ...
    fusion_stride: Literal[2, 4, 8] = 2  # input pixels for each pixel of the fused map; 2 is the guide's 320 for 640
    branch_width: Count = 64  # channels of the fused map and of the decoder
    upsampler: Literal["staged", "direct"] = "staged"  # x2 pixel shuffles at full width, or one sub-pixel convolution


class AugmentSection(Section):
    """Training augmentation; geometry is shared by LR, HR and boxes, colour touches LR only (paper, section 3)."""

    hr_geometry: Literal["shared", "none"] = "shared"  # none: the guide's literal rule, the HR frame stays as it is
    flip: Probability = 0.5  # horizontal
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.2  # zoom drawn from 1 +- scale
    scale_p: Probability = 0.5
    shift: Annotated[float, Field(ge=0, lt=1)] = 0.1  # share of the side
    shift_p: Probability = 0.5
    mosaic: Probability = 0.5  # four frames in one
    close_mosaic: int = Field(default=10, ge=0)  # no mosaic in the last this many epochs
    hsv_h: Probability = 0.015
    hsv_s: Probability = 0.7
    hsv_v: Probability = 0.4
    min_visible: Probability = 0.1  # a box that keeps less than this share of its area is dropped


class OptimSection(Section):
    """What the optimiser needs beside lr0, lrf, epochs and batch_size."""

    weight_decay: NonNegative = 1e-4  # not applied to norms and biases
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.937  # SGD's; AdamW's first beta
    warmup_epochs: NonNegative = 3.0  # linear up to lr0
    clip_grad: NonNegative = 10.0  # largest gradient norm; 0 is no clipping
    accumulate: Count = 1  # batches for each optimiser step
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.9999  # of the averaged weights; 0 is no averaging
    ema_tau: Positive = 2000.0  # steps over which the decay ramps up


class LossSection(Section):
    """How the four terms are scaled (trap 5: ultralytics multiplies its detection terms by the batch size)."""

    loss_scale: Literal["sum", "batch"] = "sum"


class EvalSection(Section):
    """Evaluation beside conf_thresh and iou_thresh."""

    nms_iou: Probability = 0.7
    max_det: Count = 300
    size_reference: Literal["original", "input"] = "original"  # pixels in which small (<32x32), medium (<96x96) count
    batch_size: Count | None = None  # default: training's


class RunSection(Section):
    """Where and how a run runs."""

    name: Name | None = None  # default: data set, split and time
    results_dir: str = "results"
    weights_dir: str = "weights"
    fixed_copies: bool = False  # also keep weights/{best,last}_split{N}.pt and results/train_log_split{N}.csv
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"  # auto: bf16 where the processor has it, else fp32
    channels_last: bool = True
    workers: int = Field(default=2, ge=0)  # loader processes
    cache: Literal["auto", "ram", "none"] = "auto"  # decoded training frames in memory; auto: when they fit easily
    val_every: Count = 1  # epochs
    panel_every: int = Field(default=10, ge=0)  # epochs between picture panels; 0 is none
    sr_metric_frames: int = Field(default=32, ge=0)  # frames on which evaluate.py takes PSNR and SSIM; 0 is none
    wandb: Literal["off", "offline", "auto"] = "auto"  # auto: online with a key, else offline
    tensorboard: bool = False


class Config(Section):
    """One run: the guide's 19 keys, then the sections."""

    lr0: Positive
    lrf: Positive
    optimizer: Literal["AdamW", "SGD"]
    epochs: Count
    patience: Count
    batch_size: Count
    imgsz_lr: Count
    imgsz_hr: Count
    seed: int = Field(ge=0, lt=2**32)
    c1: NonNegative
    c2: NonNegative
    c3: NonNegative
    c4: NonNegative
    sr_layers: Annotated[tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]], FromList]
    sr_decoder: Literal["deep", "light", "none"]
    sr_resblocks: Count
    pretrain: str | None
    conf_thresh: Probability
    iou_thresh: Probability

    model: ModelSection
    dataset: DatasetSection
    augment: AugmentSection = AugmentSection()
    optim: OptimSection = OptimSection()
    loss: LossSection = LossSection()
    eval: EvalSection = EvalSection()
    run: RunSection = RunSection()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.imgsz_lr % SIDE_MULTIPLE:
            raise ValueError(f"imgsz_lr = {self.imgsz_lr}: must be a multiple of {SIDE_MULTIPLE}")
        if self.imgsz_hr != 2 * self.imgsz_lr:
            raise ValueError(f"imgsz_hr = {self.imgsz_hr}: must be 2 * imgsz_lr = {2 * self.imgsz_lr}")
        if self.sr_layers[0] >= self.sr_layers[1]:
            raise ValueError(f"sr_layers = {list(self.sr_layers)}: the shallower layer comes first")
        if self.lrf > 1:
            raise ValueError(f"lrf = {self.lrf}: the last learning rate is lr0 * lrf, so lrf is at most 1")
        return self

    @property
    def has_branch(self) -> bool:
        """Whether an SR branch is built and trained."""
        return self.sr_decoder != "none" and self.c1 > 0
