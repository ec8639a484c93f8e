"""The page as a file: self-contained, escaped, without names or NaN, whatever the run lacks."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from reported_run import STEM, some_results, write_run, write_surroundings

from data_utils.errors import InputError
from evaluation.html_report import main, write_report

VOID = {"meta", "img"}


class Page(HTMLParser):
    """A parsed page that must be well formed: `elements` as (tag, attributes), and all visible `text`."""

    def __init__(self, path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def checked(path) -> Page:
    """Parse a page and hold what must be true of every one."""
    text, page = path.read_text(encoding="utf-8"), Page(path)
    words = re.findall(r"[a-z]+", re.sub(r'src="[^"]*"', "", text).lower())
    assert not {"nan", "inf", "undefined"} & set(words)
    assert "None" not in page.text
    assert not re.search(r"https?:|file:|<script", text)
    assert all(image["src"].startswith("data:image/jpeg") and image["alt"] for image in page.all("img"))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {link["href"][1:] for link in page.all("a")} <= set(ids)
    charts = [svg for svg in page.all("svg") if "role" in svg]
    assert all(svg["aria-label"] for svg in charts)
    assert len(page.all("h1")) == 1
    assert len(page.all("table")) == len(page.all("caption"))
    assert STEM not in text
    return page


@pytest.fixture
def run(tmp_path):
    write_surroundings(tmp_path, some_results())
    return write_run(tmp_path, some_results(), validation=some_results())


def test_a_whole_run(run, tmp_path, capsys):
    main([str(tmp_path)])
    assert capsys.readouterr().out == f"written: {tmp_path / 'report.html'}\n"
    page = checked(tmp_path / "report.html")
    assert len(page.all("img")) == 6  # four of the panel, a miss, a false alarm
    assert "This list has been scored" not in page.text  # no ledger here
    first = (tmp_path / "report.html").read_bytes()
    write_report(run)
    assert (tmp_path / "report.html").read_bytes() == first


def test_names_with_html_in_them_are_shown_as_they_are(run, tmp_path):
    page = checked(write_report(run))
    for name in ("<b>polyp</b>", "<i>clinic</i>", "'<1>'"):
        assert name in page.text
    assert len(page.all("b")) == 4  # the large numbers alone
    assert page.all("i") == []


def test_without_pictures_there_is_none(run, tmp_path):
    main([str(tmp_path), "--no-pictures"])
    page = checked(tmp_path / "report.html")
    assert page.all("img") == []
    assert "data:image" not in (tmp_path / "report.html").read_text()
    assert "--no-pictures" in page.text


@pytest.mark.parametrize("kind", ["silent", "healthy", "no frames", "one frame", "bare", "no predictions"])
def test_a_run_that_lacks_things_is_a_page_all_the_same(tmp_path, kind):
    results = some_results()
    if kind == "silent":
        results = [replace(frame, detections=frame.detections.above(1.0)) for frame in results]
    if kind == "healthy":
        results = [replace(f, truth_xyxy=f.truth_xyxy[:0], truth_class_ids=f.truth_class_ids[:0]) for f in results]
    results = results[: {"no frames": 0, "one frame": 1}.get(kind, 4)]
    record_file = write_run(tmp_path, results, **({"config": None, "paper": {}, "notes": []} if kind == "bare" else {}))
    if kind == "no predictions":
        next(tmp_path.glob("predictions_*")).unlink()
    page = checked(write_report(record_file))
    assert page.all("img") == []


def test_other_evaluations_get_a_page_of_their_own(run, tmp_path):
    val = write_run(tmp_path, some_results(), data="val")
    assert write_report(val) == tmp_path / "report_best_lesions_split1_val.html"
    assert write_report(run) == tmp_path / "report.html"


def test_outside_a_run_folder_a_page_is_named_after_its_weights(tmp_path):
    assert write_report(write_run(tmp_path, some_results())).name == "report_best_lesions_split1_test.html"


def test_bad_input_is_one_line_and_leaves_the_old_page(run, tmp_path):
    page = write_report(run).read_bytes()
    record = json.loads(run.read_text())
    del record["metrics"]["froc"]
    run.write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"run evaluate\.py again"):
        main([str(tmp_path)])
    with pytest.raises(InputError, match="--data nowhere"):
        main([str(tmp_path), "--data", "nowhere"])
    assert (tmp_path / "report.html").read_bytes() == page


def test_the_local_key_names_each_frames_file_and_the_page_none(tmp_path):
    results = some_results()
    record_file = write_run(tmp_path, results)
    page = write_report(record_file)
    with (tmp_path / f"{page.stem}_frames.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["frame"], row["stem"]) for row in rows] == [(str(n), r.stem) for n, r in enumerate(results, start=1)]
    assert not [row["stem"] for row in rows if f">{row['stem']}<" in page.read_text(encoding="utf-8")]
