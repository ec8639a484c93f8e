"""Label maps: a grey mask beside each frame, each connected component of a listed value one box.

A component is 8-connected; its box runs from its first to just past its last pixel. Palette masks count by index,
colour masks by their three equal channels, one-bit masks as 0 and 255.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import PngImagePlugin

from data_utils.boxes import xyxy_to_cxcywhn
from data_utils.errors import InputError
from data_utils.formats.labels import Findings, check_boxes
from data_utils.formats.sources import Source
from data_utils.image_header import ImageHeader, UnreadableImage, parse_header
from data_utils.images import list_images
from data_utils.types import Annotation

if TYPE_CHECKING:
    from data_utils.config_sections import DatasetSection

Mask = NDArray[np.integer]


def find_sources(dataset: DatasetSection, findings: Findings) -> list[Source]:
    """Pair each image below `labelmap.images` with the .png of the same relative path below `labelmap.masks`."""
    raw = Path(dataset.raw)
    images, masks = raw / dataset.labelmap.images, raw / dataset.labelmap.masks
    for key, folder in (("images", images), ("masks", masks)):
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; set dataset.labelmap.{key} to the folder below {raw}")
    sources = []
    for image in list_images(images):
        inner = image.relative_to(images)
        mask = (masks / inner).with_suffix(".png")
        below_raw = image.relative_to(raw).as_posix()
        sources.append(Source(image, mask if mask.is_file() else None, below_raw, inner.as_posix()))
    return sources


def read_source(
    source: Source, header: ImageHeader | None, dataset: DatasetSection, findings: Findings
) -> Annotation:
    """Turn one frame's mask into boxes; what is wrong goes into `findings`. `header` None: the mask's size is used."""
    assert source.label is not None
    mask = read_mask(source.label)
    size = (mask.shape[1], mask.shape[0])
    if header is not None:
        stored = (header.width, header.height)
        expected = header.displayed_size if dataset.labels_frame == "displayed" else stored
        if size != expected:
            hint = "; see dataset.labels_frame" if size == expected[::-1] and header.orientation >= 5 else ""
            findings.problem(f"{source.label}: {size[0]}x{size[1]} pixels, but {source.image} has "
                             f"{expected[0]}x{expected[1]}; export the mask in the frame's size{hint}")  # fmt: skip
            return Annotation.empty()
    boxes, class_ids = [], []
    for value, name in sorted(dataset.labelmap.values.items()):
        found = component_boxes(mask == value, dataset.labelmap.min_area, findings)
        boxes += found
        class_ids += [dataset.names.index(name)] * len(found)
    places = [str(source.label)] * len(boxes)
    return check_boxes(xyxy_to_cxcywhn(np.array(boxes), *size), class_ids, places, dataset.bad_boxes, findings)


def component_boxes(region: NDArray[np.bool_], min_area: int, findings: Findings) -> list[list[int]]:
    """Return x1 y1 x2 y2 in mask pixels of each 8-connected component of `region` [H, W] with min_area pixels or more.

    Smaller ones are counted in `findings`.
    """
    if not region.any():
        return []  # most masks of most sets: spares the costly labelling
    _, _, stats, _ = cv2.connectedComponentsWithStats(region.astype(np.uint8), connectivity=8)
    boxes = []
    for x, y, width, height, area in stats[1:].tolist():  # the first is the background
        if area < min_area:
            findings.counts["mask components dropped: below labelmap.min_area"] += 1
        else:
            boxes.append([x, y, x + width, y + height])
    return boxes


def read_mask(path: str | Path) -> Mask:
    """Read a .png mask as integers [H, W]: grey values, or palette indices.

    Raises UnreadableImage for a file that is no whole PNG, and InputError for a mask in colour.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UnreadableImage(f"{path}: cannot be read ({error.strerror or error})") from None
    if parse_header(data, path).kind != "PNG":
        raise UnreadableImage(f"{path}: not a PNG file; masks must be lossless")
    try:
        with warnings.catch_warnings(action="ignore"), PngImagePlugin.PngImageFile(io.BytesIO(data)) as image:
            # OpenCV would give a palette mask's colours in place of its indices.
            mask = np.array(image)
    except Exception as error:  # Pillow raises a dozen kinds of exception on damaged files
        raise UnreadableImage(f"{path}: damaged mask ({' '.join(str(error).split())}); export it again") from None
    if mask.dtype == np.bool_:
        mask = mask.astype(np.uint8) * 255
    if mask.ndim == 2:
        return mask
    channels = mask[:, :, :3] if mask.shape[2] >= 3 else mask[:, :, :1]
    if (channels != channels[:, :, :1]).any():
        raise InputError(f"{path}: a mask in colour; expected grey values, a palette, or three equal channels")
    return channels[:, :, 0]
