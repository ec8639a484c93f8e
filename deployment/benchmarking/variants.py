"""Every backend and precision a checkpoint can run in here, as files."""

from __future__ import annotations

import importlib.util
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from data_utils.errors import InputError
from deployment.backends import open_backend
from deployment.exporting.checks import ParityError
from deployment.runtimes.exported import ExportedBackend


@dataclass(frozen=True)
class Variant:
    """A backend at a precision: its file, or the reason why there is none."""

    backend: str
    precision: str
    path: Path
    missing: str = ""

    @property
    def name(self) -> str:
        """Such as "onnx int8"."""
        return f"{self.backend} {self.precision}"

    @property
    def torch_precision(self) -> str:
        """The precision to open the file with: a checkpoint computes in what it is told, a file in its own."""
        return self.precision if self.backend == "torch" else "fp32"


EXPORTED = [("torchscript", "fp32"), ("onnx", "fp32"), ("onnx", "fp16"), ("onnx", "int8"),
            ("openvino", "fp32"), ("openvino", "fp16"), ("openvino", "int8")]  # fmt: skip
NEEDS = {("openvino", "fp32"): "openvino", ("openvino", "fp16"): "openvino", ("openvino", "int8"): "nncf"}


def make_variants(
    weights: Path, folder: Path, calib: int, frames: Path | None, wanted: Collection[tuple[str, str]] | None = None
) -> list[Variant]:
    """Export `weights` in every way, or in those `wanted`, into `folder`; what cannot be made says why.

    A file of the same weights that lies there from an earlier call is taken as it is.
    """
    from models import hardware

    variants = [Variant("torch", "fp32", weights)]
    missing = "" if hardware.cpu_has_bf16() else "this CPU has no bf16 instructions"
    variants.append(Variant("torch", "bf16", weights, missing))
    chosen = [kind for kind in EXPORTED if wanted is None or kind in wanted]
    return variants + [_exported(weights, folder, *kind, calib=calib, frames=frames) for kind in chosen]


def _exported(weights: Path, folder: Path, kind: str, precision: str, calib: int, frames: Path | None) -> Variant:
    from deployment.export import ExportSettings, export_model
    from models.weights import load_model

    package = NEEDS.get((kind, precision), "onnx")
    settings = ExportSettings(
        kind, half=precision == "fp16", int8=precision == "int8", calib=calib, frames=frames
    )
    path = folder / f"{weights.stem}_{precision}{settings.ending}"
    if importlib.util.find_spec(package) is None:
        return Variant(kind, precision, path, f"{package} is not installed")
    if path.is_file() and _weights_of(path) == load_model(weights)[2]["weights_sha256"]:
        return Variant(kind, precision, path)
    try:
        export_model(weights, path, settings)
    except (InputError, ParityError) as error:
        return Variant(kind, precision, path, str(error))
    return Variant(kind, precision, path)


def _weights_of(path: Path) -> str:
    backend = open_backend(path, "cpu")
    return backend.metadata["weights_sha256"] if isinstance(backend, ExportedBackend) else ""
