"""Find lesions in images, videos or a camera's picture, and write annotated copies."""

from __future__ import annotations

import argparse
from pathlib import Path

from data_utils.errors import run_command


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", required=True, help="checkpoint (.pt) or exported file (.onnx; needs no torch)")
    parser.add_argument("--source", required=True, help="image, video, folder, quoted pattern, or camera number")
    parser.add_argument("--conf", type=float, default=0.25, help="lowest score shown (default %(default)s)")
    parser.add_argument("--iou", type=float, default=0.45, help="IoU above which boxes merge (default %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default %(default)s)")
    parser.add_argument("--save", action="store_true", help="write annotated copies; on unless --show stands alone")
    parser.add_argument("--show", action="store_true", help="open a window; q closes it")
    parser.add_argument("--out", default="results/inference", help="folder of the copies (default %(default)s)")
    parser.add_argument("--fps", type=float, help="frame rate of the video, over what the file states")
    return parser.parse_args()


def main() -> None:
    """Open the weights, run over the source, print the summary."""
    arguments = parse_arguments()
    from deployment.backends import open_backend
    from deployment.inference import InferenceRun
    from deployment.sources import find_sources
    from models.predictor import Predictor

    out_dir = Path(arguments.out)
    saving = arguments.save or not arguments.show
    sources = find_sources(arguments.source, out_dir)
    predictor = Predictor(open_backend(arguments.weights, arguments.device), arguments.conf, arguments.iou)
    run = InferenceRun(predictor, out_dir if saving else None, arguments.show, arguments.fps)
    print("\n".join(run.run(sources).lines()))


if __name__ == "__main__":
    run_command(main)
