"""The training data: pairs of LR and HR frames with their boxes; data_utils/loader.py batches them.

Every random choice comes from (run seed, epoch, index), so a sample does not depend on the number of loader processes.

Legend: B batch, N boxes, S = imgsz_lr and 2S = imgsz_hr pixels. Images are RGB, boxes (class, cx, cy, w, h) over the
frame's sides. Image tensors are laid out channels-last in memory (as they are decoded), whatever their shape says.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NotRequired, Protocol, TypedDict

import cv2
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
from data_utils.config.loading import load_config
from data_utils.config.sections import Config
from data_utils.errors import InputError
from data_utils.imaging.images import read_bgr
from data_utils.lists import check_sizes, find_hr_partners, label_path, read_labels_if_needed, read_split_list

# Prepared frames by index: read from their files, or kept in memory once they were decoded.
#
# The memory is anonymous, never a file and never a pickle, and is shared with loader processes forked afterwards: what
# one of them decodes, all have. Legend: frames are uint8 RGB [H, W, 3].


AUTO_SHARE = 4  # `auto` takes at most a quarter of the free memory


class Frames(Protocol):
    """Frames by index."""

    def __getitem__(self, index: int) -> Image:
        """Return frame `index`, not to be written to; raises UnreadableImage (an InputError) naming the file."""
        ...


class FrameFiles:
    """Frames decoded from their files every time."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths

    def __getitem__(self, index: int) -> Image:
        return cv2.cvtColor(read_bgr(self.paths[index]).bgr, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


class CachedFrames:
    """Frames of `side` x `side` pixels, decoded when first asked for and kept."""

    def __init__(self, files: FrameFiles, side: int) -> None:
        self._files = files
        n_frames, n_bytes = len(files.paths), frame_bytes(files, side)
        memory = mmap.mmap(-1, n_bytes + n_frames)  # taken from the system page by page, as frames come in
        self._frames = np.frombuffer(memory, np.uint8, n_bytes).reshape(n_frames, side, side, 3)
        self._known = np.frombuffer(memory, np.uint8, n_frames, offset=n_bytes)

    def __getitem__(self, index: int) -> Image:
        if not self._known[index]:
            # Two processes may do this at once: both write the same bytes, and the mark is set when they are there.
            self._frames[index] = self._files[index]
            self._known[index] = 1
        return self._frames[index]

    def __reduce__(self) -> tuple[type[FrameFiles], tuple[Sequence[Path]]]:
        """Travel to a spawned process, which cannot share the memory, as a plain reader of the files."""
        return FrameFiles, (self._files.paths,)


def open_frames(mode: Literal["auto", "ram", "none"], sets: Sequence[tuple[Sequence[Path], int]]) -> list[Frames]:
    """Return the frames of several sets of (paths, side in pixels), all cached or none, as `mode` (run.cache) says."""
    files = [FrameFiles(paths) for paths, _ in sets]
    needed = sum(frame_bytes(each, side) for each, (_, side) in zip(files, sets, strict=True))
    if mode == "none" or (mode == "auto" and needed * AUTO_SHARE > free_memory()):
        return list(files)
    return [CachedFrames(each, side) for each, (_, side) in zip(files, sets, strict=True)]


def frame_bytes(files: FrameFiles, side: int) -> int:
    """Return the bytes that all frames take when decoded."""
    return 3 * side * side * len(files.paths)


def free_memory() -> int:
    """Return the bytes that may still be taken, by the system's and the container's count; 0 where neither is known."""
    meminfo = Path("/proc/meminfo")
    if not meminfo.is_file():
        return 0
    fields = dict(line.split(":", 1) for line in meminfo.read_text(encoding="utf-8").splitlines())
    available = int(fields.get("MemAvailable", "0 kB").split()[0]) * 1024
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.is_file() and used.is_file():
        most, taken = (path.read_text(encoding="utf-8").strip() for path in (limit, used))
        if most != "max":
            available = min(available, max(int(most) - int(taken), 0))
    return available


# What L_SR may compare with instead of the HR frame, to ask whether it is the picture that helps or any second task.
#
# upsampled   the HR frame reduced to the LR side and enlarged again: what a source without real HR detail would give.
# other       the HR frame of another training frame: pictures alike, but not the one that is seen.
# random      noise, drawn anew for every sample: nothing to learn but its mean.


def other_index(index: int, n_frames: int, rng: np.random.Generator) -> int:
    """Draw a frame other than `index` out of `n_frames`; of a single one, that one."""
    return int(index + rng.integers(1, max(n_frames, 2))) % n_frames


def _upsampled(hr_image: Image, _: np.random.Generator) -> Image:
    height, width = hr_image.shape[:2]
    small = cv2.resize(hr_image, (width // 2, height // 2), interpolation=cv2.INTER_LINEAR)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.uint8, copy=False)


def _other(other_hr_image: Image, _: np.random.Generator) -> Image:
    return other_hr_image.copy()


def _random(hr_image: Image, rng: np.random.Generator) -> Image:
    return rng.integers(0, 256, hr_image.shape, dtype=np.uint8)


# loss.sr_target -> (HR frame [2S, 2S, 3] uint8, generator) -> target of the same shape; `other` is given another frame
SR_TARGETS: dict[str, Callable[[Image, np.random.Generator], Image]] = {
    "upsampled": _upsampled,
    "other": _other,
    "random": _random,
}


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
