"""The demo data: a seeded, larynx-like data set with exact boxes, written as raw frames for the usual preparation.

    python -m data_utils.synthetic --out data/demo/raw

writes images/*.jpg, labels/*.txt (YOLO; an empty file is a healthy frame), metadata.csv, and synthetic.json, the stamp
by which a second run sees that nothing is left to do. How the scene is drawn: scene.py, frame.py and plan.py.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from data_utils.errors import run_command
from data_utils.synthetic import N_FRAMES, N_PATIENTS, SIZE, make_dataset


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m data_utils.synthetic",
        description=(__doc__ or "").splitlines()[0],
        epilog="example: python -m data_utils.synthetic --out data/demo/raw",
    )
    parser.add_argument("--out", default="data/demo/raw", help="folder to write (default: %(default)s)")
    parser.add_argument("--patients", type=int, default=N_PATIENTS, help="default: %(default)s")
    parser.add_argument("--frames", type=int, default=N_FRAMES, help="default: %(default)s")
    parser.add_argument("--size", type=int, default=SIZE, help="side of the frames in pixels (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--workers", type=int, help="processes (default: one for each core)")
    args = parser.parse_args(argv)
    if args.workers is not None and args.workers < 1:
        parser.error(f"--workers {args.workers}: at least 1")
    counts = make_dataset(
        args.out, args.patients, args.frames, args.size, args.seed, workers=args.workers, progress=True
    )
    print(f"{args.out}: " + ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in counts.items()))
    return 0


if __name__ == "__main__":
    run_command(main)
