"""Write the detector of a checkpoint as an ONNX file, checked against PyTorch before it is kept."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from data_utils.errors import EXIT_FAULT, EXIT_OK, run_command


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", required=True, help="checkpoint written by train.py")
    parser.add_argument("--out", default="weights/sre_yolo_inference.onnx", help="file to write (default %(default)s)")
    parser.add_argument("--opset", type=int, default=17, help="ONNX operator set (default %(default)s)")
    return parser.parse_args()


def main() -> int:
    """Export, check, print the parity figures and how to use the file."""
    arguments = parse_arguments()
    from deployment.export import ParityError, export_onnx

    try:
        report = export_onnx(Path(arguments.weights), Path(arguments.out), arguments.opset)
    except ParityError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_FAULT
    print("\n".join(report.lines()))
    return EXIT_OK


if __name__ == "__main__":
    run_command(main)
