"""What evaluate.py reports of a model beside its speed at batch 1, as plain values for JSON."""

from __future__ import annotations

from typing import Any

from torch import nn

from evaluation.benchmark import measure_gflops, measure_speed, measure_steps, sample_frames
from evaluation.branch_proof import prove_branch_free

BATCHED = 8  # frames a pass


def model_costs(
    model: nn.Module,
    imgsz: int,
    n_warmup: int = 50,
    n_iters: int = 500,
    max_seconds: float | None = 20.0,
    batch_size: int = BATCHED,
) -> dict[str, Any]:
    """Measure what evaluate.py adds to the speed at batch 1.

    Speed in batches of `batch_size`, the steps around the network, GFLOPs of the training graph, and whether the
    inference graph is free of the branch. Each timing takes at most half of `max_seconds`.
    """
    half = None if max_seconds is None else max_seconds / 2
    batched = measure_speed(model, imgsz, max(1, n_warmup // batch_size), n_iters, half, batch_size)
    steps = measure_steps(model, imgsz, n_iters=n_iters, max_seconds=half)
    proof = prove_branch_free(model, sample_frames(model, imgsz))
    costs = {
        "fps_batched": batched.fps,
        "fps_batched_size": batch_size,
        "fps_batched_median_ms": batched.median_ms,
        "fps_batched_p5_ms": batched.p5_ms,
        "fps_batched_p95_ms": batched.p95_ms,
        "fps_batched_n_iters": batched.n_iters,
        "steps_frame_size": list(steps.frame_size),
        "steps_n_iters": steps.n_iters,
        "steps_n_detections": steps.n_detections,
        "gflops_training": measure_gflops(model, imgsz, training=True),
        "branch_free": proof.holds,
        "branch_free_because": proof.sentence(),
    }
    for name, step in (("preprocess", steps.preprocess), ("postprocess", steps.postprocess)):
        costs |= {f"{name}_ms": step.median_ms, f"{name}_p5_ms": step.p5_ms, f"{name}_p95_ms": step.p95_ms}
    return costs
