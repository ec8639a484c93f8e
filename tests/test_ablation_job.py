"""A job ends in a noted outcome whatever happens; finished ones are left alone."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ablation_samples
import pytest
from ablation_samples import NUMBERS, base_config, registry, write_result
from conftest import PreparedSet

from data_utils.config.ablations import read_registry
from data_utils.config.loading import override_config
from data_utils.errors import InputError
from data_utils.files import read_saved_json
from training.ablations import job as ablation_job
from training.ablations.job import Outcome, attempt, is_done, noted, standing
from training.ablations.plan import Asked, Job, make_plan
from training.run.folder import RunLock

PERFORM = ablation_job.perform  # before a test replaces it


@pytest.fixture
def jobs(tiny_prepared: PreparedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Job]:
    """Jobs by name, each of settings of its own, that end as their name says."""
    monkeypatch.setattr(ablation_job, "perform", ablation_samples.perform)
    monkeypatch.setattr(ablation_job, "LOCK_SECONDS", 0.0)
    names = ("fine", "disk_full", "stops", "lacks", "bad", "ours")
    runs = read_registry(registry(tmp_path, **{n: {"overrides": [f"c2={i}"]} for i, n in enumerate(names, start=1)}))
    plan = make_plan(runs, names, Asked(str(base_config(tiny_prepared, tmp_path))))
    return {job.name: job for job in plan.jobs}


@pytest.mark.parametrize(
    ("name", "state", "why"),
    [
        ("fine", "done", ""),
        ("disk_full", "stopped", "weights/last.pt: No space left on device; make room or change the folder"),
        ("stops", "stopped", "loss not finite in batch 3"),
        ("lacks", "needs", "weights/x.pt (pretrain = x.pt: no such file; put it there)"),
        ("bad", "failed", "lists: two patients in one"),
        ("ours", "failed", "KeyError: 'a fault'"),
    ],
)
def test_every_end_becomes_an_outcome(jobs: dict[str, Job], name: str, state: str, why: str) -> None:
    outcome = attempt(jobs[name])
    assert outcome.state == state
    assert outcome.why.startswith(why)
    saved = read_saved_json(jobs[name].folder / "state.json")
    assert (saved["state"], saved["why"], saved["key"]) == (state, outcome.why, jobs[name].key)
    assert is_done(jobs[name]) == (state == "done")


def test_a_finished_job_is_left_alone_to_the_byte(jobs: dict[str, Job], monkeypatch: pytest.MonkeyPatch) -> None:
    attempt(jobs["fine"])
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in jobs["fine"].folder.iterdir()}
    monkeypatch.setattr(ablation_job, "perform", lambda _: pytest.fail("done again"))
    assert str(attempt(jobs["fine"])) == "done before"
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in jobs["fine"].folder.iterdir()} == before


def test_a_torn_result_or_one_of_other_settings_is_no_result(jobs: dict[str, Job]) -> None:
    job = jobs["fine"]
    whole = json.dumps(write_result(job))
    assert is_done(job)
    (job.folder / "result.json").write_text(whole[:-10])
    assert not is_done(job)
    (job.folder / "result.json").write_text(whole.replace(job.key, "other"))
    assert not is_done(job)
    (job.folder / "result.json").write_text(whole.replace('"test":', '"val":'))
    assert not is_done(job)


@pytest.mark.parametrize(
    ("key", "value"),
    [("evaluations", None), ("evaluations", ["test"]), ("evaluations", {"test": None}), ("ap50", "0.5"),
     ("fps", float("nan")), ("gflops", True)],
)  # fmt: skip
def test_a_result_of_wrong_types_is_no_result_and_no_traceback(jobs: dict[str, Job], key: str, value: object) -> None:
    job = jobs["fine"]
    result = write_result(job)
    (job.folder / "result.json").write_text(json.dumps(result | {key: value}))
    assert not is_done(job)
    assert str(attempt(job)) == "done"
    (job.folder / "result.json").write_text(json.dumps(result | {"ap50": None}))
    assert is_done(job)  # not defined where no frame holds a box


def test_a_config_that_changed_since_it_was_planned_trains_nothing(jobs: dict[str, Job]) -> None:
    job = jobs["fine"]
    path = Path(job.config_path)
    path.write_text(path.read_text().replace("lr0: 0.0", "lr0: 0.1"))
    with pytest.raises(InputError, match=r"base\.yaml: it or a file it names was changed since"):
        PERFORM(job)
    assert not job.run_dir.exists()


def test_an_evaluation_is_noted_where_the_results_lie_now(
    jobs: dict[str, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    job, given = jobs["fine"], []

    def evaluate(weights: Path, **asked: Any) -> Any:
        given.append(override_config(job.config(), ["run.results_dir=long/ago", *asked["overrides"]]))
        return SimpleNamespace(files=[weights.with_name(f"eval_best_{asked['data']}.json")], metrics=NUMBERS)

    monkeypatch.setattr("evaluation.evaluation_run.evaluate_checkpoint", evaluate)
    job.run_dir.mkdir(parents=True)
    trained = {"result": {"epochs_trained": 1, "best_epoch": 1, "seconds": 1.0}}
    (job.run_dir / "run.json").write_text(json.dumps(trained))
    assert ablation_job._evaluated(job)["evaluations"] == {"test": "runs/ablation_fine_seed0/eval_best_test.json"}
    assert [config.run.results_dir for config in given] == [job.results_dir]


def test_how_a_job_stands_that_nobody_came_to(jobs: dict[str, Job]) -> None:
    job = jobs["fine"]
    assert str(standing(job)) == "stopped: not begun"
    noted(job, Outcome("running"))
    assert str(standing(job)) == "stopped: not finished"
    noted(job, Outcome("failed", "memory"))
    assert str(standing(job)) == "failed: memory"
    write_result(job)
    assert str(standing(job)) == "done before"


def test_a_job_in_other_hands_is_busy_and_nothing_is_written(jobs: dict[str, Job]) -> None:
    job = jobs["fine"]
    noted(job, Outcome("running"))
    lock = RunLock(job.folder)
    try:
        before = (job.folder / "state.json").read_bytes()
        outcome = attempt(job)
    finally:
        lock.release()
    assert outcome.state == "busy"
    assert "process" in outcome.why
    assert (job.folder / "state.json").read_bytes() == before
    assert attempt(job).ok


def test_what_is_missing_is_noted_without_a_training(jobs: dict[str, Job]) -> None:
    from dataclasses import replace

    job = replace(jobs["fine"], needs="weights/yolov8n.pt")
    assert str(attempt(job)) == "needs weights/yolov8n.pt"
    assert read_saved_json(job.folder / "state.json")["state"] == "needs"


def test_results_that_cannot_be_written_stop_the_job(jobs: dict[str, Job], capsys: pytest.CaptureFixture) -> None:
    job = jobs["fine"]
    job.folder.parent.parent.mkdir(parents=True)
    job.folder.parent.write_text("a file where the folder belongs")
    assert attempt(job).state == "stopped"
    noted(job, Outcome("running"))
    assert "the state is not written" in capsys.readouterr().err


@pytest.mark.parametrize(("resumed_at", "seconds"), [(None, 90.0), ({"epoch": 0}, 90.0), ({"epoch": 4}, None)])
def test_the_time_of_a_resumed_training_is_not_told(
    jobs: dict[str, Job], resumed_at: dict | None, seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from types import SimpleNamespace

    job = jobs["fine"]
    job.run_dir.mkdir(parents=True)
    result = {"epochs_trained": 5, "best_epoch": 2, "seconds": 90.0}
    record = {"result": result} | ({"resumed_at": resumed_at} if resumed_at else {})
    (job.run_dir / "run.json").write_text(json.dumps(record))
    done = SimpleNamespace(files=[job.run_dir / "eval.json"], metrics={"ap50": 0.5, "fps": 1.0, "gflops": 1.0})
    monkeypatch.setattr("evaluation.evaluation_run.evaluate_checkpoint", lambda *_, **__: done)
    assert ablation_job._evaluated(job)["seconds"] == seconds
