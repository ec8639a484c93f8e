"""The settings of one data set: where it lies, how it is read, filtered, split and audited (configs/dataset.yaml)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from data_utils.section import Count, FromList, Name, NonNegative, Positive, Probability, Section

Format = Literal["auto", "yolo", "voc", "coco", "cvat", "labelme", "hyperkvasir", "labelmap", "mask"]


class FilterSection(Section):
    """Which raw frames are kept; null switches a test off. Scores are taken on the displayed frame in 8-bit grey."""

    blur_thresh: NonNegative | None = 100.0  # Laplacian variance below this: blurred
    bright_min: NonNegative | None = 30.0  # mean grey (0-255) below this: dark
    bright_max: NonNegative | None = 240.0  # mean grey above this: blown out
    min_bytes: int | None = Field(default=5 * 1024, ge=0)  # file size in bytes below this: tiny
    min_side: int | None = Field(default=None, ge=1)  # shorter side in pixels below this: tiny
    glare_max: Probability | None = 0.2  # share of saturated pixels above this: glare
    border_max: Probability | None = None  # share of the black surround above this: mostly border
    near_duplicate_bits: int | None = Field(default=None, ge=0, le=64)  # differing bits of the 64-bit perceptual hash
    # up to which a frame counts as a copy of one kept before it, of the same group; across groups the audit looks.

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
    threshold: int = Field(default=128, ge=1, le=255)  # format mask: from this grey value on (0-255), lesion
    min_area: int = Field(default=16, ge=1)  # smaller components (mask pixels) are counted and dropped


class SplitSection(Section):
    """Hold-out splits; a group (patient) is never cut."""

    ratios: Annotated[tuple[Positive, Positive, Positive], FromList] = (89, 7, 4)  # train : val : test, by frames
    n_splits: int = Field(default=3, ge=0)  # 0: an external test set, which has a manifest and no split
    seed: int = 42
    # Healthy frames of held-out patients go to {val,test}_healthy.txt, and the ratios leave them out: they are then
    # those between the frames that train and the held-out frames with lesions, as in the paper.
    lesion_only_eval: bool = False
    # User-made split: list files below the raw folder (stems or paths), or path prefixes ending in "/".
    predefined: dict[Literal["train", "val", "test"], Annotated[tuple[str, ...], FromList]] | None = None
    column: str | None = None  # user-made split: the column of metadata.csv that says train, val, test or nothing

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.predefined is not None and self.column is not None:
            raise ValueError("predefined and column both say which frame goes where; keep one of them")
        return self


class KnownPair(Section):
    """Two look-alike frames that somebody looked at and accepts in different parts; the report still lists them."""

    frames: Annotated[tuple[str, str], FromList]  # stems
    reason: Annotated[str, Field(min_length=1)]


class AuditSection(Section):
    """What `python -m data_utils.audit` calls a leak or a suspicious label."""

    near_duplicate: Probability = 0.78  # likeness from which frames count as copies; see auditing/likeness.py
    neighbour_gap: int = Field(default=30, ge=0)  # frames of one video this near in number must not be in two parts
    neighbour_likeness: Probability = 0.4  # if they also look alike: numbers alone are no evidence
    box_min: Probability = 1e-5  # share of the frame below which a box covers almost nothing
    box_max: Probability = 0.9  # share of the frame above which a box covers almost everything
    known_pairs: Annotated[tuple[KnownPair, ...], FromList] = ()


class ExternalSection(Section):
    """An external test set, prepared from a config of its own with split.n_splits: 0: `evaluate.py --data NAME`.

    Nothing trains on it.
    """

    processed: str  # folder with lr/{images,labels} and manifest.csv
    list_file: str | None = None  # LR image paths, one a line; default: every frame in the manifest


class DatasetSection(Section):
    """One data set: where it lies, how it is read, filtered and split. Paths are relative to the working folder."""

    name: Name = "lesions"
    raw: str = "data/raw"
    processed: str = "data/processed"
    splits: str = "data/splits"
    filter_log: str = ""  # default: results/NAME_filter_log.csv, of the default set results/filter_log.csv
    format: Format = "auto"
    metadata: str | None = "metadata.csv"  # below raw, or beside a zip: filename, patient_id, dataset_source, ...
    group: Literal["patient", "sequence", "image"] = "patient"  # what a split never cuts; only `patient` is independent
    group_pattern: str | None = None  # regex on the path below raw with (?P<patient>...) and (?P<sequence>...)
    # Patient ids that are one person, where they differ in how a number is written (012, 12, 12.0) or in any other way.
    same_patient: Annotated[tuple[Annotated[tuple[str, ...], FromList], ...], FromList] = ()
    distinct_patients: bool = False  # true: ids that differ in how a number is written alone are of different persons
    nc: Count
    names: Annotated[tuple[str, ...], FromList]
    labels_frame: Literal["displayed", "stored"] = "displayed"  # EXIF-rotated files: the frame the boxes were drawn in
    bad_boxes: Literal["error", "drop"] = "error"
    # COCO's iscrowd objects. leave_out: their frames do not train, and detections there do not count in evaluation.
    # box: the crowd's box is taken as that of one object.
    crowd: Literal["leave_out", "box"] = "leave_out"
    allow_background: bool = False  # a missing label file means a healthy frame instead of an error
    max_unreadable: Probability = 0.05  # share of undecodable frames above which preparing stops
    image_format: Literal["jpg", "png"] = "jpg"
    jpeg_quality: int = Field(default=95, ge=1, le=100)
    hr_native_min: Count | None = None  # original longer side from which HR counts as native; default: imgsz_hr
    crop_border: bool = False  # cut the black surround of the round endoscope field away; boxes follow, none is cut
    labelled: bool = True  # false: no label is read or written; only the branch can learn from such frames
    balanced: bool = False  # train on train_balanced.txt, which `python -m data_utils.balance` writes
    filter: FilterSection = FilterSection()
    labelmap: LabelMapSection = LabelMapSection()
    split: SplitSection = SplitSection()
    audit: AuditSection = AuditSection()
    external: dict[str, ExternalSection] = Field(default_factory=dict)

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
