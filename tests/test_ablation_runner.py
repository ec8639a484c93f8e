"""The runner as a whole: exit codes, what it refuses before it starts, and a killed run that goes on exactly."""

from __future__ import annotations

import csv
import shlex
import signal
from dataclasses import replace
from pathlib import Path

import ablation_samples
import pytest
from ablation_samples import base_config, registry, write_result
from conftest import PreparedSet
from training_processes import ended, start

from data_utils.config.ablations import read_registry
from data_utils.errors import InputError, InterruptedRun
from data_utils.files import read_saved_json
from training.ablation import Engine, run_all
from training.ablations import engines
from training.ablations.job import Outcome
from training.ablations.plan import Asked, Job, make_plan

TIMES = ("images_per_s", "memory_gb")  # columns of log.csv that no two trainings share


@pytest.mark.parametrize(
    ("second", "code"),
    [
        (Outcome("done before"), 0),
        (Outcome("needs", "weights/x.pt"), 0),
        (Outcome("failed", "memory"), 1),
        (Outcome("busy", "process 7 works in it"), 1),
        (Outcome("stopped", "disk full"), 75),
    ],
)
def test_the_exit_code_says_how_the_runs_stand(
    tiny_prepared: PreparedSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    second: Outcome,
    code: int,
) -> None:
    def engine(jobs: tuple[Job, ...], report: engines.Report) -> None:
        for job, outcome in zip(jobs, (Outcome("done"), second), strict=True):
            if outcome.ok:
                write_result(job)
            report(job, outcome)

    monkeypatch.setattr(engines, "run_locally", engine)
    asked = Asked(str(base_config(tiny_prepared, tmp_path)))
    runs = registry(tmp_path, one={}, two={"overrides": ["c2=1"]})
    assert run_all(str(runs), ["*"], asked, Engine()) == code
    told = capsys.readouterr().out.splitlines()[-1].removeprefix("tables: ")  # as it can be typed
    assert shlex.split(told)[-2:] == ["--ablations", str(runs)]
    summary = (tmp_path / "results" / "ablation_summary.csv").read_text()
    assert str(second) in summary
    assert set(read_saved_json(tmp_path / "results" / "ablations" / "plan.json")["runs"]) == {"one", "two"}


def summary_of(folder: Path) -> dict[str, dict[str, str]]:
    with open(folder / "results" / "ablation_summary.csv", encoding="utf-8", newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def test_what_was_finished_stays_so_in_the_results_of_a_command_that_came_less_far(
    tiny_prepared: PreparedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached: list[int] = []

    def engine(jobs: tuple[Job, ...], report: engines.Report) -> None:
        for job in jobs[: reached[-1]]:
            write_result(job)
            report(job, Outcome("done"))
        if reached[-1] < len(jobs):
            raise InterruptedRun("stopped", 143)

    monkeypatch.setattr(engines, "run_locally", engine)
    base = str(base_config(tiny_prepared, tmp_path))
    runs = str(registry(tmp_path, one={"overrides": ["c2=3"]}, two={}, same={"overrides": ["c2=7.5"]}))
    reached.append(4)
    assert run_all(runs, ["*"], Asked(base, seeds=(0, 1)), Engine()) == 0
    whole = summary_of(tmp_path)
    assert {row["seeds"] for row in whole.values()} == {"2 of 2"}
    assert whole["same"]["state"] == "done"  # two and same are one training, spelt in two ways
    kept = (tmp_path / "results" / "ablations" / "two.json").read_bytes()
    reached.append(0)
    with pytest.raises(InterruptedRun):
        run_all(runs, ["*"], Asked(base, seeds=(0, 1)), Engine())
    assert (tmp_path / "results" / "ablations" / "two.json").read_bytes() == kept
    reached.append(1)
    assert run_all(runs, ["one"], Asked(base, seeds=(2,)), Engine()) == 0
    now = summary_of(tmp_path)
    assert list(now) == ["one", "two", "same"]
    assert now["one"]["seeds"] == "3 of 3"  # the tables' mean is over all three, too
    assert now["two"]["seeds"] == "2 of 2"
    assert set(read_saved_json(tmp_path / "results" / "ablations" / "one.json")["by_seed"]) == {"0", "1", "2"}


@pytest.mark.parametrize(
    ("engine", "settings", "message"),
    [
        (Engine("ray", None, 0), (), "--cpus 0: .*from 1 core"),
        (Engine("local", "host:1"), (), "--address host:1: --engine ray alone"),
        (Engine("local", None, 4), (), "^--cpus 4: --engine ray alone"),
        (Engine(), ("run.name=x",), "run.name=x: every run has a folder of its own"),
    ],
)
def test_options_that_nothing_would_heed_are_refused(
    tmp_path: Path, engine: Engine, settings: tuple[str, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        run_all(str(registry(tmp_path, one={})), ["*"], Asked(settings=settings), engine)


def test_other_settings_are_refused_before_anything_runs(
    tiny_prepared: PreparedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(engines, "run_locally", lambda *_: pytest.fail("started"))
    runs = registry(tmp_path, one={})
    asked = Asked(str(base_config(tiny_prepared, tmp_path)), epochs=1)
    write_result(make_plan(read_registry(runs), ["one"], asked).jobs[0])
    with pytest.raises(InputError, match=r"holds this run with other settings \(epochs=1 then, epochs=2 now\)"):
        run_all(str(runs), ["*"], replace(asked, epochs=2), Engine())
    assert run_all(str(runs), ["*"], replace(asked, epochs=2), Engine(), dry_run=True) == 0
    told = capsys.readouterr().err
    assert told.startswith("would be refused: ")
    assert "epochs=1 then, epochs=2 now" in told


def test_a_device_that_is_absent_is_refused_before_anything_runs(
    tiny_prepared: PreparedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "run_locally", lambda *_: pytest.fail("started"))
    asked = Asked(str(base_config(tiny_prepared, tmp_path)), device="cuda:99")
    with pytest.raises(InputError, match="--device cuda:99: PyTorch sees"):
        run_all(str(registry(tmp_path, one={})), ["*"], asked, Engine())


def test_results_that_cannot_be_written_are_found_first(
    tiny_prepared: PreparedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "run_locally", lambda *_: pytest.fail("started"))
    base = base_config(tiny_prepared, tmp_path)
    (tmp_path / "results").write_text("a file where the folder belongs")
    with pytest.raises(OSError, match="results"):  # which ends the command in one line, see data_utils/errors.py
        run_all(str(registry(tmp_path, one={})), ["*"], Asked(str(base)), Engine())


@pytest.mark.integration
def test_a_run_killed_in_the_middle_ends_as_if_it_had_not_been(tiny_prepared: PreparedSet, tmp_path: Path) -> None:
    lists = tmp_path / "splits" / "split1"
    lists.mkdir(parents=True)
    for part, count in (("train", 10), ("val", 4), ("test", 4)):
        lines = tiny_prepared.config.dataset.split_list(1, part).read_text(encoding="utf-8").splitlines()
        (lists / f"{part}.txt").write_text("\n".join(lines[:count]) + "\n", encoding="utf-8")
    base = base_config(tiny_prepared, tmp_path, f"dataset.splits='{lists.parent}'")
    runs = read_registry(registry(tmp_path, killed={}, whole={"overrides": ["patience=49"]}))  # changes the key alone
    killed, whole = make_plan(runs, list(runs), Asked(str(base), epochs=2, device="cpu")).jobs
    assert ended(start(ablation_samples.train_and_die, killed)) == -signal.SIGKILL
    assert len(rows(killed)) == 1
    assert read_saved_json(killed.folder / "state.json")["state"] == "running"
    assert ended(start(ablation_samples.go_on, killed)) == 0
    assert ended(start(ablation_samples.go_on, whole)) == 0
    assert read_saved_json(killed.run_dir / "run.json")["resumed_at"]["epoch"] == 1
    assert rows(killed) == rows(whole)
    assert len(rows(killed)) == 2
    results = [read_saved_json(job.folder / "result.json") for job in (killed, whole)]
    assert results[0]["ap50"] == results[1]["ap50"]
    assert [result["epochs_trained"] for result in results] == [2, 2]


def rows(job: Job) -> list[dict[str, str]]:
    with open(job.run_dir / "log.csv", encoding="utf-8", newline="") as file:
        return [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(file)]
