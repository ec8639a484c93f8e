"""The typed sections of configs/*.yaml. Unknown keys are refused, instances are frozen.

The guide's 19 published hyperparameters have no default here: their one home is configs/train.yaml. Every other setting
has its one home, and its unit, below, and those of a data set in dataset_section.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from data_utils.dataset_section import DatasetSection
from data_utils.section import Count, FromList, Name, NonNegative, Positive, Probability, Section
from data_utils.stages_section import StagesSection, check_chain

SIDE_MULTIPLE = 32  # the detector's largest stride: input sides are multiples of it


class ModelSection(Section):
    """The detector and the geometry of the SR branch (see models/sr_branch.py)."""

    detector: str = "yolov8n"  # any ultralytics detector yaml: yolov5n, yolov8s, yolov8n-p2, yolo11n, ...
    fusion_stride: Literal[2, 4, 8] = 2  # input pixels for each pixel of the fused map; 2 is the guide's 320 for 640
    branch_width: Count = 64  # channels of the fused map and of the decoder
    # of `deep`: x2 pixel shuffles at full width, one sub-pixel convolution, or shuffles that halve the width each
    upsampler: Literal["staged", "direct", "narrowing"] = "staged"
    branch_window: Annotated[float, Field(gt=0, le=1)] = 1.0  # share of the side reconstructed in a training step
    branch_margin: int = Field(default=2, ge=0)  # fused pixels around that window that are decoded but not compared
    branch_checkpointing: bool = False  # decoder's activations are computed twice instead of kept: memory for time


class AugmentSection(Section):
    """Training augmentation; geometry is shared by LR, HR and boxes, colour touches LR only (paper, section 3)."""

    hr_geometry: Literal["shared", "none"] = "shared"  # none: the guide's literal rule, the HR frame stays as it is
    flip: Probability = 0.5  # horizontal
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.2  # zoom drawn from 1 +- scale
    scale_p: Probability = 0.5
    shift: Annotated[float, Field(ge=0, lt=1)] = 0.1  # share of the side
    shift_p: Probability = 0.5
    mosaic: Probability = 0.5  # four frames in one
    # no mosaic in the last this many epochs; Config's default: the smaller of this and a third of the epochs
    close_mosaic: int = Field(default=10, ge=0)
    hsv_h: Probability = 0.015
    hsv_s: Probability = 0.7
    hsv_v: Probability = 0.4
    min_visible: Probability = 0.1  # a box that keeps less than this share of its area is dropped
    # the side of each training batch is drawn from 1 +- this, in steps of 32 px; of a plain detector alone
    multi_scale: Annotated[float, Field(ge=0, lt=1)] = 0.0


def default_close_mosaic(epochs: int) -> int:
    """Return for how many epochs at a run's end there is no mosaic unless augment.close_mosaic says so."""
    return min(AugmentSection.model_fields["close_mosaic"].default, max(epochs, 0) // 3)


class OptimSection(Section):
    """What the optimiser needs beside lr0, lrf, epochs and batch_size."""

    weight_decay: NonNegative = 1e-4  # not applied to norms and biases
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.937  # SGD's; AdamW's first beta
    warmup_epochs: NonNegative = 3.0  # linear up to lr0
    clip_grad: NonNegative = 10.0  # largest gradient norm; 0 is no clipping
    accumulate: Count = 1  # batches for each optimiser step
    sync_batch_norm: bool = False  # under torchrun: BatchNorm over the whole batch, not over each process's share
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.9999  # of the averaged weights; 0 is no averaging
    ema_tau: Positive = 2000.0  # steps over which the decay ramps up
    freeze: int = Field(default=0, ge=0)  # the detector's first so many layers stay as they are, BatchNorm included
    unfreeze_epoch: Count | None = None  # the epoch, from 1, in which they begin to learn; null: never
    lr_backbone: Positive = 1.0  # factors on the learning rate: of the detector's backbone (its layers up to SPPF),
    lr_head: Positive = 1.0  # of its neck and detection head,
    lr_branch: Positive = 1.0  # and of the SR branch

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.unfreeze_epoch is not None and not self.freeze:
            raise ValueError(
                f"optim.unfreeze_epoch = {self.unfreeze_epoch}: nothing is frozen; set optim.freeze, or leave it out"
            )
        return self


class LossSection(Section):
    """How the four terms are scaled, and what L_SR compares with.

    loss_scale: trap 5, ultralytics multiplies its detection terms by the batch size. sr_target: `hr` is the method. The
    others ask what of it helps (data_utils/sr_target.py); validation measures PSNR against the HR frame all the same.
    """

    loss_scale: Literal["sum", "batch"] = "sum"
    sr_target: Literal["hr", "upsampled", "other", "random"] = "hr"


class EvalSection(Section):
    """Evaluation beside conf_thresh and iou_thresh."""

    nms_iou: Probability = 0.7
    max_det: Count = 300
    size_reference: Literal["original", "input", "hr"] = "original"  # pixels in which sizes count: frame, LR, HR
    size_cutoffs: Annotated[tuple[Positive, ...], FromList] = (32, 96)  # small < 32x32 <= medium < 96x96 <= large
    froc_hit: Literal["iou50", "iou30", "centre"] = "iou50"  # a hit in FROC's headline; all three are reported
    sweep_conf: Annotated[tuple[Probability, ...], FromList] = (0.3, 0.35, 0.4, 0.45, 0.5)  # of the threshold sweep,
    sweep_iou: Annotated[tuple[Probability, ...], FromList] = (0.45, 0.5, 0.55, 0.6)  # and its IoUs of NMS
    resamples: int = Field(default=2000, ge=0)  # of the patients, for intervals; 0 is none
    bootstrap_seed: int = Field(default=0, ge=0)
    batch_size: Count | None = None  # default: training's

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.size_cutoffs or list(self.size_cutoffs) != sorted(set(self.size_cutoffs)):
            raise ValueError(f"eval.size_cutoffs = {list(self.size_cutoffs)}: sides in pixels, rising, at least one")
        return self


class DenoiseSection(Section):
    """The speckle denoiser (`python -m training.denoise`): its frames, its noise (data_utils/speckle.py), its net."""

    source: Literal["lr", "hr"] = "lr"  # the prepared frames it learns from and is measured on
    crop: Annotated[int, Field(ge=16)] = 128  # pixels a side of the squares cut from training frames
    distribution: Literal["gamma", "lognormal"] = "gamma"
    looks: Annotated[tuple[Positive, Positive], FromList] = (4, 16)  # drawn between; the noise has variance 1 / looks
    eval_looks: Positive = 8.0  # of validation and test
    grain: NonNegative = 0.0  # pixels by which neighbours are correlated (sigma of the blur); 0: independent
    eval_frames: Count | None = 64  # held-out frames measured, evenly spread over the list; null: all
    nlm_frames: Count = 8  # training frames on which the strength of non-local means is chosen
    width: Count = 32  # channels at full resolution, doubled at each level below
    levels: Annotated[int, Field(ge=1, le=5)] = 3  # halvings of the side

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.looks[0] > self.looks[1]:
            raise ValueError(f"denoise.looks = {list(self.looks)}: the smaller number, the stronger noise, comes first")
        return self


class RunSection(Section):
    """Where and how a run runs."""

    name: Name | None = None  # default: data set, split and time
    results_dir: str = "results"
    weights_dir: str = "weights"
    fixed_copies: bool = False  # also keep weights/{best,last}_split{N}.pt and results/train_log_split{N}.csv
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"  # auto: bf16 on CUDA and AMX, else fp32
    channels_last: bool = True
    compile: bool = False  # torch.compile the detector's training forward; minutes at the start, needs a C++ compiler
    workers: Literal["auto"] | Annotated[int, Field(ge=0)] = "auto"  # loader processes; auto: one a core, at most 8
    cache: Literal["auto", "ram", "none"] = "auto"  # decoded training frames in memory; auto: when they fit easily
    val_every: Count = 1  # epochs
    panel_every: int = Field(default=10, ge=0)  # epochs between picture panels; 0 is none
    sr_metric_frames: int = Field(default=32, ge=0)  # frames on which evaluate.py takes PSNR and SSIM; 0 is none
    sr_log_frames: int = Field(default=16, ge=0)  # validation frames on which each epoch takes them; 0 is none
    fps_iters: Count = 500  # passes of the network that evaluate.py times
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
