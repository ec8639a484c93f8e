"""Speed, size and accuracy of every backend and precision, and our inference beside ultralytics' `predict`."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_utils.errors import run_command

if TYPE_CHECKING:
    from deployment.benchmark.measure import Variant

COLUMNS = ("backend", "precision", "median_ms", "p95_ms", "network_ms", "fps", "mb", "ap50", "agreement", "note")


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m deployment.benchmark",
        description=__doc__,
        epilog="example: python -m deployment.benchmark backends --weights best.pt --save results/backends",
    )
    parser.add_argument("what", choices=("backends", "ultralytics"), help="all backends, or ours beside ultralytics'")
    parser.add_argument("--weights", type=Path, required=True, help="checkpoint")
    parser.add_argument("--save", type=Path, required=True, help="folder for the table (CSV, PNG) and its JSON")
    parser.add_argument("--frames", type=Path, help="folder of frames to time and compare on; default: validation list")
    parser.add_argument("--files", type=Path, help="folder to keep the exported files in, and to take them from")
    parser.add_argument("--n-frames", type=int, default=100, help="frames timed (default 100)")
    parser.add_argument("--calib", type=int, default=100, help="frames to calibrate INT8 on (default 100)")
    parser.add_argument("--split", type=int, default=1, help="split of the checkpoint's data (default 1)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side beside ultralytics (default 5)")
    parser.add_argument("--clip-frames", type=int, default=150, help="length of the drawn 720p clip (default 150)")
    return parser.parse_args()


def main() -> None:
    """Measure, print the table, write it."""
    arguments = parse_arguments()
    from models.openmp import limit_spinning

    limit_spinning()  # before torch is imported
    from deployment.benchmark.measure import make_variants

    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.files or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        beside = arguments.what == "ultralytics"
        wanted = BESIDE if beside else None
        variants = make_variants(arguments.weights, folder, arguments.calib, arguments.frames, wanted)
        (measure_beside_ultralytics if beside else measure_backends)(arguments, variants, Path(scratch))


def measure_backends(arguments: argparse.Namespace, variants: list[Variant], _folder: Path) -> None:
    """Fill a row for each variant, and draw AP50 against frames per second."""
    from data_utils.files import write_csv
    from deployment.benchmark.measure import draw, measure, size_of
    from deployment.exporting.checks import ap50_of, detections_agree, open_part
    from deployment.exporting.int8 import find_frames, read_frames, spread
    from deployment.runtimes.registry import open_backend
    from models.checkpoint import load_model
    from models.predictor import DEFAULT_CONF, DEFAULT_IOU

    config = load_model(arguments.weights)[1]
    pictures = read_frames(spread(find_frames(config, arguments.split, "val", arguments.frames), 64))
    validation = open_part(config, arguments.split, "val")
    reference = open_backend(arguments.weights, "cpu")
    rows: list[dict[str, Any]] = []
    for variant in variants:
        row: dict[str, Any] = dict.fromkeys(COLUMNS, "")
        rows.append(row | {"backend": variant.backend, "precision": variant.precision, "note": variant.missing})
        if variant.missing:
            continue
        speed = measure(variant, pictures, arguments.n_frames)
        backend = open_backend(variant.path, "cpu", precision=variant.torch_precision)
        same = detections_agree(reference, backend, pictures, DEFAULT_CONF, DEFAULT_IOU)
        ap50 = None if validation is None else ap50_of(backend, validation, config)
        figures = {"median_ms": speed.median_ms, "p95_ms": speed.p95_ms, "network_ms": speed.network_ms,
                   "fps": speed.fps, "mb": size_of(variant.path) / 1e6}  # fmt: skip
        rows[-1] |= {key: round(value, 2) for key, value in figures.items()}
        rows[-1] |= {"ap50": "" if ap50 is None else round(ap50, 4), "agreement": round(same.share, 4)}
        print(_shown(rows[-1]), file=sys.stderr)
    write_csv(arguments.save / "backends.csv", COLUMNS, rows)
    draw(arguments.save / "backends.csv", arguments.save / "backends.png")
    _save_setting(arguments, "backends", {"input_px": config.imgsz_lr, "frames_compared": len(pictures)})
    print("\n".join(_shown(row) for row in rows))
    print(f"written: {arguments.save / 'backends.csv'}, .png and .json")


def measure_beside_ultralytics(arguments: argparse.Namespace, variants: list[Variant], folder: Path) -> None:
    """Let ours and ultralytics annotate the same drawn clip in turn; print and save the ratios of medians."""
    from data_utils.files import write_csv
    from deployment.benchmarking.clip import write_clip
    from deployment.benchmarking.side_by_side import compare_sides, ratio_rows, sides_of

    clip = write_clip(folder / "clip.mp4", arguments.clip_frames)
    ours = [(v.name, v.path) for v in variants if not v.missing and (v.backend, v.precision) in BESIDE]
    fps = compare_sides(sides_of(ours, arguments.weights), clip, arguments.rounds)
    rows = [
        {"side": name, "fps": round(statistics.median(values), 2), "lowest": round(min(values), 2),
         "highest": round(max(values), 2), "rounds": len(values)}
        for name, values in fps.items()
    ]  # fmt: skip
    ratios = ratio_rows(fps)
    write_csv(arguments.save / "beside_ultralytics.csv", tuple(rows[0]), rows)
    write_csv(arguments.save / "beside_ultralytics_ratios.csv", tuple(ratios[0]), ratios)
    _save_setting(arguments, "beside_ultralytics", {"clip_frames": arguments.clip_frames, "clip": "1280x720 H.264"})
    for row in rows:
        print(f"{row['side']:<40}{row['fps']:>8.1f} frames/s ({row['lowest']}, {row['highest']})")
    for row in ratios:
        print(f"{row['ours']:<20}/ {row['theirs']:<40}{row['ratio']:>7.2f}")


BESIDE = {("torch", "fp32"), ("torch", "bf16"), ("onnx", "fp32"), ("openvino", "fp32"), ("openvino", "int8")}


def _shown(row: dict[str, Any]) -> str:
    return "  ".join(f"{row[name]!s:<12}" for name in COLUMNS).rstrip()


def _save_setting(arguments: argparse.Namespace, name: str, extra: dict[str, Any]) -> None:
    """Write what the figures were taken on."""
    import torch

    from data_utils.files import write_text
    from evaluation.cost import describe_machine
    from models.checkpoint import load_model

    meta = load_model(arguments.weights)[2]
    content = {**describe_machine(torch.device("cpu"), "deployment.benchmark"), **extra, "weights": meta}
    write_text(arguments.save / f"{name}.json", json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    run_command(main)
