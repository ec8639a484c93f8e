"""The page's head: title, the few large numbers, and the order of its sections."""

from __future__ import annotations

from reported_run import some_results, write_run

from evaluation.report.page import page_values
from evaluation.report.run_files import read_run


def test_title_totals_and_sections(tmp_path):
    folder = tmp_path / "myrun"
    folder.mkdir()
    values = page_values(read_run(write_run(folder, some_results(), validation=some_results())), with_pictures=False)
    assert values["title"] == "lesions_split1_test: myrun, best"
    assert [value for value, _ in values["totals"]] == ["0.832", "75.0\u00a0%", "75.0\u00a0%", "0.25"]
    assert values["totals"][1][1].startswith("of objects found (")
    anchors = [section.anchor for section in values["sections"]]
    assert anchors == ["headline", "curves", "size", "calibration", "breakdown", "healthy", "confusion", "sweep",
                       "reconstruction", "cases", "training", "data", "provenance"]  # fmt: skip
    assert "shows no frame" in values["closing"]


def test_weights_of_another_folder_are_named_by_their_file(tmp_path):
    files = read_run(write_run(tmp_path, [], weights="elsewhere/other.pt"))
    values = page_values(files, with_pictures=True)
    assert values["title"].endswith(": other.pt")
    assert values["totals"][0] == ("n/a", "AP50")
