"""How long preparing takes beside bare OpenCV, and whether auditing grows in step with the number of frames.

    python -m data_utils.benchmark [--frames 500] [--workers N] [--audit-frames 2500] [--save results/studies/x.json]

Both sides of a comparison run in this one call and take turns. `bare` does nothing but decode each frame, resize it
twice and encode it twice, in as many processes.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from data_utils.errors import run_command


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m data_utils.benchmark",
        description=(__doc__ or "").splitlines()[0],
        epilog="example: python -m data_utils.benchmark --frames 100 --audit-frames 0",
    )
    parser.add_argument("--frames", type=int, default=500, help="frames to prepare (default: %(default)s)")
    parser.add_argument("--size", default="1920x1080", help="their size in pixels (default: %(default)s)")
    parser.add_argument("--workers", type=int, help="processes of both sides (default: one for each core)")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each side (default: %(default)s)")
    parser.add_argument("--audit-frames", type=int, default=2500, metavar="N",
                        help="audit N and 2 N frames (default: %(default)s; 0 leaves it out)")  # fmt: skip
    parser.add_argument("--folder", type=Path, help="where the frames are drawn (default: a temporary folder)")
    parser.add_argument("--save", type=Path, help="JSON file for the figures")
    args = parser.parse_args(argv)
    width, _, height = args.size.partition("x")
    if not (width.isdigit() and height.isdigit() and min(int(width), int(height)) >= 32):
        parser.error(f"--size {args.size}: write WIDTHxHEIGHT in pixels, at least 32x32")
    if min(args.frames, args.repeats, args.workers or 1) < 1 or args.audit_frames < 0:
        parser.error("--frames, --repeats and --workers are at least 1, --audit-frames at least 0")

    from data_utils.preparation.speed import run_benchmarks

    run_benchmarks(args.frames, (int(width), int(height)), args.workers, args.repeats, args.audit_frames,
                   args.folder, args.save)  # fmt: skip
    return 0


if __name__ == "__main__":
    run_command(main)
