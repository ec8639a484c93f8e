"""Masks beside the frames, each connected component one box: label maps, and (format mask) black and white ones.

A component is 8-connected; its box runs from its first to just past its last pixel. In a label map, a lossless PNG, the
components of each listed value count: palette masks by index, colour masks by their three equal channels, one-bit masks
as 0 and 255. A black and white mask may be of any image kind, JPEG's grey noise included: what reaches the threshold in
any channel is one class.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import PngImagePlugin

from data_utils.config.sections import LabelMapSection
from data_utils.errors import InputError
from data_utils.formats.labels import Findings, LabelledImage, check_boxes, label_paths
from data_utils.formats.sources import Source, named_with_code_points
from data_utils.formats.spelling import NameIndex
from data_utils.imaging.header import ImageHeader, UnreadableImage, parse_header
from data_utils.imaging.images import IMAGE_SUFFIXES, JPEG_SUFFIXES, SIXTEEN_BIT, list_images, read_bgr, write_image
from data_utils.records import Annotation, clip_xyxy, cxcywhn_to_xyxy, xyxy_to_cxcywhn

if TYPE_CHECKING:
    from data_utils.config.sections import DatasetSection

Mask = NDArray[np.integer]
MAX_VALUE = 255  # of an 8-bit mask
MOST_VALUES = 10  # that are named one by one
NOISE, LOSSY = 15, (*JPEG_SUFFIXES, ".webp")  # grey that lossy kinds leave in black


def claims(raw: Path) -> bool:
    """Whether the folder has the default folders of frames and masks; never raises."""
    try:
        return all((raw / folder).is_dir() for folder in (LabelMapSection().images, LabelMapSection().masks))
    except OSError:
        return False


def find_sources(dataset: DatasetSection, findings: Findings) -> list[Source]:
    """Pair each image below `labelmap.images` with the mask of the same relative path below `labelmap.masks`.

    Masks are .png files, under `format: mask` of any image kind; their names end in `labelmap.mask_suffix`. With it,
    frames and masks may lie in one folder.
    """
    raw, section = Path(dataset.raw), dataset.labelmap
    images, masks = raw / section.images, raw / section.masks
    for key, folder in (("images", images), ("masks", masks)):
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; set dataset.labelmap.{key} to the folder below {raw}")
    if dataset.format == "mask" and dataset.nc != 1:
        raise InputError(f"dataset.format = mask makes boxes of one class, but dataset.names lists {dataset.nc}: "
                         f"{list(dataset.names)}; name one, or set dataset.format = labelmap")  # fmt: skip
    if images.resolve() == masks.resolve() and not section.mask_suffix:
        raise InputError(f"{images}: frames and masks in one folder; set dataset.labelmap.mask_suffix to what tells "
                         "them apart")  # fmt: skip
    suffixes = sorted(IMAGE_SUFFIXES) if dataset.format == "mask" else [".png"]
    found = _masks_by_frame(masks, section.mask_suffix, suffixes)
    all_masks = {path for paths in found.values() for path in paths}
    by_name = NameIndex(found)
    sources = []
    for image in list_images(images):
        if image in all_masks:
            continue
        inner = image.relative_to(images)
        below_raw = image.relative_to(raw).as_posix()
        try:
            key = by_name.find(inner.with_suffix("").as_posix())
        except ValueError as error:
            findings.problem(f"{image}: its mask: {error}")
            continue
        if key is not None and key not in found:
            findings.problem(f"{image}: its mask {key} is that of another image, too; rename one")
            continue
        paths = found.pop(key) if key is not None else []
        if len(paths) > 1:
            findings.problem(f"{image}: has {len(paths)} masks, {paths[0].name} and {paths[1].name}; remove one")
        sources.append(Source(image, paths[0] if paths else None, below_raw, inner.as_posix()))
    orphans = [path for paths in found.values() for path in paths]
    if orphans:
        findings.counts["label files without an image"] += len(orphans)
        findings.note(f"{len(orphans)} masks have no image: {named_with_code_points(orphans)}")
    return sources


def class_names(raw: Path) -> tuple[str, ...]:
    """Return the class names of a folder of label maps: masks hold numbers alone, so they must be given."""
    raise InputError(f"{raw}: masks hold no class names; give --names, and --values for label maps")


def read_source(
    source: Source, header: ImageHeader | None, dataset: DatasetSection, findings: Findings
) -> Annotation:
    """Turn one frame's mask into boxes; what is wrong goes into `findings`. `header` None: the mask's size is used."""
    assert source.label is not None
    binary = dataset.format == "mask"
    mask = read_grey(source.label) if binary else read_mask(source.label)
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
    for region, class_id in _regions(mask, source.label, dataset, findings):
        found = component_boxes(region, dataset.labelmap.min_area, findings)
        boxes += found
        class_ids += [class_id] * len(found)
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


def read_grey(path: str | Path) -> Mask:
    """Read a mask of any image kind as uint8 [H, W], the brightest of its channels, as displayed.

    A 16-bit file that holds small numbers alone (0 and 1, or up to 255) is taken by these, not by its 65,536 levels.
    Raises UnreadableImage for a damaged file.
    """
    found = read_bgr(path)
    if SIXTEEN_BIT not in found.notes:
        return found.bgr.max(axis=2)
    stored = cv2.imread(str(path), cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR)
    if stored is None or stored.dtype != np.uint16 or stored.max() > MAX_VALUE:
        return found.bgr.max(axis=2)
    return (stored if stored.ndim == 2 else stored.max(axis=2)).astype(np.uint8)


def mask_values(names: Sequence[str]) -> dict[int, str]:
    """Return the `labelmap.values` of a set that `write_set` writes: 1 for the first name, and so on."""
    return dict(enumerate(names, start=1))


def write_set(folder: Path, names: Sequence[str], frames: Sequence[LabelledImage]) -> list[Path]:
    """Write a label map for each image, boxes filled with 1 for the first name and so on; below folder/annot.

    Corners are rounded to whole pixels. Raises InputError naming the frame, before anything is written, where the mask
    would not give the same boxes back: boxes that touch, overlap or are too small. For images below folder/img.
    """
    if len(names) > MAX_VALUE:
        raise InputError(f"{len(names)} classes, but a grey mask holds {MAX_VALUE}; write another format")
    return _write_masks(folder, list(mask_values(names)), frames)


def write_mask_set(folder: Path, names: Sequence[str], frames: Sequence[LabelledImage]) -> list[Path]:
    """Write black and white masks, as `write_set` writes label maps; raises InputError for more than one class."""
    if len(names) != 1:
        raise InputError(f"a black and white mask holds one class, not {list(names)}; write label maps")
    return _write_masks(folder, [MAX_VALUE], frames)


def _masks_by_frame(masks: Path, mask_suffix: str, suffixes: Sequence[str]) -> dict[str, list[Path]]:
    """Return {relative path of the frame, "/" between parts, without suffix: its masks}."""
    found: dict[str, list[Path]] = {}
    for path in list_images(masks):
        if path.suffix.lower() in suffixes:
            inner = path.relative_to(masks)
            if inner.stem.endswith(mask_suffix) and inner.stem != mask_suffix:
                frame = inner.with_name(inner.stem.removesuffix(mask_suffix)).as_posix()
                found.setdefault(frame, []).append(path)
    return found


def _regions(
    mask: Mask, path: Path, dataset: DatasetSection, findings: Findings
) -> Iterator[tuple[NDArray[np.bool_], int]]:
    """Yield each region [H, W] that holds boxes, with its class id."""
    if dataset.format != "mask":
        _note_unnamed(mask, path, dataset.labelmap.values, findings)
        for value, name in sorted(dataset.labelmap.values.items()):
            yield mask == value, dataset.names.index(name)
        return
    brightest, threshold = int(mask.max()), dataset.labelmap.threshold
    if 0 < brightest < threshold and (brightest > NOISE or path.suffix.lower() not in LOSSY):
        if len(np.unique(mask)) == 2:
            findings.counts["black and white masks of small values, read by their own range"] += 1
            threshold = brightest
        else:
            findings.problem(f"{path}: not black, yet its brightest pixel is {brightest}, below "
                             f"dataset.labelmap.threshold = {threshold}; set it to what a lesion has, or read the "
                             "values with dataset.format = labelmap")  # fmt: skip
    yield mask >= threshold, 0


def _note_unnamed(mask: Mask, path: Path, values: Mapping[int, str], findings: Findings) -> None:
    """Count the values of a label map that labelmap.values does not name; 0 is the background in every tool."""
    for value in np.setdiff1d(np.unique(mask), [0, *values]).tolist():
        key = f"label maps with value {value}, which labelmap.values does not name: taken as background"
        others = "label maps with other values that labelmap.values does not name: taken as background"
        if key not in findings.counts and sum(name.startswith(key[:22]) for name in findings.counts) >= MOST_VALUES:
            key = others
        if not findings.counts[key]:
            findings.note(f"{path}: holds the value {value}, which dataset.labelmap.values does not name: background")
        findings.counts[key] += 1


def _write_masks(folder: Path, values: Sequence[int], frames: Sequence[LabelledImage]) -> list[Path]:
    paths = [folder / LabelMapSection().masks / inner for inner in label_paths(frames, ".png")]
    for frame in frames:
        _paint(frame, values)  # only to refuse before anything is written
    for path, frame in zip(paths, frames, strict=True):
        write_image(path, _paint(frame, values))
    return paths


def _paint(frame: LabelledImage, values: Sequence[int]) -> NDArray[np.uint8]:
    """Return the mask [H, W]; raises InputError if it would not give the frame's boxes back."""
    mask = np.zeros((frame.height, frame.width), np.uint8)
    corners = cxcywhn_to_xyxy(frame.annotation.boxes_cxcywhn, frame.width, frame.height)
    corners = np.rint(clip_xyxy(corners, frame.width, frame.height)).astype(np.int64)
    class_ids = frame.annotation.class_ids
    for (x1, y1, x2, y2), class_id in zip(corners.tolist(), class_ids.tolist(), strict=True):
        mask[y1:y2, x1:x2] = values[class_id]
    for class_id, value in enumerate(values):
        wanted = sorted(corners[class_ids == class_id].tolist())
        if wanted != sorted(component_boxes(mask == value, LabelMapSection().min_area, Findings())):
            raise InputError(f"{frame.inner}: its boxes touch, overlap or have fewer than {LabelMapSection().min_area} "
                             "pixels, so a mask would not give them back; write another format")  # fmt: skip
    return mask
