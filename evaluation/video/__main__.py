"""How well lesions are found in videos: per lesion, in time. A pure function of saved detections and of the truth.

`python -m evaluation.video --detections detections.jsonl --truth truth.csv`. A detection hits a lesion when their IoU
is at least `--iou` (and, where the truth names classes, the class is the same). Only what the user was shown counts:
with `infer.py --track`, what an alert had been raised for.

- sensitivity: lesions that were hit in at least one frame, over all lesions of the truth, in a frame looked at or not;
- delay: seconds from a lesion's first visible frame looked at to its first hit, for lesions that were hit;
- frames: share of a lesion's visible frames looked at in which it was hit, the mean over lesions. Frames behind the
  last one looked at count as looked at in vain, as does a lesion of which no frame was looked at;
- alerts a minute: with tracks, each track shown for the first time is one alert; without, each frame that shows
  something after one that does not. It is a false alert when that frame shows nothing that hits a lesion (with tracks:
  when the track never does).

What of the truth has no frame, and videos without truth, are counted and said (evaluation/video/records.py).
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_utils.errors import InputError, run_command

if TYPE_CHECKING:
    from evaluation.video.records import FrameRecord, LesionBox, PlacedTruth


@dataclass
class _Lesion:
    visible: int = 0
    hit: int = 0
    first_seconds: float | None = None
    delay: float | None = None


@dataclass
class _Video:
    """What is counted while the frames of one video go by."""

    lesions: dict[str, _Lesion] = field(default_factory=lambda: defaultdict(_Lesion))
    true_alerts: set[int] = field(default_factory=set)  # tracks that hit a lesion
    tracks: set[int] = field(default_factory=set)
    runs: int = 0  # frames that show something after one that does not
    false_runs: int = 0
    showing: bool = False
    seconds: list[float] = field(default_factory=list)


def video_metrics(
    records: Sequence[FrameRecord], truth: Sequence[LesionBox], iou: float = 0.5, fps: float | None = None
) -> dict[str, Any]:
    """Score saved detections; `fps` gives the time of frames that have none of their own.

    Returns the measures of the module's docstring, None where there is nothing to measure, and the same for each video.
    "notes" says what of the truth had no frame, and the counts stand beside it. Raises InputError for truth that cannot
    be placed (`place_truth`), for frames without a time, and for one that was looked at twice, as in the joined files
    of two runs: it would count twice.
    """
    from evaluation.video.records import place_truth

    counted = Counter((record.source, record.frame) for record in records)
    if twice := [f"{source}: frame {frame}" for (source, frame), count in counted.items() if count > 1]:
        raise InputError(f"{twice[0]} stands twice among the saved detections; score the file of one run at a time")
    placed = place_truth(records, truth)
    videos: dict[str, _Video] = defaultdict(_Video)
    for record in sorted(records, key=lambda record: (record.source, record.frame)):
        seconds = record.seconds if fps is None else record.frame / fps
        if seconds is None:
            raise InputError(f"{record.source}: frame {record.frame} has no time; give --fps")
        _look_at(videos[record.source], record, placed.boxes.get((record.source, record.frame), []), seconds, iou)
    _add_unseen(videos, placed)
    per_video = {source: _summary([video]) for source, video in videos.items()}
    about = {"truth": placed.counts, "notes": placed.notes()}
    return {"iou": iou, **_summary(videos.values()), **about, "videos": per_video}


def _add_unseen(videos: dict[str, _Video], placed: PlacedTruth) -> None:
    """Count lesions in frames that were not looked at: a row without a frame must not better the score."""
    for source, box in placed.between:
        videos[source].lesions[box.lesion]  # there, be it never looked at
    for source, box in placed.behind:
        videos[source].lesions[box.lesion].visible += 1


def _look_at(video: _Video, record: FrameRecord, boxes: list[LesionBox], seconds: float, iou: float) -> None:
    shown = [k for k, raised in enumerate(record.raised) if raised]
    hits = _hits(record, shown, boxes, iou)
    video.seconds.append(seconds)
    for box in boxes:
        lesion = video.lesions[box.lesion]
        lesion.visible += 1
        lesion.first_seconds = seconds if lesion.first_seconds is None else lesion.first_seconds
        if any(hit is box for hit in hits.values()):
            lesion.hit += 1
            lesion.delay = seconds - lesion.first_seconds if lesion.delay is None else lesion.delay
    if record.tracks is not None:
        video.tracks |= {track for k in shown if (track := record.tracks[k]) is not None}
        video.true_alerts |= {track for k in hits if (track := record.tracks[k]) is not None}
    elif shown and not video.showing:
        video.runs += 1
        video.false_runs += not hits
    video.showing = bool(shown)


def _hits(record: FrameRecord, shown: list[int], boxes: list[LesionBox], iou: float) -> dict[int, LesionBox]:
    """Return which detection hits which lesion, each at most one, the best score first."""
    import numpy as np

    from data_utils.records import iou_xyxy
    from evaluation.scoring.matching import greedy_match

    if not shown or not boxes:
        return {}
    overlap = iou_xyxy(record.detections.boxes_xyxy[shown], np.stack([box.box_xyxy for box in boxes]))
    classes = record.detections.class_ids[shown]
    other = np.array([[box.class_id is not None and box.class_id != found for box in boxes] for found in classes])
    partner = greedy_match(np.where(other, 0.0, overlap), iou)
    return {shown[row]: boxes[column] for row, column in enumerate(partner) if column >= 0}


def _summary(videos: Iterable[_Video]) -> dict[str, Any]:
    videos = list(videos)
    lesions = [lesion for video in videos for lesion in video.lesions.values()]
    delays = [lesion.delay for lesion in lesions if lesion.delay is not None]
    minutes = sum(_length(video.seconds) for video in videos) / 60
    alerts = sum(len(video.tracks) + video.runs for video in videos)
    false = sum(len(video.tracks - video.true_alerts) + video.false_runs for video in videos)
    return {
        "n_videos": len(videos),
        "n_frames": sum(len(video.seconds) for video in videos),
        "minutes": minutes,
        "n_lesions": len(lesions),
        "n_found": len(delays),
        "sensitivity": len(delays) / len(lesions) if lesions else None,
        "frame_sensitivity": statistics.mean(lesion.hit / (lesion.visible or 1) for lesion in lesions)
        if lesions
        else None,
        "delay_median_s": statistics.median(delays) if delays else None,
        "delay_longest_s": max(delays) if delays else None,
        "alerts": alerts,
        "false_alerts": false,
        "alerts_a_minute": alerts / minutes if minutes else None,
        "false_alerts_a_minute": false / minutes if minutes else None,
    }


def _length(seconds: list[float]) -> float:
    """Return how long a video is, its last frame lasting as long as the mean of the others; 0 for a single frame."""
    span = max(seconds) - min(seconds)
    return span * len(seconds) / (len(seconds) - 1) if len(seconds) > 1 else 0.0


def report_lines(metrics: dict[str, Any]) -> list[str]:
    """Return the table a user reads: a line for each measure, over all videos."""

    def shown(key: str, digits: int) -> str:
        return "-" if metrics[key] is None else f"{metrics[key]:.{digits}f}"

    length = f"{metrics['n_frames']} frames looked at, {metrics['minutes']:.2f} minutes"
    return [
        f"videos               {metrics['n_videos']} ({length})",
        f"lesions found        {metrics['n_found']} of {metrics['n_lesions']} (sensitivity {shown('sensitivity', 3)}, "
        f"IoU {metrics['iou']:g})",
        f"frames of a lesion   {shown('frame_sensitivity', 3)} of those it is visible in",
        f"delay                median {shown('delay_median_s', 2)} s, longest {shown('delay_longest_s', 2)} s",
        f"alerts a minute      {shown('alerts_a_minute', 2)}, false {shown('false_alerts_a_minute', 2)}",
        *(f"note: {note}" for note in metrics["notes"]),
    ]


def main() -> None:
    """Read both files, print the measures, and write them with --save."""
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.video",
        description="Score the detections of videos: per lesion, in time.",
        epilog="example: python -m evaluation.video --detections detections.jsonl --truth truth.csv",
    )
    parser.add_argument("--detections", type=Path, required=True, help="JSON lines of infer.py --save-json")
    parser.add_argument("--truth", type=Path, required=True, help="CSV (source,frame,lesion,x1,y1,x2,y2) or JSON lines")
    parser.add_argument("--iou", type=float, default=0.5, help="least IoU of a hit (default %(default)s)")
    parser.add_argument("--fps", type=float, help="frame rate, over the times in the file")
    parser.add_argument("--save", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    from data_utils.files import write_text
    from evaluation.video.records import read_records, read_truth

    if not 0 < arguments.iou <= 1 or (arguments.fps is not None and not 0 < arguments.fps <= 1000):
        raise InputError(f"--iou {arguments.iou} --fps {arguments.fps}: 0 < IoU <= 1, and 0 < fps <= 1000")
    records = read_records(arguments.detections)
    if not records:
        raise InputError(f"{arguments.detections}: holds no frame; infer.py --save-json writes a line for each")
    metrics = video_metrics(records, read_truth(arguments.truth), arguments.iou, arguments.fps)
    print("\n".join(report_lines(metrics)))
    if arguments.save is not None:
        write_text(arguments.save, json.dumps(metrics, indent=1, ensure_ascii=False) + "\n")
        print(f"written: {arguments.save}")


if __name__ == "__main__":
    run_command(main)
