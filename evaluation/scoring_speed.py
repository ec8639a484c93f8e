"""How fast scoring is: `python -m evaluation.scoring_speed` times AP beside pycocotools, in turn, and the bootstrap.

AP: 100,000 detections on 5,000 frames, the same boxes given to both; pycocotools' time leaves out building its index.
Bootstrap: 2,000 resamples of the patients of 171 frames with 300 detections each, all headline numbers.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from data_utils.command_line import whole_from
from data_utils.errors import InputError, run_command

N_FRAMES, N_DETECTIONS, N_CLASSES = 5000, 20, 3
STUDY_FRAMES, STUDY_DETECTIONS, STUDY_PATIENTS, RESAMPLES = 171, 300, 95, 2000


def draw(rng: Any, n_frames: int, n_detections: int, nc: int, n_patients: int) -> list[Any]:
    """Draw frames with one to five true boxes and `n_detections` detections, half of them near a true box."""
    import numpy as np

    from data_utils.records import Detections, FrameResult

    results = []
    for frame in range(n_frames):
        n_true = int(rng.integers(1, 6))
        corners, sizes = rng.random((n_true, 2)) * 500, rng.random((n_true, 2)) * 120 + 8
        truth = np.concatenate([corners, corners + sizes], axis=1)
        classes, nearest = rng.integers(0, nc, n_true), rng.integers(0, n_true, n_detections)
        found = truth[nearest] + rng.normal(0, 6, (n_detections, 4))
        stray = rng.random(n_detections) < 0.5
        corners, sizes = rng.random((n_detections, 2)) * 500, rng.random((n_detections, 2)) * 120 + 8
        found[stray] = np.concatenate([corners, corners + sizes], axis=1)[stray]
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
        found_classes = np.where(stray, rng.integers(0, nc, n_detections), classes[nearest])
        patient = f"p{frame % n_patients}"
        detections = Detections(found, rng.random(n_detections), found_classes)
        results.append(
            FrameResult(f"f{frame}", detections, truth, classes, (640, 640), (640, 640), patient, group=patient)
        )
    return results


def time_ap(results: Sequence[Any], nc: int, rounds: int) -> dict[str, Any]:
    """Time both in turn; returns medians in seconds, their ratio, and how far the two AP50 lie apart."""
    from evaluation.scoring.ap import average_precision

    sides: dict[str, Callable[[], float]] = {
        "ours": lambda: average_precision(results, nc).ap or 0.0,
        "pycocotools": _pycocotools(results, nc),
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    values = {}
    for _ in range(rounds):
        for name, side in sides.items():
            started = time.perf_counter()
            values[name] = side()
            seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    return {
        "n_frames": len(results),
        "n_detections": sum(len(result.detections) for result in results),
        "seconds": {name: round(value, 2) for name, value in medians.items()},
        "rounds": rounds,
        "pycocotools_over_ours": round(medians["pycocotools"] / medians["ours"], 2),
        "ap50_difference": abs(values["ours"] - values["pycocotools"]),
    }


def time_bootstrap(results: Sequence[Any], rounds: int) -> dict[str, Any]:
    """Time all headline numbers with their intervals, matching included."""
    from data_utils.config.sections import EvalSection
    from evaluation.statistics.headline import Scoring, headline_intervals

    scoring = Scoring(("lesion",), 0.5, 0.001, 640, EvalSection(resamples=RESAMPLES))
    seconds, headline, n_units = [], {}, 0
    for _ in range(rounds):
        started = time.perf_counter()
        headline, n_units = headline_intervals(results, scoring, 0.5)
        seconds.append(time.perf_counter() - started)
    return {"n_frames": len(results), "n_patients": n_units, "n_resamples": RESAMPLES, "n_numbers": len(headline),
            "seconds": round(statistics.median(seconds), 2)}  # fmt: skip


def _pycocotools(results: Sequence[Any], nc: int) -> Callable[[], float]:
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise InputError(f"the comparison needs pycocotools ({error}); install it") from None
    truth, found = [], []
    for image, result in enumerate(results):
        for boxes, classes, scores in (
            (result.truth_xyxy, result.truth_class_ids, None),
            (result.detections.boxes_xyxy.astype(float), result.detections.class_ids, result.detections.scores),
        ):
            for row, ((x1, y1, x2, y2), k) in enumerate(zip(boxes.tolist(), classes.tolist(), strict=True)):
                box = {"image_id": image, "category_id": k + 1, "bbox": [x1, y1, x2 - x1, y2 - y1]}
                if scores is None:
                    truth.append(box | {"id": len(truth) + 1, "area": (x2 - x1) * (y2 - y1), "iscrowd": 0})
                else:
                    found.append(box | {"score": float(scores[row])})
    with contextlib.redirect_stdout(io.StringIO()):
        coco_truth: Any = COCO()
        categories = [{"id": k + 1, "name": str(k)} for k in range(nc)]
        images = [{"id": image} for image in range(len(results))]
        coco_truth.dataset = {"images": images, "annotations": truth, "categories": categories}
        coco_truth.createIndex()
        coco_found = coco_truth.loadRes(found)

    def run() -> float:
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation = COCOeval(coco_truth, coco_found, "bbox")
            evaluation.params.maxDets = [1, 10, 300]
            evaluation.evaluate()
            evaluation.accumulate()
        return float(evaluation.eval["precision"][0, :, :, 0, -1].mean())

    return run


def main(argv: Sequence[str] | None = None) -> None:
    """Time, print, and save if asked."""
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.scoring_speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python -m evaluation.scoring_speed --rounds 1",
    )
    parser.add_argument("--rounds", type=whole_from(1), default=3, help="turns of each side (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--save", type=Path, metavar="JSON", help="also write the numbers there")
    arguments = parser.parse_args(sys.argv[1:] if argv is None else argv)
    import numpy as np

    from data_utils.files import write_text

    rng = np.random.default_rng(arguments.seed)
    ap = time_ap(draw(rng, N_FRAMES, N_DETECTIONS, N_CLASSES, N_FRAMES), N_CLASSES, arguments.rounds)
    study = time_bootstrap(draw(rng, STUDY_FRAMES, STUDY_DETECTIONS, 1, STUDY_PATIENTS), arguments.rounds)
    numbers = {"seed": arguments.seed, "ap": ap, "bootstrap": study}
    print(json.dumps(numbers, indent=1))
    if arguments.save:
        write_text(arguments.save, json.dumps(numbers, indent=1) + "\n")


if __name__ == "__main__":
    run_command(main)
