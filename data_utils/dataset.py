"""The training data: pairs of LR and HR frames with their boxes; data_utils/loader.py batches them.

Every random choice comes from (run seed, epoch, index), so a sample does not depend on the number of loader processes.

Legend: B batch, N boxes, S = imgsz_lr and 2S = imgsz_hr pixels. Images are RGB, boxes (class, cx, cy, w, h) over the
frame's sides. Image tensors are laid out channels-last in memory (as they are decoded), whatever their shape says.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NotRequired, TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from data_utils.augment import (
    ColourJitter,
    GeometricTransform,
    Image,
    draw_colour,
    draw_transform,
    transform_image,
    transform_labels,
)
from data_utils.config import load_config
from data_utils.config_sections import Config
from data_utils.errors import InputError
from data_utils.frame_cache import Frames, open_frames
from data_utils.splitting.split_list import (
    check_sizes,
    find_hr_partners,
    label_path,
    read_labels_if_needed,
    read_split_list,
)
from data_utils.sr_target import SR_TARGETS, other_index

TARGET_STREAM = 1  # keeps what is drawn for the target apart from what is drawn for the augmentation

__all__ = ["Batch", "SREYOLODataset", "Sample", "collate", "label_path", "read_split_list"]


class Sample(TypedDict):
    """One item: lr_image [3, S, S], hr_image [3, 2S, 2S] (absent without an HR folder), labels float32 [N, 5].

    Images are float32 in [0, 1], or uint8 in a `uint8=True` data set.
    """

    lr_image: Tensor
    hr_image: NotRequired[Tensor]
    labels: Tensor
    img_path: str


class Batch(TypedDict):
    """Samples together: images [B, ...]; labels float32 [N, 6], index in the batch first; img_path of B entries."""

    lr_image: Tensor
    hr_image: NotRequired[Tensor]
    labels: Tensor
    img_path: list[str]


class SREYOLODataset(Dataset[Sample]):
    """The prepared frames of a split list, augmented when `augment` is set.

    txt_file: list of LR images. hr_dir: folder of HR images with the same stems, or None for items without `hr_image`.
    config: the run's settings; without it they are read from `config_path`. uint8: images stay uint8 in [0, 255], a
    quarter of the bytes, to become float on the device. repeats: the list may name an image several times; each time is
    a sample with an augmentation of its own, while the image is checked, read and kept in memory once. for_training: a
    run that does not learn detection (`stages.train`) reads no labels, and its frames have none.
    Raises InputError, before any image is decoded, for lists, labels and image sizes that are not as they should be.
    """

    def __init__(
        self,
        txt_file: str | Path,
        hr_dir: str | Path | None,
        augment: bool = False,
        config_path: str | Path = "configs/train.yaml",
        *,
        config: Config | None = None,
        uint8: bool = False,
        repeats: bool = False,
        for_training: bool = False,
    ) -> None:
        self.config = load_config(config_path) if config is None else config
        self.augment = augment
        self.uint8 = uint8
        self.image_paths = read_split_list(txt_file, repeats=repeats)
        frames = list(dict.fromkeys(self.image_paths))
        labels = read_labels_if_needed(frames, self.config, for_training=for_training)
        partners = None if hr_dir is None else find_hr_partners(frames, hr_dir)
        check_sizes(frames, partners, self.config.imgsz_lr, self.config.imgsz_hr)
        number = {path: n for n, path in enumerate(frames)}
        self._frame_of = [number[path] for path in self.image_paths]  # sample -> frame
        self.labels = [labels[n] for n in self._frame_of]
        self.hr_paths = None if partners is None else [partners[n] for n in self._frame_of]
        sets = [(frames, self.config.imgsz_lr)]
        if partners is not None:
            sets.append((partners, self.config.imgsz_hr))
        # The LR frames, then the HR frames if there are any.
        self._frames = open_frames(self.config.run.cache, sets)
        # Shared memory, so that a new epoch also reaches loader processes that live on.
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()
        self._progress: Tensor | None = None

    def __len__(self) -> int:
        return len(self.image_paths)

    def __getitem__(self, index: int) -> Sample:
        """Return one sample. Whatever goes wrong with it raises an error that names its image."""
        index = range(len(self))[index]
        if self._progress is not None:
            self._progress[0] = index
        try:
            return self._sample(index)
        except InputError:
            raise  # names its file already
        except Exception as error:
            raise RuntimeError(
                f"{self.image_paths[index]}: no sample could be made ({type(error).__name__}: {error})"
            ) from error

    @property
    def epoch(self) -> int:
        """The epoch, from 0, for which samples are drawn."""
        return int(self._epoch[0])

    def set_epoch(self, epoch: int) -> None:
        """Draw the samples of `epoch` (from 0) from now on, in running loader processes too."""
        self._epoch[0] = epoch

    def report_progress_to(self, progress: Tensor) -> None:
        """Write the index of every sample begun to `progress`, int64 [1]."""
        self._progress = progress

    def _sample(self, index: int) -> Sample:
        transform, colour = self._draw(index)
        members = [index, *transform.partners]
        lr_frames, *hr_frames = self._frames
        lr_image = transform_image(transform, [lr_frames[self._frame_of[i]] for i in members], colour)
        labels = transform_labels(transform, [self.labels[i] for i in members], self.config.augment.min_visible)
        sample: Sample = {
            "lr_image": self._tensor(lr_image),
            "labels": torch.from_numpy(labels),
            "img_path": str(self.image_paths[index]),
        }
        if hr_frames:
            if self.config.augment.hr_geometry == "none":
                transform, members = GeometricTransform(self.config.imgsz_lr), [index]
            hr_image = transform_image(transform, [hr_frames[0][self._frame_of[i]] for i in members])
            sample["hr_image"] = self._tensor(self._target(index, hr_image, hr_frames[0]))
        return sample

    def _target(self, index: int, hr_image: Image, hr_frames: Frames) -> Image:
        """Return what the branch is to reconstruct: the HR frame, but where a study trains on something else."""
        kind = self.config.loss.sr_target if self.augment else "hr"
        if kind == "hr":
            return hr_image
        rng = np.random.default_rng([self.config.seed, self.epoch, index, TARGET_STREAM])
        other = hr_frames[self._frame_of[other_index(index, len(self), rng)]] if kind == "other" else hr_image
        return SR_TARGETS[kind](other, rng)

    def _draw(self, index: int) -> tuple[GeometricTransform, ColourJitter]:
        side = self.config.imgsz_lr
        if not self.augment:
            return GeometricTransform(side), ColourJitter()
        settings = self.config.augment
        rng = np.random.default_rng([self.config.seed, self.epoch, index])
        mosaic = self.epoch < self.config.epochs - settings.close_mosaic
        return draw_transform(rng, settings, side, len(self), mosaic=mosaic), draw_colour(rng, settings)

    def _tensor(self, image: Image) -> Tensor:
        tensor = torch.from_numpy(image).permute(2, 0, 1)
        return tensor if self.uint8 else tensor.to(torch.float32).div_(255)


def collate(samples: Sequence[Sample]) -> Batch:
    """Put samples into one batch; images [B, 3, H, W] keep the samples' type and are channels-last in memory."""
    labels = [
        torch.cat([torch.full((len(sample["labels"]), 1), float(position)), sample["labels"]], dim=1)
        for position, sample in enumerate(samples)
    ]
    batch: Batch = {
        "lr_image": _stacked([sample["lr_image"] for sample in samples]),
        "labels": torch.cat(labels),
        "img_path": [sample["img_path"] for sample in samples],
    }
    if "hr_image" in samples[0]:
        batch["hr_image"] = _stacked([sample["hr_image"] for sample in samples if "hr_image" in sample])
    return batch


def _stacked(images: Sequence[Tensor]) -> Tensor:
    # Stacked as they lie in memory: turning every picture to planes would cost more than decoding it.
    # default_collate writes straight into shared memory inside a loader process.
    return default_collate([image.permute(1, 2, 0) for image in images]).permute(0, 3, 1, 2)
