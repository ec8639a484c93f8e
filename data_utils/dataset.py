"""The training data: pairs of LR and HR frames with their boxes, and the loader that batches them.

Every random choice comes from (run seed, epoch, index), so a sample does not depend on the number of loader processes.

Legend: B batch, N boxes, S = imgsz_lr and 2S = imgsz_hr pixels. Images are RGB, boxes (class, cx, cy, w, h) over the
frame's sides. Image tensors are laid out channels-last in memory (as they are decoded), whatever their shape says.
"""

from __future__ import annotations

import functools
import multiprocessing
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NotRequired, Protocol, TypedDict

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate, get_worker_info

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
from data_utils.errors import InputError, ResumableError
from data_utils.frame_cache import open_frames
from data_utils.processes import loader_processes
from data_utils.splitting.split_list import check_sizes, find_hr_partners, label_path, read_all_labels, read_split_list

__all__ = [
    "Batch", "EpochFrames", "EpochLoader", "SREYOLODataset", "Sample", "collate", "label_path", "make_loader",
    "read_split_list",
]  # fmt: skip

IDLE = -1  # on the loader's board: this process has read no frame yet


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


class EpochFrames(Protocol):
    """What `EpochLoader` asks of a data set, beside samples by index: see the methods of `SREYOLODataset`."""

    @property
    def image_paths(self) -> Sequence[Path]: ...
    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Any: ...
    def set_epoch(self, epoch: int) -> None: ...
    def report_progress_to(self, progress: Tensor) -> None: ...


class SREYOLODataset(Dataset[Sample]):
    """The prepared frames of a split list, augmented when `augment` is set.

    txt_file: list of LR images. hr_dir: folder of HR images with the same stems, or None for items without `hr_image`.
    config: the run's settings; without it they are read from `config_path`. uint8: images stay uint8 in [0, 255], a
    quarter of the bytes, to become float on the device. repeats: the list may name an image several times; each time is
    a sample with an augmentation of its own, while the image is checked, read and kept in memory once.
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
    ) -> None:
        self.config = load_config(config_path) if config is None else config
        self.augment = augment
        self.uint8 = uint8
        data = self.config.dataset
        self.image_paths = read_split_list(txt_file, repeats=repeats)
        frames = list(dict.fromkeys(self.image_paths))
        labels = read_all_labels(frames, data.nc, allow_background=data.allow_background)
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
            sample["hr_image"] = self._tensor(hr_image)
        return sample

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


class EpochOrder(Sampler[int]):
    """The order of an epoch: the list's own, or a permutation drawn from (seed, epoch) and nothing else."""

    def __init__(self, n_samples: int, shuffle: bool, seed: int) -> None:
        self.n_samples = n_samples
        self.shuffle = shuffle
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return self.n_samples

    def __iter__(self) -> Iterator[int]:
        if not self.shuffle:
            return iter(range(self.n_samples))
        return iter(np.random.default_rng([self.seed, self.epoch]).permutation(self.n_samples).tolist())


class EpochLoader(DataLoader[Any]):
    """A DataLoader whose order and augmentation follow `set_epoch`, and whose failures name the frame."""

    def __init__(self, dataset: EpochFrames, order: EpochOrder, *, workers: int, **options: Any) -> None:
        self._frames = dataset
        self._order = order
        self._board = torch.full((max(workers, 1),), IDLE, dtype=torch.int64).share_memory_()
        super().__init__(
            dataset,  # pyright: ignore[reportArgumentType] as every map-style data set, by its methods
            sampler=order,
            num_workers=workers,
            persistent_workers=workers > 0,
            worker_init_fn=functools.partial(_start_worker, self._board) if workers else None,
            **options,
        )

    def set_epoch(self, epoch: int) -> None:
        """Choose the order and the augmentation of `epoch` (from 0); to be called before iterating."""
        self._order.epoch = epoch
        self._frames.set_epoch(epoch)

    def __iter__(self) -> Iterator[Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Yield the epoch's batches, a `Batch` each for frames with their boxes.

        Raises InputError in one line for a frame that cannot be read, and ResumableError naming the frames in work when
        a loader process died (killed for memory, shared memory full).
        """
        try:
            yield from self._started()
        except InputError as error:
            raise InputError(_last_line(str(error))) from None
        except (RuntimeError, OSError, EOFError) as error:
            # OSError and EOFError: a batch was on its way when the process that holds it died.
            if isinstance(error, RuntimeError) and not str(error).startswith("DataLoader worker"):
                raise
            in_work = [str(self._frames.image_paths[index]) for index in self._board.tolist() if index != IDLE]
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ResumableError(
                f"a loader process died ({reason}) while it read {' or '.join(in_work)}; "
                "look at the file, or lower run.workers or batch_size if memory ran out"
            ) from error

    def _started(self) -> Iterator[Any]:
        """Start the epoch, and take back the signal handler with which torch raises a process's death.

        It would raise anywhere in the main program. Without it the death is found here, where batches are fetched.
        """
        in_main_thread = threading.current_thread() is threading.main_thread()
        if not self.num_workers or not in_main_thread or not hasattr(signal, "SIGCHLD"):  # Windows has none
            return super().__iter__()
        handler = signal.getsignal(signal.SIGCHLD)
        batches = super().__iter__()
        if handler is not None:
            signal.signal(signal.SIGCHLD, handler)
        return batches


def make_loader(
    dataset: EpochFrames,
    batch_size: int,
    *,
    workers: int | Literal["auto"],
    shuffle: bool,
    seed: int,
    drop_last: bool = False,
    collate_fn: Callable[[list[Any]], Any] = collate,
) -> EpochLoader:
    """Make the loader of a data set; `workers` processes (see `loader_processes`), 0 for none.

    The order of a shuffled epoch follows from (seed, epoch). Torch's global random state is neither used nor changed.
    """
    workers = loader_processes(workers, -(-len(dataset) // batch_size))
    # Forked processes share the decoded frames; elsewhere (macOS, Windows) forking is unsafe or unknown.
    can_fork = sys.platform == "linux" and "fork" in multiprocessing.get_all_start_methods()
    return EpochLoader(
        dataset,
        EpochOrder(len(dataset), shuffle, seed),
        workers=workers,
        batch_size=batch_size,
        drop_last=drop_last,
        collate_fn=collate_fn,
        multiprocessing_context="fork" if workers and can_fork else None,
        generator=torch.Generator().manual_seed(seed),
        pin_memory=torch.cuda.is_available(),
    )


def _start_worker(board: Tensor, worker_id: int) -> None:
    cv2.setNumThreads(0)  # processes are the parallelism; OpenCV's thread pool does not survive a fork
    info = get_worker_info()
    assert info is not None
    info.dataset.report_progress_to(board[worker_id : worker_id + 1])  # type: ignore[attr-defined]


def _last_line(message: str) -> str:
    """Return the error's own line out of the traceback that a loader process sends, any other message as it is."""
    if not message.startswith("Caught "):
        return message
    return message.strip().splitlines()[-1].partition(": ")[2]
