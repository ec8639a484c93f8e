"""The typed sections of configs/*.yaml. Unknown keys are refused, instances are frozen.

The paper's 19 published hyperparameters have no default here: their one home is configs/train.yaml. Every other setting
has its one home below, and those of a data set in dataset_section.py. The comment above or beside a field is what
docs/settings.md says of it, `[px]` at its beginning the unit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from data_utils.errors import nearest_name

# What every section of the settings is built on: the strict base class, and the value types sections share.


Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]  # becomes part of a path: never "." or ".."
# YAML and JSON have lists and text keys where the sections have tuples and numbers; their elements stay strict.
FromList = Field(strict=False)


class Section(BaseModel):
    """Base of all sections: unknown keys refused, frozen, no silent conversion of text to numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, protected_namespaces=(), validate_default=True)


# The settings of one data set: where it lies, how it is read, filtered, split and audited (configs/dataset.yaml).


Format = Literal["auto", "yolo", "voc", "coco", "cvat", "labelme", "hyperkvasir", "labelmap", "mask"]


class FilterSection(Section):
    """Which raw frames are kept; null switches a test off. Scores are taken on the displayed frame in 8-bit grey."""

    blur_thresh: NonNegative | None = 100.0  # [Laplacian variance] below this: blurred
    bright_min: NonNegative | None = 30.0  # [mean grey, 0-255] below this: dark
    bright_max: NonNegative | None = 240.0  # [mean grey, 0-255] above this: blown out
    min_bytes: int | None = Field(default=5 * 1024, ge=0)  # [bytes] of the file; below this: tiny
    min_side: int | None = Field(default=None, ge=1)  # [px] of the shorter side; below this: tiny
    glare_max: Probability | None = 0.2  # [share of pixels] that are saturated; above this: glare
    border_max: Probability | None = None  # [share of pixels] in the black surround; above this: mostly border
    # [differing bits] of the 64-bit perceptual hash up to which a frame counts as a copy of one kept before it, of the
    # same group; across groups the audit looks.
    near_duplicate_bits: int | None = Field(default=None, ge=0, le=64)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.bright_min is not None and self.bright_max is not None and self.bright_min >= self.bright_max:
            raise ValueError(
                f"dataset.filter.bright_min = {self.bright_min} and bright_max = {self.bright_max} leave no frame"
            )
        return self


class LabelMapSection(Section):
    """Segmentation masks turned into boxes: one box for each connected component of a listed value.

    Under `format: mask` the masks are black and white, and there is one class; `values` is not used.
    """

    images: str = "img"  # folder of frames below the raw folder
    masks: str = "annot"  # folder of masks, same relative paths
    mask_suffix: str = ""  # what a mask's name has after the frame's, before the dot: "_mask"
    values: dict[Annotated[int, FromList], str] = Field(default_factory=dict)  # mask grey value -> class name
    threshold: int = Field(default=128, ge=1, le=255)  # [grey, 0-255] format mask: from this value on, lesion
    min_area: int = Field(default=16, ge=1)  # [mask px] smaller components are counted and dropped


class SplitSection(Section):
    """Hold-out splits; a group (patient) is never cut."""

    ratios: Annotated[tuple[Positive, Positive, Positive], FromList] = (89, 7, 4)  # [frames] train : val : test
    n_splits: int = Field(default=3, ge=0)  # 0: an external test set, which has a manifest and no split
    seed: int = 42  # of the search for splits
    # healthy frames of held-out patients go to {val,test}_healthy.txt, and the ratios leave them out: they are then
    # those between the frames that train and the held-out frames with lesions, as in the paper.
    lesion_only_eval: bool = False
    # user-made split: list files below the raw folder (stems or paths), or path prefixes ending in "/".
    predefined: dict[Literal["train", "val", "test"], Annotated[tuple[str, ...], FromList]] | None = None
    column: str | None = None  # user-made split: the column of metadata.csv that says train, val, test or nothing

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.predefined is not None and self.column is not None:
            raise ValueError("predefined and column both say which frame goes where; keep one of them")
        return self


class KnownPair(Section):
    """Two look-alike frames that somebody looked at and accepts in different parts; the report still lists them."""

    frames: Annotated[tuple[str, str], FromList]  # their stems: names without ending
    reason: Annotated[str, Field(min_length=1)]  # why that is accepted; the report shows it


class AuditSection(Section):
    """What `python -m data_utils.audit` calls a leak or a suspicious label."""

    near_duplicate: Probability = 0.78  # [likeness] from which two frames count as copies
    neighbour_gap: int = Field(default=30, ge=0)  # [frames] of one video this near must not be in two parts
    neighbour_likeness: Probability = 0.4  # [likeness] which neighbours need too: numbers alone are no evidence
    box_min: Probability = 1e-5  # [share of the frame] below which a box covers almost nothing
    box_max: Probability = 0.9  # [share of the frame] above which a box covers almost everything
    known_pairs: Annotated[tuple[KnownPair, ...], FromList] = ()  # look-alikes that somebody looked at and accepts


class ExternalSection(Section):
    """An external test set, prepared from a config of its own with split.n_splits: 0: `evaluate.py --data NAME`.

    Nothing trains on it.
    """

    processed: str  # folder with lr/{images,labels} and manifest.csv
    list_file: str | None = None  # LR image paths, one a line; default: every frame in the manifest


class DatasetSection(Section):
    """One data set: where it lies, how it is read, filtered and split. Paths are relative to the working folder."""

    name: Name = "lesions"  # of the data set; runs and reports are named after it
    raw: str = "data/raw"  # folder or zip of frames and labels; only read
    processed: str = "data/processed"  # folder of the prepared copies and the manifest
    splits: str = "data/splits"  # folder of the split lists
    # what was left out, and why; default: results/NAME_filter_log.csv, of the default set results/filter_log.csv
    filter_log: str = ""
    format: Format = "auto"  # of the labels; auto: found by the files
    metadata: str | None = "metadata.csv"  # below raw, or beside a zip: filename, patient_id, dataset_source, ...
    group: Literal["patient", "sequence", "image"] = "patient"  # what a split never cuts; only `patient` is independent
    group_pattern: str | None = None  # regex on the path below raw with (?P<patient>...) and (?P<sequence>...)
    # patient ids that are one person, where they differ in how a number is written (012, 12, 12.0) or in any other way.
    same_patient: Annotated[tuple[Annotated[tuple[str, ...], FromList], ...], FromList] = ()
    distinct_patients: bool = False  # true: ids that differ in how a number is written alone are of different persons
    nc: Count  # number of classes
    names: Annotated[tuple[str, ...], FromList]  # of the classes, in the order of their ids
    labels_frame: Literal["displayed", "stored"] = "displayed"  # EXIF-rotated files: the frame the boxes were drawn in
    bad_boxes: Literal["error", "drop"] = "error"  # without area or outside the frame; drop: counted, frame kept
    # COCO's iscrowd objects. leave_out: their frames do not train, and detections there do not count in evaluation.
    # box: the crowd's box is taken as that of one object.
    crowd: Literal["leave_out", "box"] = "leave_out"
    allow_background: bool = False  # a missing label file means a healthy frame instead of an error
    max_unreadable: Probability = 0.05  # [share of frames] that cannot be decoded above which preparing stops
    image_format: Literal["jpg", "png"] = "jpg"  # of the prepared copies
    jpeg_quality: int = Field(default=95, ge=1, le=100)  # of the prepared copies, 100 the best
    hr_native_min: Count | None = None  # [px] longer side of the original from which HR is native; null: imgsz_hr
    crop_border: bool = False  # cut the black surround of the round endoscope field away; boxes follow, none is cut
    labelled: bool = True  # false: no label is read or written; only the branch can learn from such frames
    balanced: bool = False  # train on train_balanced.txt, which `python -m data_utils.balance` writes
    filter: FilterSection = FilterSection()
    labelmap: LabelMapSection = LabelMapSection()
    split: SplitSection = SplitSection()
    audit: AuditSection = AuditSection()
    external: dict[str, ExternalSection] = Field(default_factory=dict)  # test sets from elsewhere, by name

    @model_validator(mode="before")
    @classmethod
    def _log_of_its_own(cls, given: object) -> object:
        """Two sets never write one filter log unless told to."""
        if not isinstance(given, dict) or given.get("filter_log"):
            return given
        default = cls.model_fields["name"].default
        name = given.get("name", default)
        return {**given, "filter_log": f"results/{'' if name == default else f'{name}_'}filter_log.csv"}

    @field_validator("names")
    @classmethod
    def _distinct(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) != len(names) or not all(name.strip() for name in names):
            raise ValueError("class names must be distinct and not empty")
        return names

    @field_validator("same_patient", mode="before")
    @classmethod
    def _one_list_of_ids(cls, given: object) -> object:
        """Take [a, b] for [[a, b]]: most sets have one such person."""
        flat = isinstance(given, list | tuple) and given and not any(isinstance(each, list | tuple) for each in given)
        return [given] if flat else given

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

    def split_numbers(self) -> list[int]:
        """Return the numbers of the splits on disk, in order."""
        names = (path.name.removeprefix("split") for path in Path(self.splits).glob("split*") if path.is_dir())
        return sorted(int(name) for name in names if name.isascii() and name.isdigit())

    def train_list(self, split: int) -> Path:
        """Text file that training reads: train.txt, or train_balanced.txt with `balanced`."""
        return self.split_list(split, "train_balanced" if self.balanced else "train")


# The section `stages`: what a run starts from, and which parts of the model it trains.
#
# A source of weights is null (random), `coco`, the path of a .pt file, or a chain such as `coco+hyperkvasir`: weights
# trained on the first, then on the second.


COCO = "coco"  # for the detector: the official weights
FILE_SUFFIXES = (".pt", ".pth")


class StageSet(Section):
    """A data set that an earlier stage can train on: the config, split and further settings of such a run."""

    config: str  # path of that run's config, from the working folder
    split: Count = 1  # of that run
    overrides: Annotated[tuple[str, ...], FromList] = ()  # key=value, laid over that config


class StagesSection(Section):
    """What the SR branch starts from, which parts learn, and the data sets that chains may name."""

    # all: the paper's loss on both parts. branch: L_SR alone with the whole detector frozen, on frames whose labels are
    # never read; branch+backbone: the same, with the detector's layers up to the deeper tap learning.
    train: Literal["all", "branch", "branch+backbone"] = "all"
    branch: str | None = None  # source of the branch's first weights; the detector's is `pretrain`
    sets: dict[Name, StageSet] = Field(default_factory=dict)  # what chains may name, by name


def is_file(source: str) -> bool:
    """Say whether a source of weights names a file, and not a chain."""
    return source.lower().endswith(FILE_SUFFIXES) or "/" in source or "\\" in source


def chain_of(source: str | None) -> tuple[str, ...]:
    """Return the names of a chain in order, () for random weights and for a file."""
    return () if source is None or is_file(source) else tuple(source.split("+"))


def check_chain(key: str, source: str | None, stages: StagesSection, *, official_coco: bool) -> None:
    """Raise ValueError, naming `key` and the nearest known name, when a chain names an unknown stage.

    official_coco: whether `coco` in the first place needs no entry in `stages.sets`.
    """
    for position, name in enumerate(chain_of(source)):
        if name in stages.sets or (name == COCO and position == 0 and official_coco):
            continue
        known = [*dict.fromkeys(([COCO] if official_coco else []) + [*stages.sets])]
        near = nearest_name(name, known)
        hint = f", did you mean '{near}'?" if near else f"; known: {', '.join(known) or 'none'}"
        raise ValueError(
            f"{key} = {source}: '{name}' is neither a .pt file nor a data set listed under stages.sets{hint}"
        )


SIDE_MULTIPLE = 32  # the detector's largest stride: input sides are multiples of it


class ModelSection(Section):
    """The detector and the geometry of the SR branch (see models/sr_branch.py)."""

    detector: str = "yolov8n"  # any ultralytics detector yaml: yolov5n, yolov8s, yolov8n-p2, yolo11n, ...
    fusion_stride: Literal[2, 4, 8] = 2  # [px] of the input for each pixel of the fused map; 2 is 320 wide for 640
    branch_width: Count = 64  # [channels] of the fused map and of the decoder
    # of `deep`: x2 pixel shuffles at full width, one sub-pixel convolution, or shuffles that halve the width each
    upsampler: Literal["staged", "direct", "narrowing"] = "staged"
    branch_window: Annotated[float, Field(gt=0, le=1)] = 1.0  # [share of the side] reconstructed in a training step
    branch_margin: int = Field(default=2, ge=0)  # [fused px] around that window that are decoded but not compared
    branch_checkpointing: bool = False  # decoder's activations are computed twice instead of kept: memory for time


class AugmentSection(Section):
    """Training augmentation; geometry is shared by LR, HR and boxes, colour touches LR only (paper, section 3)."""

    # shared: flips, zooms and shifts move the HR frame with the LR frame. none: the HR frame stays as it is.
    hr_geometry: Literal["shared", "none"] = "shared"
    flip: Probability = 0.5  # [probability] of a mirrored frame, left and right
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.2  # [factor] zoom drawn from 1 +- scale
    scale_p: Probability = 0.5  # [probability] of a zoom
    shift: Annotated[float, Field(ge=0, lt=1)] = 0.1  # [share of the side] moved by up to so much, each way
    shift_p: Probability = 0.5  # [probability] of a shift
    mosaic: Probability = 0.5  # [probability] of four frames in one
    # [epochs] at the end, without mosaics; where nothing is said, a third of the epochs if that is fewer
    close_mosaic: int = Field(default=10, ge=0)
    hsv_h: Probability = 0.015  # [share of the circle] by which an LR frame's hue is turned, at most
    hsv_s: Probability = 0.7  # [share] by which its saturation is raised or lowered, at most
    hsv_v: Probability = 0.4  # [share] by which its brightness is raised or lowered, at most
    min_visible: Probability = 0.1  # [share of its area] a box that keeps less is dropped
    # [share of the side] the side of each training batch is drawn from 1 +- this, in steps of 32 px; without a branch
    multi_scale: Annotated[float, Field(ge=0, lt=1)] = 0.0


def default_close_mosaic(epochs: int) -> int:
    """Return for how many epochs at a run's end there is no mosaic unless augment.close_mosaic says so."""
    return min(AugmentSection.model_fields["close_mosaic"].default, max(epochs, 0) // 3)


class OptimSection(Section):
    """What the optimiser needs beside lr0, lrf, epochs and batch_size."""

    weight_decay: NonNegative = 1e-4  # not applied to norms and biases
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.937  # SGD's; AdamW's first beta
    warmup_epochs: NonNegative = 3.0  # [epochs] in which the learning rate rises linearly to lr0
    clip_grad: NonNegative = 10.0  # [norm] to which a larger gradient is cut; 0 is no clipping
    accumulate: Count = 1  # [batches] for each optimiser step
    sync_batch_norm: bool = False  # under torchrun: BatchNorm over the whole batch, not over each process's share
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.9999  # of the averaged weights; 0 is no averaging
    ema_tau: Positive = 2000.0  # [steps] over which the decay ramps up
    freeze: int = Field(default=0, ge=0)  # [layers] of the detector, from its first, that do not learn, nor BatchNorm
    unfreeze_epoch: Count | None = None  # [epoch, from 1] in which the frozen layers begin to learn; null: never
    lr_backbone: Positive = 1.0  # [factor on lr0] for the detector's backbone, its layers up to SPPF
    lr_head: Positive = 1.0  # [factor on lr0] for its neck and detection head
    lr_branch: Positive = 1.0  # [factor on lr0] for the SR branch

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.unfreeze_epoch is not None and not self.freeze:
            raise ValueError(
                f"optim.unfreeze_epoch = {self.unfreeze_epoch}: nothing is frozen; set optim.freeze, or leave it out"
            )
        return self


class LossSection(Section):
    """How the four terms are scaled, and what L_SR compares with."""

    # sum: the plain sum. batch: the detection terms times the batch size, as ultralytics does and SuperYOLO after it.
    loss_scale: Literal["sum", "batch"] = "sum"
    # hr is the method. The others ask what of it helps: the upsampled LR frame, another frame's HR copy, or noise;
    # validation measures PSNR against the HR frame all the same.
    sr_target: Literal["hr", "upsampled", "other", "random"] = "hr"


class EvalSection(Section):
    """Evaluation beside conf_thresh and iou_thresh."""

    nms_iou: Probability = 0.7  # [IoU] above which the lower scored of two boxes goes
    max_det: Count = 300  # [boxes] kept of a frame, at most
    size_reference: Literal["original", "input", "hr"] = "original"  # pixels in which sizes count: frame, LR, HR
    size_cutoffs: Annotated[tuple[Positive, ...], FromList] = (32, 96)  # [px] small < 32x32 <= medium < 96x96 <= large
    froc_hit: Literal["iou50", "iou30", "centre"] = "iou50"  # a hit in FROC's headline; all three are reported
    sweep_conf: Annotated[tuple[Probability, ...], FromList] = (0.3, 0.35, 0.4, 0.45, 0.5)  # [score] of the sweep
    sweep_iou: Annotated[tuple[Probability, ...], FromList] = (0.45, 0.5, 0.55, 0.6)  # [IoU] of NMS in the sweep
    resamples: int = Field(default=2000, ge=0)  # [draws] of the patients, for intervals; 0 is none
    bootstrap_seed: int = Field(default=0, ge=0)  # of those draws
    batch_size: Count | None = None  # [frames] null: training's

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.size_cutoffs or list(self.size_cutoffs) != sorted(set(self.size_cutoffs)):
            raise ValueError(f"eval.size_cutoffs = {list(self.size_cutoffs)}: sides in pixels, rising, at least one")
        return self


class DenoiseSection(Section):
    """The speckle denoiser (`python -m training.denoise`): its frames, its noise (data_utils/speckle.py), its net."""

    source: Literal["lr", "hr"] = "lr"  # the prepared frames it learns from and is measured on
    crop: Annotated[int, Field(ge=16)] = 128  # [px] side of the squares cut from training frames
    distribution: Literal["gamma", "lognormal"] = "gamma"  # of the multiplicative noise
    looks: Annotated[tuple[Positive, Positive], FromList] = (4, 16)  # drawn between; the noise has variance 1 / looks
    eval_looks: Positive = 8.0  # looks in validation and test
    grain: NonNegative = 0.0  # [px] by which neighbours are correlated (sigma of the blur); 0: independent
    eval_frames: Count | None = 64  # [frames] held out and measured, evenly spread over the list; null: all
    nlm_frames: Count = 8  # [frames] of training on which the strength of non-local means is chosen
    width: Count = 32  # [channels] at full resolution, doubled at each level below
    levels: Annotated[int, Field(ge=1, le=5)] = 3  # halvings of the side

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.looks[0] > self.looks[1]:
            raise ValueError(f"denoise.looks = {list(self.looks)}: the smaller number, the stronger noise, comes first")
        return self


class RunSection(Section):
    """Where and how a run runs."""

    name: Name | None = None  # of the run's folder; null: data set, split and time
    results_dir: str = "results"  # folder of runs, logs and reports
    weights_dir: str = "weights"  # folder of the fixed copies and of official weights
    fixed_copies: bool = False  # also keep weights/{best,last}_split{N}.pt and results/train_log_split{N}.csv
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"  # auto: bf16 on CUDA and AMX, else fp32
    channels_last: bool = True  # memory layout; faster on most machines, the same numbers but for rounding
    compile: bool = False  # torch.compile the detector's training forward; minutes at the start, needs a C++ compiler
    # [processes] that load frames; auto: one a core, at most 8
    workers: Literal["auto"] | Annotated[int, Field(ge=0)] = "auto"
    cache: Literal["auto", "ram", "none"] = "auto"  # decoded training frames in memory; auto: when they fit easily
    val_every: Count = 1  # [epochs] between validations
    panel_every: int = Field(default=10, ge=0)  # [epochs] between picture panels; 0 is none
    sr_metric_frames: int = Field(default=32, ge=0)  # [frames] on which evaluate.py takes PSNR and SSIM; 0 is none
    sr_log_frames: int = Field(default=16, ge=0)  # [frames] of validation on which each epoch takes them; 0 is none
    fps_iters: Count = 500  # [passes] of the network that evaluate.py times
    wandb: Literal["off", "offline", "auto"] = "auto"  # auto: online with a key, else offline
    tensorboard: bool = False  # write a TensorBoard log too


class Config(Section):
    """One run: the paper's 19 keys, then the sections."""

    lr0: Positive  # the learning rate at its highest, after the warm-up
    lrf: Positive  # [factor on lr0] of the last epoch's learning rate
    optimizer: Literal["AdamW", "SGD"]  # how gradients become steps
    epochs: Count  # [epochs] of the whole schedule
    patience: Count  # [epochs] without a better validation AP50 after which training ends
    batch_size: Count  # [frames] of a batch, over all processes together
    imgsz_lr: Count  # [px] side of the input; a multiple of 32
    imgsz_hr: Count  # [px] side of the HR frame; twice imgsz_lr
    seed: int = Field(ge=0, lt=2**32)  # of weights, order and augmentation
    c1: NonNegative  # weight of L_SR, the mean absolute error of the reconstructed frame
    c2: NonNegative  # weight of L_bbox, 1 - CIoU
    c3: NonNegative  # weight of L_dfl, the distribution focal loss of box edges
    c4: NonNegative  # weight of L_cls, the binary cross-entropy of classes
    # the two detector layers whose maps the branch sees, the shallower first
    sr_layers: Annotated[tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]], FromList]
    sr_decoder: Literal["deep", "light", "none"]  # of the branch; none: no branch, the plain detector
    sr_resblocks: Count  # residual blocks of the `deep` decoder
    pretrain: str | None  # the detector's first weights: null (random), coco, a .pt file, or a chain: coco+hyperkvasir
    conf_thresh: Probability  # [score] below which evaluation keeps no box; not infer.py's threshold
    iou_thresh: Probability  # [IoU] from which evaluation counts a hit

    model: ModelSection
    dataset: DatasetSection
    augment: AugmentSection = AugmentSection()
    optim: OptimSection = OptimSection()
    loss: LossSection = LossSection()
    eval: EvalSection = EvalSection()
    denoise: DenoiseSection = DenoiseSection()
    stages: StagesSection = StagesSection()
    run: RunSection = RunSection()

    @model_validator(mode="before")
    @classmethod
    def _close_mosaic_of(cls, values: Any) -> Any:
        """Fill in the default of augment.close_mosaic, which depends on `epochs`, so that settings are saved whole."""
        epochs, augment = values.get("epochs"), values.get("augment", {})
        if type(epochs) is int and isinstance(augment, Mapping) and "close_mosaic" not in augment:
            return {**values, "augment": {**augment, "close_mosaic": default_close_mosaic(epochs)}}
        return values

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.imgsz_lr % SIDE_MULTIPLE:
            raise ValueError(f"imgsz_lr = {self.imgsz_lr}: must be a multiple of {SIDE_MULTIPLE}")
        if self.imgsz_hr != 2 * self.imgsz_lr:
            raise ValueError(f"imgsz_hr = {self.imgsz_hr}: must be 2 * imgsz_lr = {2 * self.imgsz_lr}")
        if self.sr_layers[0] >= self.sr_layers[1]:
            raise ValueError(f"sr_layers = {list(self.sr_layers)}: the shallower layer comes first")
        if self.augment.multi_scale and self.has_branch:
            raise ValueError(
                f"augment.multi_scale = {self.augment.multi_scale}: the branch is built for one input side; set "
                "sr_decoder=none, or leave it out"
            )
        if self.lrf > 1:
            raise ValueError(f"lrf = {self.lrf}: the last learning rate is lr0 * lrf, so lrf is at most 1")
        return self

    @model_validator(mode="after")
    def _stages_fit(self) -> Self:
        stages, optim = self.stages, self.optim
        check_chain("pretrain", self.pretrain, stages, official_coco=True)
        check_chain("stages.branch", stages.branch, stages, official_coco=False)
        if not self.has_branch and (stages.branch is not None or not self.detects):
            key = "branch" if stages.branch is not None else "train"
            value = getattr(stages, key)
            raise ValueError(f"stages.{key} = {value}: there is no branch (sr_decoder = none or c1 = 0); leave out one")
        if stages.train == "branch" and optim.freeze:
            raise ValueError(
                f"optim.freeze = {optim.freeze}: stages.train = branch freezes the whole detector; leave out one"
            )
        return self

    @property
    def has_branch(self) -> bool:
        """Whether an SR branch is built and trained."""
        return self.sr_decoder != "none" and self.c1 > 0

    @property
    def detects(self) -> bool:
        """Whether the detection terms are part of the loss, so that labels are read and AP is measured."""
        return self.stages.train == "all"

    @property
    def branch_geometry(self) -> dict[str, str]:
        """The settings that give the branch its shape and the maps it reads, each as the text of an override."""
        geometry = {
            "sr_decoder": self.sr_decoder,
            "sr_layers": f"[{self.sr_layers[0]},{self.sr_layers[1]}]",
            "model.detector": self.model.detector,
            "model.fusion_stride": str(self.model.fusion_stride),
            "model.branch_width": str(self.model.branch_width),
        }
        if self.sr_decoder == "deep":  # these two mean nothing to the others
            geometry |= {"sr_resblocks": str(self.sr_resblocks), "model.upsampler": self.model.upsampler}
        return geometry
