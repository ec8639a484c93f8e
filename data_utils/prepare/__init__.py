"""Raw frames -> everything training reads: filtered LR/HR copies, labels, manifest, filter log, split lists.

    python -m data_utils.prepare --config configs/dataset.yaml [key=value ...]

A rerun does only what changed. Interrupted, it leaves no half-written file and goes on when run again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from data_utils.config.sections import Config
    from data_utils.prepare.steps import PrepareReport


def prepare(
    config: Config, *, workers: int | None = None, progress: bool = True, preview: bool = False
) -> PrepareReport:
    """Prepare the data set that `config.dataset` describes; `workers` is the number of processes, by default all cores.

    `preview` also writes an HTML page beside the filter log: every score's distribution, its threshold, and the frames
    just on both sides. Where dataset.raw is a zip archive, it is unpacked below dataset.processed first.
    Raises InputError for bad input (nothing is ever written into the raw folder) and ResumableError when an output
    folder cannot be written. Scripts that call this need the usual `if __name__ == "__main__":` guard.
    """
    # Here, so that --help does not wait for OpenCV and pydantic.
    from data_utils.prepare.steps import Preparation, with_raw_folder

    return Preparation(with_raw_folder(config)).run(workers=workers, progress=progress, preview=preview)
