"""Do intervals hold what they promise? `python -m evaluation.coverage_study` simulates studies whose truth is known.

Each study draws patients of differing difficulty, one to three frames of each and lesions on most of them, and two
detectors that are equal in distribution. The truth is what a detector reaches over very many patients. Counted over
all studies: how often each 95 % interval holds the truth, and how often the two detectors are called different.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from data_utils.command_line import whole_from
from data_utils.errors import run_command

PATIENTS = 95  # of the paper's test set
MEASURES = ("ap50", "ap50_small", "ap50_area", "map50_95", "recall", "fp_per_frame", "froc_mean")
COLUMNS = ("measure", "truth", "percentile_cover", "bca_cover", "bca_below", "bca_above", "called_different", "studies",
           "monte_carlo_se", "patients", "resamples", "seed")  # fmt: skip
_THRESHOLD = 0.5


@dataclass(frozen=True)
class Study:
    """What one simulated study gave of one measure."""

    measure: str
    percentile: tuple[float, float]
    bca: tuple[float, float]
    difference: tuple[float, float]


def simulate(rng: Any, n_patients: int, n_models: int = 2) -> list[list[Any]]:
    """Draw patients, frames and lesions, and what `n_models` detectors equal in distribution find; results by model.

    A patient's difficulty moves the scores of all hits in him, the number of false alarms, and the lesions' size. Hits
    lie on the lesion but for a small shift, so that their IoU spreads between about 0.4 and 1.
    """
    import numpy as np

    from data_utils.records import Detections, FrameResult

    models: list[list[Any]] = [[] for _ in range(n_models)]
    for patient in range(n_patients):
        difficulty = rng.normal()
        for frame in range(rng.integers(1, 4)):
            truth = _lesions(rng, difficulty)
            for results in models:
                boxes, scores = _found(rng, truth, difficulty)
                results.append(FrameResult(
                    stem=f"{patient}_{frame}",
                    detections=Detections(boxes, scores, np.zeros(len(boxes), dtype=np.int64)),
                    truth_xyxy=truth,
                    truth_class_ids=np.zeros(len(truth), dtype=np.int64),
                    original_size=(640, 640),
                    input_size=(640, 640),
                    patient_id=str(patient),
                    group=str(patient),
                ))  # fmt: skip
    return models


def run_study(seed: int, n_patients: int, n_resamples: int) -> list[Study]:
    """Simulate one study and return the intervals of every measure, and of the difference between the two models."""
    import numpy as np

    from evaluation.statistics.paired import paired_intervals

    first, second = simulate(np.random.default_rng(seed), n_patients)
    scoring = _scoring(n_resamples)
    pairs = paired_intervals(first, second, scoring, (_THRESHOLD, _THRESHOLD))
    studies = []
    for measure in MEASURES:
        own, difference = pairs[measure].first, pairs[measure].difference
        values = (own.low, own.high, own.bca_low, own.bca_high, difference.low, difference.high)
        low, high, bca_low, bca_high, d_low, d_high = (math.nan if value is None else value for value in values)
        studies.append(Study(measure, (low, high), (bca_low, bca_high), (d_low, d_high)))
    return studies


def true_values(seed: int, n_patients: int = 20_000) -> dict[str, float]:
    """Return what a detector reaches over very many patients."""
    import numpy as np

    from evaluation.statistics.headline import headline_intervals

    (results,) = simulate(np.random.default_rng(seed), n_patients, n_models=1)
    results = [replace(result, group="all") for result in results]  # nothing is resampled here
    headline, _ = headline_intervals(results, _scoring(0), _THRESHOLD)
    return {measure: float(headline[measure].value or 0.0) for measure in MEASURES}


def coverage(studies: Sequence[Study], truth: dict[str, float]) -> Iterator[dict[str, Any]]:
    """Yield one row for each measure; shares are over the studies in which it was defined."""
    for measure in MEASURES:
        own = [study for study in studies if study.measure == measure and not math.isnan(study.bca[0])]
        value, count = truth[measure], max(len(own), 1)
        below, above = (sum(side) / count for side in ([study.bca[1] < value for study in own],
                                                       [study.bca[0] > value for study in own]))  # fmt: skip
        cover = 1 - below - above
        yield {
            "measure": measure,
            "truth": round(value, 4),
            "percentile_cover": round(sum(s.percentile[0] <= value <= s.percentile[1] for s in own) / count, 4),
            "bca_cover": round(cover, 4),
            "bca_below": round(below, 4),
            "bca_above": round(above, 4),
            "called_different": round(sum(not s.difference[0] <= 0 <= s.difference[1] for s in own) / count, 4),
            "studies": len(own),
            "monte_carlo_se": round(math.sqrt(cover * (1 - cover) / count), 4),
        }


def main(argv: Sequence[str] | None = None) -> None:
    """Run the studies, print and save the table."""
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.coverage_study",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python -m evaluation.coverage_study --studies 100",
    )
    parser.add_argument("--studies", type=whole_from(1), default=500, help="default: %(default)s")
    parser.add_argument("--resamples", type=whole_from(2), default=400, help="in each study (default: %(default)s)")
    parser.add_argument("--patients", type=whole_from(2), default=PATIENTS, help="in each study (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--jobs", type=whole_from(1), default=2, help="processes (default: %(default)s)")
    parser.add_argument("--save", type=Path, metavar="CSV", help="also write the table there")
    arguments = parser.parse_args(sys.argv[1:] if argv is None else argv)
    from data_utils.files import write_csv
    from evaluation.report.text import format_table

    count = arguments.studies
    with ProcessPoolExecutor(arguments.jobs) as pool:
        truth = pool.submit(true_values, 10**6 + arguments.seed)
        seeds = [arguments.seed * 10**5 + number for number in range(count)]
        done = pool.map(run_study, seeds, [arguments.patients] * count, [arguments.resamples] * count, chunksize=5)
        studies = [study for studies in done for study in studies]
        setting = {"patients": arguments.patients, "resamples": arguments.resamples, "seed": arguments.seed}
        rows = [row | setting for row in coverage(studies, truth.result())]
    print(format_table(COLUMNS, [[str(row[name]) for name in COLUMNS] for row in rows]))
    if arguments.save:
        write_csv(arguments.save, COLUMNS, rows)
        print(f"written: {arguments.save}")


def _lesions(rng: Any, difficulty: float) -> Any:
    import numpy as np

    count = rng.choice([0, 1, 2], p=[0.1, 0.75, 0.15])
    sides = np.exp(rng.normal(4.0 - 0.3 * difficulty, 0.6, (count, 1)) + rng.normal(0, 0.15, (count, 2)))
    corners = rng.uniform(0, 400, (count, 2))
    return np.concatenate([corners, corners + sides], axis=1)


def _found(rng: Any, truth: Any, difficulty: float) -> tuple[Any, Any]:
    import numpy as np

    sides = truth[:, 2:] - truth[:, :2]
    shift = rng.normal(0, 0.07, truth.shape) * np.tile(sides, 2)
    hits = truth + shift
    hit_scores = 1 / (1 + np.exp(-rng.normal(1.0 - 0.8 * difficulty, 1.2, len(truth))))
    n_false = rng.poisson(np.exp(0.4 + 0.3 * difficulty))
    corners = rng.uniform(0, 500, (n_false, 2))
    false = np.concatenate([corners, corners + np.exp(rng.normal(4.0, 0.6, (n_false, 2)))], axis=1)
    false_scores = rng.beta(1.2, 3.0, n_false)
    return np.concatenate([hits, false]), np.concatenate([hit_scores, false_scores])


def _scoring(n_resamples: int) -> Any:
    from data_utils.config.sections import EvalSection
    from evaluation.statistics.headline import Scoring

    return Scoring(("lesion",), 0.5, 0.001, 640, EvalSection(resamples=n_resamples))


if __name__ == "__main__":
    run_command(main)
