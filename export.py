"""Write the detector of a checkpoint as an ONNX, OpenVINO or TorchScript file, checked before it is kept."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from data_utils.errors import EXIT_FAULT, EXIT_OK, run_command

ENDINGS = {"onnx": ".onnx", "openvino": ".xml", "torchscript": ".torchscript"}


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="example: python export.py --weights results/runs/RUN/best.pt --format openvino",
    )
    parser.add_argument("--weights", required=True, help="checkpoint written by train.py")
    parser.add_argument("--format", default="onnx", choices=ENDINGS, help="kind of file (default %(default)s)")
    parser.add_argument("--out", help="file to write (default weights/sre_yolo_inference with the format's ending)")
    parser.add_argument("--half", action="store_true", help="float16 weights")
    parser.add_argument("--int8", action="store_true", help="eight bits; box decoding stays in float32")
    parser.add_argument("--calib", type=int, default=100, help="training frames to calibrate INT8 on (default 100)")
    parser.add_argument("--nms", action="store_true", help="put thresholds and suppression into the graph")
    parser.add_argument("--dynamic", action="store_true", help="any number of frames at once, not one (ONNX)")
    parser.add_argument("--simplify", action="store_true", help="simplify the ONNX graph (needs onnxslim)")
    parser.add_argument("--opset", type=int, default=17, help="ONNX operator set (default %(default)s)")
    parser.add_argument("--conf", type=float, help="score threshold inside (default: chosen on validation, else 0.25)")
    parser.add_argument("--iou", type=float, default=0.45, help="NMS threshold stored in the file (default 0.45)")
    parser.add_argument("--split", type=int, default=1, help="split whose frames check and calibrate (default 1)")
    parser.add_argument("--frames", type=Path, help="folder of frames to check and calibrate on instead")
    return parser.parse_args()


def main() -> int:
    """Export, check, print the figures and how to use the file."""
    arguments = vars(parse_arguments())
    from deployment.export import ExportSettings, ParityError, export_model

    weights, out = Path(arguments.pop("weights")), arguments.pop("out")
    settings = ExportSettings(**arguments)
    target = Path(out or f"weights/sre_yolo_inference{settings.ending}")
    try:
        report = export_model(weights, target, settings)
    except ParityError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_FAULT
    print("\n".join(report.lines()))
    return EXIT_OK


if __name__ == "__main__":
    run_command(main)
