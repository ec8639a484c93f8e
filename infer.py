"""Find lesions in images, videos or a camera's picture, and write annotated copies."""

from __future__ import annotations

import argparse
from pathlib import Path

from data_utils.errors import run_command


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="example: python infer.py --weights results/runs/RUN/best.pt --source video.mp4",
    )
    parser.add_argument("--weights", required=True, help="checkpoint (.pt) or what export.py wrote (needs no torch)")
    parser.add_argument("--source", required=True, help="image, video, folder, quoted pattern, camera number or rtsp://...")
    parser.add_argument("--conf", type=float, help="lowest score shown (default: chosen on validation, else 0.25)")
    parser.add_argument("--iou", type=float, help="IoU above which boxes merge (default: the file's, else 0.45)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default %(default)s)")
    parser.add_argument("--backend", default="auto", help="auto (by ending), torch, onnx, openvino or torchscript")
    parser.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16", "fp16"),
                        help="of a checkpoint; auto: fp32 on a CPU, half where a GPU has it")  # fmt: skip
    parser.add_argument("--save", action="store_true", help="write annotated copies; on unless another output is asked")
    parser.add_argument("--save-txt", action="store_true", help="write a YOLO label file for each frame")
    parser.add_argument("--save-json", action="store_true", help="write a line of JSON for each frame")
    parser.add_argument("--show", action="store_true", help="open a window; q closes it")
    parser.add_argument("--out", default="results/inference", help="folder of what is written (default %(default)s)")
    parser.add_argument("--fps", type=float, help="frame rate of the video, over what the file states")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="detect in every N-th frame of a video")
    parser.add_argument("--track", action="store_true", help="follow lesions through a video; show those that persist")
    parser.add_argument("--alert", default="3/5", metavar="N/M", help="with --track: shown once seen in N of M frames")
    parser.add_argument("--tile", action="store_true", help="also look at tiles of frames much larger than the input")
    parser.add_argument("--tta", action="store_true", help="also look at mirrored frames")
    return parser.parse_args()


def main() -> None:
    """Open the weights, run over the source, print the summary."""
    arguments = parse_arguments()
    from models.openmp import limit_spinning

    limit_spinning()  # before torch is imported, should it be: decoding and encoding want the cores, too
    from deployment.inference import (
        InferenceRun,
        describe_backend,
        describe_threshold,
        find_sources,
        open_files,
        open_predictor,
        run_options,
    )

    out_dir = Path(arguments.out)
    sources = find_sources(arguments.source, out_dir)
    options = run_options(arguments)
    predictor, options = open_predictor(arguments, options, one_at_a_time=sources.is_live)
    saving = arguments.save or not (arguments.show or arguments.save_txt or arguments.save_json)
    files = open_files(arguments, out_dir, predictor.backend.names)
    print(describe_backend(predictor.backend))
    if not saving and files is not None:
        print("note                    no annotated copies are written; --save writes them, too")
    print(describe_threshold(arguments, options, predictor.backend), flush=True)
    run = InferenceRun(predictor, out_dir if saving else None, options, files)
    print("\n".join(run.run(sources).lines()))


if __name__ == "__main__":
    run_command(main)
