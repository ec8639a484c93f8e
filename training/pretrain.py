"""Where a run's first weights come from: random, the official COCO weights, a file, or an earlier stage's run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from data_utils.config_sections import Config
from data_utils.errors import InputError
from data_utils.stages_section import COCO
from models.branch_weights import load_branch
from models.sre_yolo import SREYOLO
from models.weights import coco_file, coco_weights, load_pretrained
from training.stages import Plan, plan_stages

RANDOM = "random weights (Kaiming)"


@dataclass(frozen=True)
class Initialisation:
    """What each part started from, for the log; not_taken: the detector's tensors left at random, with the reason."""

    detector: str
    branch: str | None
    not_taken: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"detector: {self.detector}" + ("" if self.branch is None else f"; branch: {self.branch}")

    def record(self) -> dict[str, Any]:
        """Return all of it as plain values, for the run's record."""
        return {"detector": self.detector, "branch": self.branch, "not_taken": dict(self.not_taken)}


def initialise(model: SREYOLO, config: Config, weights: str | None, *, rehearsal: bool = False) -> Initialisation:
    """Initialise the detector from `weights` if given, else as `pretrain` says, and the branch as `stages.branch` says.

    Raises InputError when a file is missing or does not fit, when a stage has not been trained yet, for a frozen
    detector that would stay random, and for settings that freeze all there is. In a rehearsal, what would first be
    fetched or trained is passed over.
    """
    plan = plan_stages(config, weights)
    is_random = plan.detector is None
    if rehearsal:
        plan = replace(plan, detector=_at_hand(plan, config, plan.detector), branch=_at_hand(plan, config, plan.branch))
    else:
        _require_trained(plan, config)
    freeze, n_layers = config.optim.freeze, len(model.backbone.layers)
    if freeze > n_layers or (freeze == n_layers and model.sr_branch is None):
        raise InputError(f"optim.freeze = {freeze}: of {n_layers} detector layers none would learn; freeze fewer")
    if is_random and config.stages.train == "branch":
        raise InputError(
            "stages.train = branch with pretrain = null: the branch would learn from a random, frozen detector; set "
            "pretrain, or let the backbone learn with it: stages.train=branch+backbone"
        )
    detector, not_taken = RANDOM, {}
    if plan.detector is not None:
        is_coco = plan.detector == COCO
        path = coco_weights(config.model.detector, config.run.weights_dir) if is_coco else Path(plan.detector)
        transfer = load_pretrained(model.backbone.detector, path)
        detector, not_taken = f"{path} ({transfer})", transfer.not_taken
    branch = None if model.sr_branch is None else RANDOM
    if plan.branch is not None:
        branch = f"{plan.branch} (all {load_branch(model, config, plan.branch)} tensors taken)"
    return Initialisation(detector, branch, not_taken)


def _at_hand(plan: Plan, config: Config, source: str | None) -> str | None:
    """Return `source`, or None where the run itself would first fetch it or train the stage that makes it."""
    stage = plan.stage_of(source)
    if source == COCO:
        return source if coco_file(config.model.detector, config.run.weights_dir).is_file() else None
    return source if stage is None or stage.state() == "finished" else None


def _require_trained(plan: Plan, config: Config) -> None:
    for key, asked, source in (
        ("pretrain", config.pretrain, plan.detector),
        ("stages.branch", config.stages.branch, plan.branch),
    ):
        stage = plan.stage_of(source)
        if stage is not None and stage.state() != "finished":
            raise InputError(
                f"{key} = {asked}: {stage.best} is not there or not finished; `python train.py` with these settings "
                f"trains it first, or by itself: {stage.command}; to start at random: {key}=null"
            )
