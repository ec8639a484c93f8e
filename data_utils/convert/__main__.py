"""Any label format -> any other: images copied without their metadata, labels for the frame as displayed.

    python -m data_utils.convert SRC DST --to yolo|coco|voc|cvat|labelme|hyperkvasir|labelmap|mask

SRC is a folder or a zip archive and is only read; DST must be absent or empty, and appears whole or not at all. Class
names and their order, frames without boxes and metadata.csv are kept; what is written is read back and compared.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence

from data_utils.convert import convert
from data_utils.errors import run_command

FORMATS = ("yolo", "coco", "voc", "cvat", "labelme", "hyperkvasir", "labelmap", "mask")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    args = _parser().parse_args(argv)
    labelmap = {
        "values": dict(args.values or {}), "images": args.mask_images, "masks": args.mask_masks,
        "mask_suffix": args.mask_suffix, "threshold": args.mask_threshold, "min_area": args.min_area,
    }  # fmt: skip
    report = convert(
        args.src, args.dst, args.to, names=args.names or (), overwrite=args.overwrite,
        skip_unreadable=args.skip_unreadable, progress=True, format=args.source_format,
        allow_background=args.allow_background, bad_boxes=args.bad_boxes, labels_frame=args.labels_frame,
        labelmap={key: value for key, value in labelmap.items() if value not in (None, {})},
    )  # fmt: skip
    from data_utils.convert.steps import dataset_name

    config = f"configs/{dataset_name(report.target)}.yaml"
    command = shlex.join(["python", "-m", "data_utils.prepare", "--config", config])
    print(f"{report.text()}\n\nsave as {config}:\n\n{report.dataset_yaml()}\nnext: {command}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m data_utils.convert",
        description=(__doc__ or "").splitlines()[0],
        epilog="example: python -m data_utils.convert export.zip data/raw --to yolo",
    )
    parser.add_argument("src", help="folder or zip archive with images and labels; only read")
    parser.add_argument("dst", help="new folder")
    parser.add_argument("--to", required=True, choices=FORMATS, help="format to write")
    parser.add_argument("--from", dest="source_format", default="auto", choices=("auto", *FORMATS),
                        help="format of the source (default: found by its files)")  # fmt: skip
    parser.add_argument("--names", nargs="+", help="class names in the order of their ids (default: the source's)")
    parser.add_argument("--allow-background", action="store_true", help="an image without label is a healthy frame")
    parser.add_argument("--bad-boxes", choices=("error", "drop"), default="error",
                        help="boxes without area or outside the frame (default: %(default)s)")  # fmt: skip
    parser.add_argument("--labels-frame", choices=("displayed", "stored"), default="displayed",
                        help="where boxes of EXIF-rotated images were drawn (default: %(default)s)")  # fmt: skip
    parser.add_argument("--skip-unreadable", action="store_true", help="leave damaged images out, and count them")
    parser.add_argument("--overwrite", action="store_true", help="replace a DST that this command wrote")
    masks = parser.add_argument_group("label maps and masks as source")
    masks.add_argument("--values", nargs="+", type=_value, metavar="VALUE=NAME", help="mask values and their classes")
    masks.add_argument("--mask-images", metavar="FOLDER", help="images below SRC (default: img)")
    masks.add_argument("--mask-masks", metavar="FOLDER", help="masks below SRC (default: annot)")
    masks.add_argument("--mask-suffix", help="what a mask's name has after the image's: _mask (default: nothing)")
    masks.add_argument("--mask-threshold", type=int, help="grey value from which --from mask counts (default: 128)")
    masks.add_argument("--min-area", type=int, help="smaller components, in pixels, are dropped (default: 16)")
    return parser


def _value(text: str) -> tuple[int, str]:
    value, equals, name = text.partition("=")
    if not equals or not value.strip().isdecimal() or not name.strip():
        raise argparse.ArgumentTypeError(f"'{text}' is not VALUE=NAME, for example 4=lesion")
    return int(value), name.strip()


if __name__ == "__main__":
    run_command(main)
