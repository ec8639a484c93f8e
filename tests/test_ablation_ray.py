"""The ablation runner on Ray: a local cluster of two nodes, one of them killed in the middle."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from data_utils.errors import InputError
from data_utils.files import read_saved_json
from training.ablations import engines
from training.ablations.job import Outcome
from training.ablations.plan import Job

HERE = Path(__file__).resolve().parent
JOB = Job("fine", 0, 1, "configs/train.yaml", (), "cpu", "results", "key")


def nodes(*sizes: dict[str, float]) -> Any:
    return SimpleNamespace(nodes=lambda: [{"Alive": True, "Resources": size} for size in sizes])


def test_without_ray_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"--engine ray: Ray is not installed; .*pip install 'ray\[default\]'"):
        engines.run_on_ray([JOB], lambda *_: None, engines.Nodes())


def test_a_job_takes_one_gpu_where_there_are_some_and_asked_for_else_cores() -> None:
    mixed = nodes({"CPU": 8}, {"CPU": 4, "GPU": 2})
    assert engines._size(mixed, engines.Nodes(cpus=4)) == {"num_cpus": 4, "num_gpus": 1}
    assert engines._size(mixed, engines.Nodes(cpus=4, device="cpu")) == {"num_cpus": 4, "num_gpus": 0}
    with pytest.raises(InputError, match="takes 2 CPUs and 1 GPUs, and the largest node has 8 and 0"):
        engines._size(nodes({"CPU": 8}), engines.Nodes(device="cuda"))
    with pytest.raises(InputError, match="lower --cpus"):
        engines._size(mixed, engines.Nodes(cpus=16, device="cpu"))


def test_two_jobs_never_train_one_stage_at_once() -> None:
    a, b, c = (replace(JOB, name=name, stages=stages) for name, stages in (("a", ("s",)), ("b", ("s",)), ("c", ())))
    assert engines._startable([a, b, c], []) == [a, c]
    assert engines._startable([b], [a]) == []
    assert engines._startable([b], [c]) == [b]


@pytest.mark.integration
def test_jobs_of_a_killed_node_go_on_at_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="Ray is an extra: pip install 'ray[default]'")
    from ray.cluster_utils import Cluster  # pyright: ignore[reportMissingImports]

    paths = [str(HERE.parent), str(HERE), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    from ray_work import work

    monkeypatch.setattr(engines, "RETRIES", 1)
    told: dict[str, Outcome] = {}
    before = signal.getsignal(signal.SIGTERM)
    cluster = Cluster()
    try:
        try:
            cluster.add_node(num_cpus=0, include_dashboard=False)
            pair = [cluster.add_node(num_cpus=2) for _ in range(2)]
            cluster.wait_for_nodes()
        except Exception as error:  # Ray raises a plain one
            if "timed out" not in str(error):
                raise
            pytest.skip("Ray's nodes did not start in time on this busy machine")
        jobs = [replace(JOB, name=name, results_dir=str(tmp_path), key=name) for name in ("slow", "fine", "dies")]

        def kill_the_node() -> None:
            trace = tmp_path / "slow_began"
            deadline = time.monotonic() + 120
            while not trace.exists() and time.monotonic() < deadline:
                time.sleep(0.1)
            cluster.remove_node(next(node for node in pair if node.node_id == trace.read_text()), allow_graceful=False)

        threading.Thread(target=kill_the_node, daemon=True).start()
        where = engines.Nodes(cluster.address, cpus=2, device="cpu")
        engines.run_on_ray(jobs, lambda job, outcome: told.update({job.name: outcome}), where, work)
    finally:
        cluster.shutdown()
        signal.signal(signal.SIGTERM, before)  # a node started in this process leaves Ray's own handler behind
    assert (told["slow"].state, told["fine"].state) == ("done", "done")
    assert len(set((jobs[0].folder / "begun").read_text().splitlines())) == 2  # begun once more, elsewhere
    assert len((jobs[1].folder / "begun").read_text().splitlines()) == 1
    assert told["dies"].state == "failed"
    assert "on the cluster" in told["dies"].why
    assert read_saved_json(jobs[2].folder / "state.json")["state"] == "failed"
