"""Your own videos -> frames every n seconds, ready to be labelled, and metadata.csv with whose they are.

    python -m data_utils.frames --source VIDEOS --out data/raw --every 1 --patient-pattern '(?P<patient>P[0-9]+)'

writes OUT/images/<video>/<video>_<frame number>.jpg, OUT/metadata.csv (lines of other frames stay) and the record
OUT/.frames.json, by which a second run sees which videos are done. The videos are only read.
"""

from __future__ import annotations

import argparse
import contextlib
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from data_utils.errors import Causes, InputError, run_command
from data_utils.frames import LEAST_INTERVAL, ExtractedFrames, extract_frames, find_videos


def _run(args: argparse.Namespace) -> int:
    """Do what the command line asks; videos that fail are named at the end, after all others are done."""
    from data_utils.frames.stills import identify_videos, write_metadata

    source, out = Path(args.source), Path(args.out)
    if source.is_dir() and out.resolve().is_relative_to(source.resolve()):
        raise InputError(f"--out {out}: lies in {source}, the folder of the videos, which is never written")
    videos = find_videos(source)
    identities = identify_videos(videos, source, args.patient_pattern, args.metadata, args.patient_is_video,
                                 dataset_source=args.dataset_source, modality=args.modality,
                                 same_patient=args.same_patient, distinct_patients=args.distinct_patients)  # fmt: skip
    results: dict[Path, ExtractedFrames] = {}
    failures: list[str] = []
    for number, video in enumerate(videos, start=1):
        try:
            with _bar(f"{number}/{len(videos)} {video.stem[:30]}") as advance:
                results[video] = extract_frames(video, out, args.every, fps=args.fps, image_format=args.format,
                                                progress=advance)  # fmt: skip
        except InputError as error:
            failures.append(str(error))
            continue
        write_metadata(out, {video.stem: identities[video]}, {video.stem: results[video].files})
    if results:
        print(_summary(results, len({identities[video].patient_id for video in results}), args))
    if failures:
        raise InputError(f"{len(failures)} of {len(videos)} videos gave no frames: {Causes(failures)}")
    return 0


@contextlib.contextmanager
def _bar(title: str) -> Iterator[Callable[[int, int | None], None]]:
    """Show decoded frames and the time that is left; the yielded function takes (frames so far, frames or None)."""
    from tqdm import tqdm

    with tqdm(desc=title, unit="frame", leave=False, disable=None) as bar:

        def advance(n_decoded: int, n_frames: int | None) -> None:
            bar.total = n_frames
            bar.update(n_decoded - bar.n)

        yield advance


def _summary(results: Mapping[Path, ExtractedFrames], n_patients: int, args: argparse.Namespace) -> str:
    counts: Counter[str] = sum((result.counts for result in results.values()), Counter())
    n_written = sum(len(result.files) for result in results.values())
    n_decoded = sum(result.n_decoded for result in results.values())
    lines = [f"{len(results)} videos of {n_patients} patients: {n_written} frames in {Path(args.out, 'images')}, one "
             f"every {args.every:g} s, of {n_decoded} in the videos"]  # fmt: skip
    if reused := sum(result.reused for result in results.values()):
        lines.append(f"  {reused} videos were done already, with the same settings")
    lines += [f"  {count} {what}" for what, count in sorted(counts.items())]
    if removed := sum(result.n_removed for result in results.values()):
        lines.append(f"  {removed} frames of an earlier run with other settings removed")
    command = ["python", "-m", "data_utils.prepare", f"dataset.raw={args.out}"]
    return "\n".join([*lines, f"\nnext: label them (labels go below {Path(args.out, 'labels')} for YOLO), then "
                              f"{shlex.join(command)}"])  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m data_utils.frames",
        description=(__doc__ or "").splitlines()[0],
        epilog="example: python -m data_utils.frames --source videos --patient-pattern '(?P<patient>P[0-9]+)'",
    )
    parser.add_argument("--source", required=True, help="a video, or a folder of videos")
    parser.add_argument("--out", default="data/raw", help="raw folder of the data set (default: %(default)s)")
    parser.add_argument("--every", type=float, default=1.0, help="seconds between frames (default: %(default)s)")
    parser.add_argument("--patient-pattern", metavar="REGEX",
                        help="finds (?P<patient>...) in each video's path below --source")  # fmt: skip
    parser.add_argument("--metadata", metavar="CSV", help="table: video,patient_id[,modality,dataset_source]")
    parser.add_argument("--patient-is-video", action="store_true", help="say that each video is of another patient")
    parser.add_argument("--same-patient", nargs="+", action="append", default=[], metavar="ID",
                        help="ids that are one person: --same-patient 012 12")  # fmt: skip
    parser.add_argument("--distinct-patients", action="store_true",
                        help="say that ids such as 012 and 12 are different persons")  # fmt: skip
    parser.add_argument("--fps", type=float, help="frame rate to believe instead of the files' timestamps")
    parser.add_argument("--format", choices=("jpg", "png"), default="jpg", help="jpg (quality 95, default) or png")
    parser.add_argument("--modality", default="unknown", help="of every video: WL, NBI... (default: %(default)s)")
    parser.add_argument("--dataset-source", default="videos", help="name of the source (default: %(default)s)")
    args = parser.parse_args(argv)
    if not LEAST_INTERVAL <= args.every < float("inf"):
        parser.error(f"--every {args.every}: seconds, at least {LEAST_INTERVAL:g}")
    if args.fps is not None and not 0 < args.fps <= 1000:
        parser.error(f"--fps {args.fps}: a frame rate above 0 and up to 1000")
    return _run(args)


if __name__ == "__main__":
    run_command(main)
