"""Tables 9 and 10: published values in their places, ours where a run fills them, missing cells named."""

from __future__ import annotations

import csv
import json
import os

import pytest

from data_utils.config.loading import load_config
from data_utils.errors import InputError
from evaluation.external_tables import cells, find_records, main, write_tables
from evaluation.paper.published import table_9, table_10

BRANCHES = {"YOLOv8n": ([4, 8], "none"), "SRE-YOLO": ([4, 8], "deep"), "SR 4-8 light": ([4, 8], "light"),
            "SR 2-6 deep": ([2, 6], "deep")}  # fmt: skip


def evaluation(folder, model, split, data, name="eval.json", run_split=None, changed=(), **metrics):
    """Write what evaluate.py leaves; `run_split`: what the run folder says it was trained on. changed: key=value."""
    folder.mkdir(parents=True, exist_ok=True)
    layers, decoder = BRANCHES[model]
    settings = [f"sr_layers={layers}", f"sr_decoder={decoder}", *changed]
    config = load_config("configs/train.yaml", settings).model_dump(mode="json")
    intervals = {key: {"bca_low": value - 0.1, "bca_high": value + 0.1} for key, value in metrics.items()}
    record = {"weights": str(folder / "best.pt"), "data": data, "split": split, "config": config,
              "metrics": {**metrics, "intervals": intervals}}  # fmt: skip
    path = folder / f"eval_{name}"
    path.write_text(json.dumps(record))
    if run_split is not None:
        (folder / "run.json").write_text(json.dumps({"split": run_split}))
    return path


def test_the_published_values_are_those_of_the_tables():
    assert table_9() == {
        "YOLOv8n": (0.66, 0.80), "SR 4-8 light": (0.82, 0.77), "SR 2-6 deep": (0.74, 0.82), "SRE-YOLO": (0.80, 0.82)
    }  # fmt: skip
    means = {model: [sum(v[i] for v in rows.values()) / 3 for i in range(3)] for model, rows in table_10().items()}
    assert [round(means[model][0], 2) for model in means] == [0.79, 0.82]
    assert [round((means[model][1] + means[model][2]) / 2, 2) for model in means] == [0.80, 0.86]


def test_runs_fill_their_cells_and_the_others_are_named(tmp_path):
    for split, ap in ((1, 0.5), (2, 0.6), (3, 0.7)):
        evaluation(tmp_path / f"y{split}", "YOLOv8n", split, f"lesions_split{split}_test", ap50=ap)
    evaluation(tmp_path / "light", "SR 4-8 light", 1, "ext", ap50_small=0.4, ap50_medium=0.45)
    # The run folder knows it was trained on split 2, whatever evaluate.py was told.
    evaluation(tmp_path / "sre", "SRE-YOLO", 1, "ext", run_split=2, ap50_small=0.33, ap50_medium=0.44)
    text, files = write_tables([tmp_path], "ext", tmp_path / "out")
    lines = text.splitlines()
    assert "| SR 4-8 light | 0.40 [0.30, 0.50] | 0.82 | 0.45 [0.35, 0.55] | 0.77 |" in lines
    assert "| SRE-YOLO | - | 0.80 | - | 0.82 |" in lines
    assert "| test AP50, split 2 | 0.60 [0.50, 0.70] | 0.81 | - | 0.83 |" in lines
    assert "| test AP50, mean | 0.60 | 0.79 | - | 0.82 |" in lines
    assert "| ext small, split 2 | - | 0.82 | 0.33 [0.23, 0.43] | 0.95 |" in lines
    assert "| ext medium, mean | - | 0.82 | - | 0.84 |" in lines
    assert any("Missing: SRE-YOLO, split 1, ext: `python evaluate.py" in line for line in lines)
    assert any("Missing: SR 2-6 deep, split 1, ext" in line for line in lines)
    assert not any("Missing: YOLOv8n, split 1, test" in line for line in lines)
    assert [path.name for path in files] == ["external_tables_ext.md", "external_tables_ext.csv"]
    assert files[0].read_text() == text
    with files[1].open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 4 * 2 + 2 * 3 * 3
    assert [row["ours"] for row in rows if row["model"] == "SR 4-8 light"] == ["0.4", "0.45"]


def test_the_newest_of_several_counts_and_torn_files_are_named(tmp_path):
    old = evaluation(tmp_path / "a", "YOLOv8n", 1, "ext", ap50_small=0.1, ap50_medium=0.1)
    evaluation(tmp_path / "b", "YOLOv8n", 1, "ext", ap50_small=0.2, ap50_medium=0.2, changed=["epochs=30"])
    os.utime(old, (1, 1))
    (tmp_path / "b" / "eval_torn.json").write_text('{"metrics": {')
    found = find_records([tmp_path, tmp_path / "a"], "ext")
    assert next(cell.ours for cell in cells(found)) == 0.2
    notes = " ".join(found.notes)
    assert "eval_torn.json: not a whole evaluation" in notes
    assert "1 older evaluations" in notes
    assert "The paper trained for 100 epochs; ours also for 30" in notes


@pytest.mark.parametrize(
    "changed",
    [["imgsz_lr=320", "imgsz_hr=640"], ["pretrain=null"], ["c1=5.0"], ["sr_resblocks=4"], ["model.upsampler=direct"],
     ["loss.sr_target=random"], ["stages.train=branch"]],
)  # fmt: skip
def test_a_run_of_other_settings_is_never_shown_as_sre_yolo(tmp_path, changed, capsys):
    evaluation(tmp_path / "a", "SRE-YOLO", 1, "ext", ap50_small=0.1, ap50_medium=0.1, changed=changed)
    main([str(tmp_path), "--out", str(tmp_path / "out")])
    out = capsys.readouterr().out
    assert "| SRE-YOLO | - | 0.80 | - | 0.82 |" in out
    assert f"1 evaluations of other settings than the paper's were left out, such as {tmp_path / 'a'}" in out
    assert f"({changed[0].replace('=null', '=None').replace('=', ' = ')}, not " in out


def test_undefined_values_are_said_to_be_so(tmp_path):
    path = evaluation(tmp_path / "a", "YOLOv8n", 1, "ext")
    record = json.loads(path.read_text())
    record["metrics"] |= {"ap50_small": None, "ap50_medium": 0.5}
    path.write_text(json.dumps(record))
    text, files = write_tables([path], "ext", tmp_path)
    assert "| YOLOv8n | n/a | 0.66 | 0.50 | 0.80 |" in text
    assert "nan" not in (text + files[1].read_text()).lower()


def test_the_command_names_a_folder_that_is_not_there_and_works_on_none(tmp_path, capsys):
    with pytest.raises(InputError, match="nowhere: no such run folder"):
        main([str(tmp_path / "nowhere")])
    (tmp_path / "empty").mkdir()
    main([str(tmp_path / "empty"), "--data", "other", "--out", str(tmp_path)])
    out = capsys.readouterr().out
    assert "| YOLOv8n | - | 0.66 | - | 0.80 |" in out
    assert out.count("Missing:") == 4 + 2 * 3 + 2 * 2  # of ext: splits 1 of four models, 2 and 3 of two; six test lists
    assert (tmp_path / "external_tables_other.md").is_file()


@pytest.mark.integration
def test_evaluating_prints_both_tables_for_the_papers_set_and_settings_alone(tmp_path, monkeypatch):
    from evaluation_samples import write_prepared_set
    from tiny_checkpoint import write_tiny_checkpoint

    from evaluation.evaluation_run import evaluate_checkpoint

    write_prepared_set(tmp_path)
    weights = write_tiny_checkpoint(tmp_path / "loose.pt", decoder="none")
    overrides = [f"dataset.external={{ext: {{processed: {tmp_path / 'processed'}}}}}", "run.workers=0",
                 f"run.results_dir={tmp_path / 'results'}", "eval.resamples=50"]  # fmt: skip

    def evaluated():
        return evaluate_checkpoint(weights, data="ext", device_name="cpu", overrides=overrides, fps_iters=1)

    outcome = evaluated()  # a small input, from random weights, on a set of another name
    assert "Table 9:" not in outcome.report
    assert f"`python -m evaluation.external_tables {tmp_path / 'results'} --data ext`" in outcome.report
    assert not list((tmp_path / "results").glob("external_tables*"))
    monkeypatch.setattr("evaluation.evaluation_run.is_for_tables_9_and_10", lambda config, data: True)
    outcome = evaluated()
    assert "Table 9: AP50 of small and medium lesions on ext" in outcome.report
    assert [path.name for path in outcome.files[-2:]] == ["external_tables_ext.md", "external_tables_ext.csv"]
    assert "| YOLOv8n | - | 0.66 | - | 0.80 |" in outcome.report  # these settings fill no cell all the same
