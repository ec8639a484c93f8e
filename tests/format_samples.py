"""What the tests of the label formats share: reading with one reader alone, random sets, random damage."""

from __future__ import annotations

import copy
import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from hypothesis import strategies as st

from data_utils.config.sections import DatasetSection
from data_utils.errors import InputError
from data_utils.formats.labels import Findings, LabelledImage
from data_utils.imaging.header import ImageHeader
from data_utils.records import Annotation, cxcywhn_to_xyxy, xyxy_to_cxcywhn

Read = dict[str, Annotation | None]
NAMES = ("Zyste", "big polyp", "größe")


def dataset(raw: Path, **settings: object) -> DatasetSection:
    return DatasetSection.model_validate({"raw": str(raw), "nc": 2, "names": ("cyst", "polyp"), **settings})


def touch_images(folder: Path, *names: str) -> None:
    """Make empty files of these names: pairing looks at names alone."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def read(
    reader: ModuleType, settings: DatasetSection, size: tuple[int, int] | dict[str, tuple[int, int]] = (40, 20)
) -> tuple[Read, Findings]:
    """Read a raw set with `reader`, as `read_raw_set` does: {inner: boxes, None where no label is}.

    size: (width, height) that the header of each image, or of each by its `inner`, would say.
    """
    findings = Findings()
    result: Read = {}
    for source in reader.find_sources(settings, findings):
        width, height = size[source.inner] if isinstance(size, dict) else size
        header = ImageHeader("PNG", width, height)
        if source.label is None:
            result[source.inner] = None
            continue
        try:
            result[source.inner] = reader.read_source(source, header, settings, findings)
        except InputError as error:
            findings.problem(str(error))
    return result, findings


def in_pixels(annotation: Annotation | None, width: float = 40, height: float = 20) -> list[list[float]]:
    assert annotation is not None
    return cxcywhn_to_xyxy(annotation.boxes_cxcywhn, width, height).round(6).tolist()


@st.composite
def labelled_sets(draw: st.DrawFn, fraction: bool = True) -> list[LabelledImage]:
    """Sets of up to 4 images with distinct names, sizes up to 4000 pixels and up to 4 boxes each, or none."""
    word = st.text("aZä日 -_.5", min_size=1, max_size=8).filter(lambda text: text.strip(". ") == text)
    stems = draw(st.lists(word, max_size=4, unique_by=lambda text: unicodedata.normalize("NFC", text).casefold()))
    frames = []
    for stem in stems:
        width, height = draw(st.integers(2, 4000)), draw(st.integers(2, 4000))
        boxes: dict[tuple[int, ...], list[float]] = {}
        for _ in range(draw(st.integers(0, 4))):
            x1, y1 = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
            x2, y2 = draw(st.integers(x1 + 1, width)), draw(st.integers(y1 + 1, height))
            shift = draw(st.floats(0, 0.9)) if fraction else 0
            boxes[x1, y1, x2, y2] = [x1 + shift, y1 + shift / 3, x2, y2]
        corners = np.array(list(boxes.values())).reshape(-1, 4)
        class_ids = [draw(st.integers(0, len(NAMES) - 1)) for _ in boxes]
        folder = draw(st.sampled_from(["", "sub dir/", "pätient/seq 1/"]))
        annotation = Annotation(xyxy_to_cxcywhn(corners, width, height), np.array(class_ids, np.int64))
        frames.append(LabelledImage(f"{folder}{stem}.jpg", width, height, annotation))
    return frames


def assert_round_trip(reader: ModuleType, folder: Path, frames: list[LabelledImage], pixels: float = 1e-4) -> None:
    """Write `frames`, read them back: names and their order equal, boxes within `pixels`, negatives kept."""
    paths = reader.write_set(folder, NAMES, frames)
    assert all(path.is_file() and folder in path.parents for path in paths)
    assert reader.class_names(folder) == NAMES
    assert reader.claims(folder) or not frames
    touch_images(folder / "images", *(frame.inner for frame in frames))
    sizes = {frame.inner: (frame.width, frame.height) for frame in frames}
    (folder / "images").mkdir(exist_ok=True)
    result, findings = read(reader, dataset(folder, nc=3, names=NAMES), sizes)
    assert (findings.problems, findings.notes, +findings.counts) == ([], [], {})
    assert set(result) == {frame.inner for frame in frames}
    for frame in frames:
        given, back = frame.annotation, result[frame.inner]
        assert back is not None, "a negative stays a negative, not an image without a label"
        assert back.class_ids.tolist() == given.class_ids.tolist()
        size = (frame.width, frame.height)
        difference = cxcywhn_to_xyxy(back.boxes_cxcywhn, *size) - cxcywhn_to_xyxy(given.boxes_cxcywhn, *size)
        assert np.abs(difference).max(initial=0) < pixels


ODD_VALUES: list[Any] = [
    None, True, False, -1, 0, 3, 10**400, 1.5, -1e308, float("nan"), float("inf"), "", "a", "\x00\n", "\ud800", "../x",
    "/etc/passwd", [], [[]], [1, 2, 3, 4], [None] * 4, ["a", {}], {}, {"id": 1}, {"a": [1]}, [[1, 2], [3]],
]  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, text: str) -> bytes:
    """Bytes of a JSON file after random edits, or with some of its values exchanged for odd ones; or any bytes."""
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return draw(st.binary(max_size=60))
    if kind < 5:
        data = text.encode()
        inserted = st.binary(max_size=4) | st.text('{}[]:,"-12e.\\ntu ', max_size=4).map(str.encode)
        for _ in range(draw(st.integers(1, 4))):
            start = draw(st.integers(0, len(data)))
            data = data[:start] + draw(inserted) + data[start + draw(st.integers(0, 30)) :]
        return data
    value = json.loads(text)
    for _ in range(draw(st.integers(1, 3))):
        value = _exchange(draw, value)
    return json.dumps(value).encode()


def _exchange(draw: st.DrawFn, value: Any) -> Any:
    """Exchange one part of a JSON value, however deep, for an odd one, or take it out."""
    places: list[tuple[Any, Any]] = []

    def visit(part: Any) -> None:
        for key in part if isinstance(part, dict) else range(len(part)) if isinstance(part, list) else ():
            places.append((part, key))
            visit(part[key])

    visit(value)
    odd = copy.deepcopy(draw(st.sampled_from(ODD_VALUES)))
    if not places or draw(st.integers(0, 20)) == 0:
        return odd
    part, key = draw(st.sampled_from(places))
    if draw(st.booleans()):
        part[key] = odd
    else:
        del part[key]
    return value


def assert_complains_in_one_line(read_it: Callable[[], object], *names: str) -> None:
    """Reading works, or says on one line which of `names` is wrong; other exceptions go through."""
    for problem in _complaints(read_it):
        assert any(name in problem for name in names)
        assert len(problem.splitlines()) == 1


def _complaints(read_it: Callable[[], object]) -> list[str]:
    try:
        result = read_it()
    except InputError as error:
        return [str(error)]
    parts = result if isinstance(result, tuple) else ()
    return [problem for part in parts if isinstance(part, Findings) for problem in part.problems]
