"""Every backend and precision a checkpoint can run in here, as files."""

from __future__ import annotations

import csv
import importlib.util
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_utils.errors import InputError
from deployment.exporting.checks import ParityError
from deployment.pipeline import ordered_map
from deployment.runtimes.exported import ExportedBackend
from deployment.runtimes.registry import open_backend
from models.predictor import Predictor


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
    from models.checkpoint import load_model

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


# Speed of one backend: a frame as soon as possible, and many frames a second.
#
# Both take decoded frames and give detections: resize, network, suppression.


WARM_UP = 3


@dataclass(frozen=True)
class Speed:
    """Milliseconds of one frame, all cores on it; network_ms: of these the backend alone. fps: of many at once."""

    median_ms: float
    p95_ms: float
    network_ms: float
    fps: float
    n_frames: int


def measure(variant: Variant, frames: Sequence[NDArray[np.uint8]], n_frames: int) -> Speed:
    """Time `n_frames` frames, going round `frames`, in latency and then in throughput mode."""
    predictor = Predictor(open_backend(variant.path, "cpu", precision=variant.torch_precision))
    turns = [frames[k % len(frames)] for k in range(n_frames)]
    for bgr in turns[:WARM_UP]:
        predictor.predict(bgr)
    whole, network = [], []
    for bgr in turns:
        whole.append(_seconds(lambda bgr=bgr: predictor.predict(bgr)))
        image = predictor.input_of(bgr)[None]
        network.append(_seconds(lambda image=image: predictor.backend(np.ascontiguousarray(image))))
    many = Predictor(open_backend(variant.path, "cpu", throughput=True, precision=variant.torch_precision))
    list(ordered_map(many.predict, iter(turns[:WARM_UP]), many.backend.parallel))
    total = _seconds(lambda: list(ordered_map(many.predict, iter(turns), many.backend.parallel)))
    return Speed(
        median_ms=1000 * float(np.median(whole)),
        p95_ms=1000 * float(np.percentile(whole, 95)),
        network_ms=1000 * float(np.median(network)),
        fps=n_frames / total,
        n_frames=n_frames,
    )


def size_of(path: Path) -> int:
    """Return the bytes of a file, an OpenVINO model's weights included."""
    beside = path.with_suffix(".bin")
    extra = beside.stat().st_size if path.suffix == ".xml" and beside.is_file() else 0
    return path.stat().st_size + extra


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


# AP50 against frames per second, drawn from the saved table.


def draw(table_csv: Path, out_png: Path) -> None:
    """Draw one point for each backend and precision that was measured; redrawing needs nothing but the table."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with table_csv.open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["fps"] and row["ap50"]]
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    markers = {"fp32": "o", "fp16": "s", "bf16": "D", "int8": "^"}
    for position, row in enumerate(rows):
        x, y = float(row["fps"]), float(row["ap50"])
        axes.plot(x, y, markers.get(row["precision"], "x"), markersize=8)
        axes.annotate(f"{row['backend']} {row['precision']}", (x, y), textcoords="offset points", fontsize=8,
                      xytext=(6, 5 + 11 * (position % 4)))  # steps, so that near points can be told apart
    axes.set(xlabel="frames per second (resize, network, NMS)", ylabel="AP50 on the validation list")
    axes.grid(alpha=0.3)
    axes.margins(x=0.18, y=0.18)
    out_png.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(str(out_png), dpi=110)
