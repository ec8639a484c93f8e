"""Jobs in processes of their own: what dies takes nothing along."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import ablation_samples
import pytest
from ablation_samples import base_config, registry
from conftest import PreparedSet
from training_processes import fork_instead_of_spawning

from data_utils.config.ablations import read_registry
from data_utils.errors import InterruptedRun
from data_utils.files import read_saved_json
from training.ablations.engines import run_locally
from training.ablations.job import Outcome
from training.ablations.plan import Asked, Job, make_plan


def jobs_named(prepared: PreparedSet, folder: Path, *names: str) -> tuple[Job, ...]:
    runs = read_registry(registry(folder, **{n: {"overrides": [f"c2={i}"]} for i, n in enumerate(names, start=1)}))
    return make_plan(runs, names, Asked(str(base_config(prepared, folder)))).jobs


def test_a_killed_job_is_told_and_the_others_finish(
    tiny_prepared: PreparedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fork_instead_of_spawning(monkeypatch)
    jobs, told = jobs_named(tiny_prepared, tmp_path, "killed", "bad", "fine"), {}
    run_locally(jobs, lambda job, outcome: told.update({job.name: outcome}), ablation_samples.attempt)
    assert told["killed"].state == "failed"
    assert "SIGKILL" in told["killed"].why
    assert read_saved_json(jobs[0].folder / "state.json")["why"] == told["killed"].why
    assert (told["bad"].state, told["fine"]) == ("failed", Outcome("done"))
    kept = (jobs[2].folder / "result.json").read_bytes()
    again: list[str] = []
    run_locally(jobs, lambda job, outcome: again.append(f"{job.name}: {outcome.state}"), ablation_samples.attempt)
    assert again == ["killed: failed", "bad: failed", "fine: done before"]
    assert (jobs[2].folder / "result.json").read_bytes() == kept


def test_a_signal_ends_all_of_them(
    tiny_prepared: PreparedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fork_instead_of_spawning(monkeypatch)
    jobs, told = jobs_named(tiny_prepared, tmp_path, "hangs", "fine"), {}

    def interrupt() -> None:
        deadline = time.monotonic() + 60
        while not (jobs[0].folder / "begun").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=interrupt).start()
    with pytest.raises(InterruptedRun, match="SIGTERM; the same command goes on") as stopped:
        run_locally(jobs, lambda job, outcome: told.update({job.name: outcome}), ablation_samples.attempt)
    assert stopped.value.exit_code == 143
    assert {name: outcome.state for name, outcome in told.items()} == {"hangs": "stopped"}
