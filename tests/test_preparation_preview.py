"""The preview page: its numbers are the frames' own, it shows the right frames, and no name breaks it."""

from __future__ import annotations

import base64
import re
import zlib
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from image_samples import JPEG, by_pillow, textured
from PIL import Image

from data_utils.config.sections import FilterSection
from data_utils.imaging.images import image_size, read_bgr
from data_utils.imaging.quality import FrameScores, Reason, rejection_reasons, score_frame
from data_utils.prepare import preview
from data_utils.prepare.preview import TESTS, PreviewFrame, write_preview

ALL_OFF = FilterSection(**dict.fromkeys(FilterSection.model_fields))
PLAIN = {"sharpness": 200.0, "brightness": 100.0, "saturated": 0.0, "border": 0.0, "width": 640, "height": 480,
         "n_bytes": 50_000, "field_xyxy": (0, 0, 640, 480), "perceptual_hash": "0" * 16}  # fmt: skip


class Page(HTMLParser):
    """A parsed page: `elements` as (section, tag, attributes), and the visible `text` of each section."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.section = ""
        self.elements: list[tuple[str, str, dict[str, str]]] = []
        self.text: dict[str, str] = {}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        if tag == "section":
            self.section = attributes["id"]
        self.elements.append((self.section, tag, attributes))

    def handle_data(self, data: str) -> None:
        self.text[self.section] = self.text.get(self.section, "") + data.replace("\u00a0", " ")

    def of_class(self, section: str, tag: str, name: str) -> list[dict[str, str]]:
        return [a for s, t, a in self.elements if (s, t, a.get("class")) == (section, tag, name) and a.get("x") != ""]

    def images(self, section: str) -> list[dict[str, str]]:
        return [a for s, t, a in self.elements if (s, t) == (section, "img")]


def make_page(tmp_path, frames, thresholds=ALL_OFF, **options) -> Page:
    path = tmp_path / "out" / "preview.html"
    write_preview(path, "my set", frames, thresholds, **options)
    words = re.findall(r"[a-z]+", re.sub(r'src="[^"]*"', "", path.read_text(encoding="utf-8")).lower())
    assert not {"nan", "inf"} & set(words)
    return Page(path)


def frame_at(folder: Path, name: str, thresholds=ALL_OFF, bits=None, **scores) -> PreviewFrame:
    path = folder / f"{zlib.crc32(name.encode())}.jpg"
    path.write_bytes(JPEG)
    taken = FrameScores(**{**PLAIN, **scores})
    return PreviewFrame(name, path, taken, rejection_reasons(taken, thresholds), bits)


def percent(attributes: dict[str, str], name: str) -> float:
    return float(attributes[name].removesuffix("%"))


def drawn_bars(page: Page, section: str) -> dict[str, list[dict[str, str]]]:
    """Return the bars of a chart; the legend's squares have no x."""
    return {name: [a for a in page.of_class(section, "rect", name) if "x" in a] for name in ("kept", "out")}


def test_threshold_line_bars_and_counts_by_hand(tmp_path):
    thresholds = FilterSection(**{**ALL_OFF.model_dump(), "bright_min": 51.0, "bright_max": 204.0})
    brightness = [20, 40, 51, 100, 110, 204, 210, 220, 250]
    frames = [frame_at(tmp_path, f"{i}.jpg", thresholds, brightness=float(b)) for i, b in enumerate(brightness)]
    page = make_page(tmp_path, frames, thresholds)
    lines = page.of_class("brightness", "line", "cut")
    assert [percent(line, "x1") for line in lines] == [20.0, 80.0]  # 51 / 255 and 204 / 255
    assert all(line["x1"] == line["x2"] for line in lines)
    assert [(percent(a, "x"), percent(a, "width")) for a in page.of_class("brightness", "rect", "shade")] == [
        (0.0, 20.0), (80.0, 20.0)
    ]  # fmt: skip
    bars = drawn_bars(page, "brightness")
    assert all(20 <= percent(bar, "x") < 80 for bar in bars["kept"])
    assert all(percent(bar, "x") < 20 or percent(bar, "x") >= 80 for bar in bars["out"])
    places = [percent(bar, "x") for bar in [*bars["kept"], *bars["out"]]]
    assert len(places) == len(set(places))
    counts = [int(n) for n in re.findall(r"to [\d.]+: (\d+) frames?", page.text["brightness"])]
    assert sum(counts) == len(brightness)
    assert "kept by this test: 4 frames" in page.text["brightness"]
    assert "excluded by this test (shaded): 5 frames (55.6 %)" in page.text["brightness"]
    assert "9frames read4kept (44.4 %)5excluded (55.6 %)" in re.sub(r"\n", "", page.text[""])
    assert page.of_class("sharpness", "line", "cut") == []


def test_the_nearest_frames_on_both_sides_come_first(tmp_path):
    thresholds = FilterSection(**{**ALL_OFF.model_dump(), "blur_thresh": 100.0})
    sharpness = {"a": 99.0, "b": 101.0, "c": 20.0, "d": 100.0, "e": 300.0, "f": 98.0}
    frames = [frame_at(tmp_path, name, thresholds, sharpness=score) for name, score in sharpness.items()]
    page = make_page(tmp_path, frames, thresholds, n_shown=2)
    inside, outside = page.text["sharpness"].split("Just inside blur_thresh")[1].split("Just outside blur_thresh")
    assert re.findall(r"([\d.]+)([a-f])\s*(kept|excluded: blurred)", inside) == [
        ("100", "d", "kept"), ("101", "b", "kept")
    ]  # fmt: skip
    assert re.findall(r"([\d.]+)([a-f])\s*(kept|excluded: blurred)", outside) == [
        ("99", "a", "excluded: blurred"), ("98", "f", "excluded: blurred")
    ]  # fmt: skip
    assert [image["alt"] for image in page.images("sharpness")[:2]] == [
        "d, sharpness 100", "centre of d at full resolution"
    ]  # fmt: skip
    assert "Lowest scores" in page.text["border"] or "all frames score the same" in page.text["border"]


def test_a_test_that_is_off_shows_both_ends(tmp_path):
    frames = [frame_at(tmp_path, f"f{n}", n_bytes=n) for n in (900, 100, 500, 700, 300)]
    text = make_page(tmp_path, frames, n_shown=2).text["bytes"]
    assert "dataset.filter.min_bytes: null – off" in text
    lowest, highest = text.split("Lowest scores")[1].split("Highest scores")
    assert re.findall(r"(\d+) bytes", lowest) == ["100", "300"]
    assert re.findall(r"(\d+) bytes", highest) == ["900", "700"]


def test_reasons_are_counted_once_and_alone():
    frames = [
        PreviewFrame(str(i), Path("x"), FrameScores(**PLAIN), tuple(Reason(kind, "") for kind in kinds), None)
        for i, kinds in enumerate([("dark",), ("dark", "blurred"), ("tiny", "tiny"), ()])
    ]
    frames.append(PreviewFrame("u", Path("x"), None, (), None))
    assert preview.count_reasons(frames) == [("dark", 2, 1), ("blurred", 1, 0), ("tiny", 1, 1), ("unreadable", 1, 1)]


@pytest.mark.parametrize("n", [0, 1, 2])
@pytest.mark.parametrize("thresholds", [ALL_OFF, FilterSection(), FilterSection(min_side=9999, near_duplicate_bits=64)])
def test_few_or_equal_frames(tmp_path, n, thresholds):
    frames = [frame_at(tmp_path, f"{i}.jpg", thresholds, bits=0) for i in range(n)]
    page = make_page(tmp_path, frames, thresholds)
    assert {test.section for test in TESTS} < set(page.text)
    assert ("No frame has this score" in page.text["glare"]) == (n == 0)
    assert sum(percent(bar, "width") > 0 for bars in drawn_bars(page, "side").values() for bar in bars) == min(n, 1)


@pytest.mark.parametrize("value", [0.0, 1.0, 255.0])
def test_black_and_white_frames(tmp_path, value):
    scores = {"sharpness": 0.0, "brightness": value, "saturated": float(value == 255), "border": float(value == 0)}
    thresholds = FilterSection(glare_max=0, border_max=0, bright_min=1, bright_max=None)
    page = make_page(tmp_path, [frame_at(tmp_path, "a.jpg", thresholds, **scores)], thresholds)
    assert "1frame read" in re.sub(r"\n", "", page.text[""])


def test_names_and_reasons_are_text_never_markup(tmp_path):
    name = "<script>alert('1')</script>\"><img src=x onerror=alert(1)>ü & \u202e.jpg"
    path = tmp_path / "a.jpg"
    path.write_bytes(JPEG)
    broken = "é\udcff<b>.jpg"  # a name that is no UTF-8
    frames = [
        PreviewFrame(name, path, FrameScores(**PLAIN), (Reason("<i>dark</i>", "<i>"),), 3),
        PreviewFrame(broken, Path(broken), None, (Reason("unreadable", f"{broken}: <u>damaged</u>"),), None),
    ]
    out = tmp_path / "preview.html"
    write_preview(out, "<b>my set</b>", frames, FilterSection())
    page = Page(out)
    tags = {tag for _, tag, _ in page.elements}
    assert tags.isdisjoint({"script", "i", "u", "link", "iframe", "object"})
    assert not [a for _, _, a in page.elements if any(key.startswith("on") for key in a)]
    assert name in page.text["glare"]
    assert page.images("glare")[0]["alt"].startswith(name)
    assert page.text["unreadable"].split("é")[1].strip().startswith("\\udcff<b>.jpg: <u>damaged</u>")
    assert "<b>my set</b>: frame quality" in page.text[""]


def test_a_file_that_is_gone_or_damaged_by_now_is_said_in_words(tmp_path):
    (tmp_path / "cut.jpg").write_bytes(JPEG[:-200])
    frames = [PreviewFrame(n, tmp_path / n, FrameScores(**PLAIN), (), None) for n in ("gone.jpg", "cut.jpg")]
    page = make_page(tmp_path, frames)
    assert page.images("glare") == []
    assert "gone.jpg: no such image" in page.text["glare"]
    assert "damaged JPEG image" in page.text["glare"]


def test_pictures_are_turned_once_small_and_without_metadata(tmp_path):
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "PATIENT NAME"
    stored = textured(300, 600)
    stored[:, :300] = 255  # the left half, which is the upper half when displayed
    path = tmp_path / "a.jpg"
    path.write_bytes(by_pillow(stored, "JPEG", exif=exif))
    assert b"PATIENT" in path.read_bytes()
    page = make_page(tmp_path, [PreviewFrame("a.jpg", path, FrameScores(**PLAIN), (), None)])
    [picture] = page.images("glare")
    assert (picture["width"], picture["height"]) == ("80", "160")
    content = base64.b64decode(picture["src"].removeprefix("data:image/jpeg;base64,"), validate=True)
    assert b"PATIENT" not in content
    assert b"Exif" not in content
    decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert decoded is not None
    assert decoded.shape == (160, 80)
    assert decoded[:70].mean() > 250
    assert decoded[90:].mean() < 200
    assert [(p["width"], p["height"]) for p in page.images("sharpness")] == [("80", "160"), ("160", "160")]


def test_only_the_frames_shown_are_read_and_each_once(tmp_path, monkeypatch):
    read: list[Path] = []
    monkeypatch.setattr(preview, "read_bgr", lambda path: read.append(path) or read_bgr(path))
    thresholds = FilterSection(blur_thresh=250)
    frames = [frame_at(tmp_path, f"{i}", thresholds, sharpness=float(i), n_bytes=9000 + i) for i in range(500)]
    page = make_page(tmp_path, frames, thresholds)
    assert len(read) == len(set(read)) <= 12 * len(TESTS)
    assert all(len(page.images(test.section)) <= 24 for test in TESTS)


def test_near_duplicates_stand_beside_what_they_repeat(tmp_path):
    original, repeat = tmp_path / "o.jpg", tmp_path / "r.jpg"
    for path in (original, repeat):
        path.write_bytes(JPEG)
    reason = Reason("near-duplicate", "of o, 2 of 64 bits differ <= 5")
    frames = [
        PreviewFrame("o.jpg", original, FrameScores(**PLAIN), (), None),
        PreviewFrame("r.jpg", repeat, FrameScores(**PLAIN), (reason,), 2, original),
    ]
    page = make_page(tmp_path, frames, FilterSection(near_duplicate_bits=5))
    assert [image["alt"] for image in page.images("near-duplicate")] == [
        "r.jpg, near-duplicates 2\u00a0bits", "the kept frame that r.jpg is most like"
    ]  # fmt: skip
    assert "1 frame without this score" in page.text["near-duplicate"]
    [line] = page.of_class("near-duplicate", "line", "cut")
    assert percent(line, "x1") == pytest.approx(100 * 6 / 65, abs=0.01)  # between 5 and 6 on an axis from -0.5 to 64.5


def test_many_unreadable_frames_are_listed_up_to_a_bound(tmp_path):
    reason = (Reason("unreadable", "damaged"),)
    frames = [PreviewFrame(f"{i}.jpg", Path("x"), None, reason, None) for i in range(preview.N_LISTED + 7)]
    text = make_page(tmp_path, frames).text["unreadable"]
    assert text.count("damaged") == preview.N_LISTED
    assert "and 7 frames more" in text


def test_the_same_input_gives_the_same_bytes_and_a_failed_write_leaves_the_old_page(tmp_path, monkeypatch):
    frames = [frame_at(tmp_path, f"{i}", sharpness=float(i)) for i in range(20)]
    path = tmp_path / "preview.html"
    write_preview(path, "a", frames, FilterSection())
    first = path.read_bytes()
    path.unlink()
    write_preview(path, "a", frames, FilterSection())
    assert path.read_bytes() == first

    def refuse(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(OSError, match="no space"):
        write_preview(path, "another", frames, FilterSection())
    assert path.read_bytes() == first
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".tmp")] == []


def test_real_frames(tmp_path, shared_data):
    paths = sorted((shared_data / "vocalfolds" / "img").rglob("*.jpg"))[::12]
    thresholds = FilterSection(glare_max=0.01)
    frames = []
    for path in paths:
        scores = score_frame(read_bgr(path).bgr, path.stat().st_size)
        frames.append(PreviewFrame(path.name, path, scores, rejection_reasons(scores, thresholds), None))
    page = make_page(tmp_path, frames, thresholds)
    n_blurred = sum(frame.scores is not None and frame.scores.sharpness < 100 for frame in frames)
    assert 0 < n_blurred < len(frames)
    assert f"excluded by this test (shaded): {n_blurred} frame" in page.text["sharpness"]
    assert len(page.images("glare")) >= 6
    assert image_size(paths[0]).width == 512
    assert (tmp_path / "out" / "preview.html").stat().st_size < 1.5e6
