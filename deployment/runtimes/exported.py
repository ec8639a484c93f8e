"""What backends of exported files share: checks, batches, units."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from data_utils.errors import InputError
from data_utils.types import FloatArray
from deployment.runtimes.metadata import Metadata, check_images, first_line


class ExportedBackend:
    """A `Backend` over a file that export.py wrote; a runtime adds opening it and `_run`."""

    errors: tuple[type[Exception], ...]  # what the runtime raises about an input

    def __init__(self, path: Path, meta: Metadata, parallel: int) -> None:
        self.path, self.meta = path, meta
        self.input_size, self.names, self.crop_border = meta.input_size, meta.names, meta.crop_border
        self.parallel = parallel

    @property
    def metadata(self) -> Mapping[str, str]:
        """The file's own entries, as text."""
        return self.meta.texts

    def __call__(self, images: FloatArray) -> FloatArray:
        """Detect in float32 [B, 3, S, S]; returns float32 [B, 4+nc, A] with boxes in input pixels."""
        return self.meta.to_raw(self.run_graph(images))

    def run_graph(self, images: FloatArray) -> FloatArray:
        """Return what the graph itself gives, float32; a graph of a fixed batch is called as often as it takes.

        Raises InputError for a shape or type that the file does not take.
        """
        check_images(images, self.input_size)
        step = self.meta.batch or len(images)
        try:
            parts = [self._run(images[start : start + step]) for start in range(0, len(images), step)]
        except self.errors as error:
            shape = list(images.shape)
            raise InputError(f"{self.path}: refused a batch of shape {shape}: {first_line(error)}") from None
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _run(self, images: FloatArray) -> FloatArray:
        raise NotImplementedError
