"""The loader that batches frames: their order, their processes, and whose fault it is when one dies.

The order of an epoch and every sample's augmentation follow from (seed, epoch, index) alone, so neither the number of
loader processes nor the number of training processes changes what is learnt from.
"""

from __future__ import annotations

import functools
import multiprocessing
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler, get_worker_info

from data_utils.dataset import collate
from data_utils.errors import InputError, ResumableError
from data_utils.processes import loader_processes

IDLE = -1  # on the loader's board: this process has read no frame yet


class Shard(NamedTuple):
    """Which of several training processes reads: its number from 0, and how many there are."""

    rank: int
    world_size: int


ALONE = Shard(0, 1)

class EpochFrames(Protocol):
    """What `EpochLoader` asks of a data set, beside samples by index: see the methods of `SREYOLODataset`."""

    @property
    def image_paths(self) -> Sequence[Path]: ...
    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Any: ...
    def set_epoch(self, epoch: int) -> None: ...
    def report_progress_to(self, progress: Tensor) -> None: ...


class EpochBatches(Sampler[list[int]]):
    """The batches of an epoch: samples in the list's order, or in one drawn from (seed, epoch) and nothing else.

    batch_size: of the whole batch, over all training processes; this process gets every `world_size`-th of its samples.
    even: leave out a last batch that has none for some process; they would wait for each other. drop_last: leave out
    any that is not full.
    """

    def __init__(
        self, n_samples: int, batch_size: int, shuffle: bool, seed: int, shard: Shard, even: bool, drop_last: bool
    ) -> None:
        self.n_samples, self.batch_size, self.shuffle, self.seed = n_samples, batch_size, shuffle, seed
        self.shard = shard
        self.least = batch_size if drop_last else shard.world_size if even else shard.rank + 1
        self.epoch = 0

    def __len__(self) -> int:
        return self.n_samples // self.batch_size + (self.n_samples % self.batch_size >= self.least)

    def __iter__(self) -> Iterator[list[int]]:
        order = self._order()
        for batch in range(len(self)):
            whole = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            yield whole[self.shard.rank :: self.shard.world_size]

    def _order(self) -> list[int]:
        if not self.shuffle:
            return list(range(self.n_samples))
        return np.random.default_rng([self.seed, self.epoch]).permutation(self.n_samples).tolist()


class EpochLoader(DataLoader[Any]):
    """A DataLoader whose order and augmentation follow `set_epoch`, and whose failures name the frame."""

    def __init__(self, dataset: EpochFrames, batches: EpochBatches, *, workers: int, **options: Any) -> None:
        self._frames = dataset
        self._batches = batches
        self._board = torch.full((max(workers, 1),), IDLE, dtype=torch.int64).share_memory_()
        self._then: int | None = None
        self._ahead: tuple[int, Iterator[Any]] | None = None  # an epoch that is being read, and its batches
        super().__init__(
            dataset,  # pyright: ignore[reportArgumentType] as every map-style data set, by its methods
            batch_sampler=batches,
            num_workers=workers,
            persistent_workers=workers > 0,
            worker_init_fn=functools.partial(_start_worker, self._board) if workers else None,
            **options,
        )

    def set_epoch(self, epoch: int, then: int | None = None) -> None:
        """Choose the order and the augmentation of `epoch` (from 0); to be called before iterating.

        then: the epoch that loader processes begin to read as soon as this one is read, while it is trained on and
        validated, so that its first batch need not be waited for.
        """
        self._then = then
        if self._ahead is None or self._ahead[0] != epoch:
            self._choose(epoch)

    def _choose(self, epoch: int) -> None:
        self._ahead, self._batches.epoch = None, epoch
        self._frames.set_epoch(epoch)

    def __iter__(self) -> Iterator[Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Yield the epoch's batches, a `Batch` each for frames with their boxes.

        Raises InputError in one line for a frame that cannot be read, and ResumableError naming the frames in work when
        a loader process died (killed for memory, shared memory full).
        """
        try:
            begun, self._ahead = self._ahead, None
            yield from self._started() if begun is None else begun[1]
            if self._then is not None and self.num_workers:
                self._choose(self._then)
                self._ahead = self._then, self._started()
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
    shard: Shard = ALONE,
) -> EpochLoader:
    """Make the loader of a data set; `workers` processes (see `loader_processes`), 0 for none.

    The order of a shuffled epoch follows from (seed, epoch). Torch's global random state is neither used nor changed.
    batch_size: over all training processes, of which `shard` is one; with several of them, a shuffled epoch leaves out
    a last batch that is too small to give each a sample.
    """
    workers = loader_processes(workers, -(-len(dataset) // batch_size))
    # Forked processes share the decoded frames; elsewhere (macOS, Windows) forking is unsafe or unknown.
    can_fork = sys.platform == "linux" and "fork" in multiprocessing.get_all_start_methods()
    return EpochLoader(
        dataset,
        EpochBatches(len(dataset), batch_size, shuffle, seed, shard, even=shuffle, drop_last=drop_last),
        workers=workers,
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
