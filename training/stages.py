"""The earlier runs that a chain such as `pretrain: coco+hyperkvasir` stands for: planned from settings, without torch.

Every stage is an ordinary run of `stages.sets.<name>.config`, in a run folder of a name that follows from the chain. It
starts from the weights of the stage before it. A chain of `pretrain` trains plain detectors. A chain of `stages.branch`
trains detector and branch together, from `pretrain`'s weights unless it begins with coco; where both keys name one
chain, the same runs serve both.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from data_utils.config.loading import config_hash, load_config
from data_utils.config.sections import COCO, Config, RunSection, chain_of
from data_utils.errors import InputError
from data_utils.files import read_saved_json
from models.checkpoint import coco_file, coco_weights, load_branch, load_pretrained
from models.sre_yolo import SREYOLO

State = Literal["to be trained", "begun", "finished"]
SHOWN = 4  # settings in a message
# Of a run's settings, those of the place and the machine; its stages keep them.
_PLACE = ("results_dir", "weights_dir", "precision", "channels_last", "workers", "cache", "wandb", "tensorboard")


@dataclass(frozen=True)
class Stage:
    """One earlier run. chain: the names up to its own. overrides: what makes its config out of `config_path`."""

    chain: tuple[str, ...]
    config_path: str
    split: int
    overrides: tuple[str, ...]
    config: Config

    @property
    def name(self) -> str:
        """The chain as it is written in a config."""
        return "+".join(self.chain)

    @property
    def run_dir(self) -> Path:
        """Its run folder."""
        return Path(self.config.run.results_dir) / "runs" / str(self.config.run.name)

    @property
    def best(self) -> Path:
        """The weights that it hands on."""
        return self.run_dir / "best.pt"

    @property
    def command(self) -> str:
        """The command that trains it by itself."""
        words = ["python", "train.py", "--config", self.config_path, "--split", str(self.split), *self.overrides]
        return shlex.join(words)

    def state(self) -> State:
        """Look at its run folder; raises InputError when that holds a run with other settings."""
        settings = self.run_dir / "config.yaml"
        if not settings.is_file():
            return "to be trained"
        if others := _differences(load_config(settings), self.config):
            shown = ", ".join(others[:SHOWN]) + (", ..." if len(others) > SHOWN else "")
            raise InputError(
                f"{self.run_dir}: stage {self.name} was trained with other settings ({shown}); set them back, or move "
                "the folder away to train it anew"
            )
        if self.best.is_file() and "result" in read_saved_json(self.run_dir / "run.json"):
            return "finished"
        return "begun" if any(self.run_dir.glob("last*.pt")) else "to be trained"

    def __str__(self) -> str:
        start = self.config.pretrain or "random weights"
        return f"{self.name}, from {start}, on {self.config.dataset.name} split {self.split}: {self.run_dir}"


@dataclass(frozen=True)
class Plan:
    """What a run's first weights rest on: stages in the order of training, and the two sources that result.

    detector: None (random), "coco" or a file. branch: None or a file.
    """

    stages: Sequence[Stage]
    detector: str | None
    branch: str | None

    def stage_of(self, source: str | None) -> Stage | None:
        """Return the stage that makes the file `source`, or None."""
        return next((stage for stage in self.stages if str(stage.best) == source), None)


def plan_stages(config: Config, weights: str | None = None) -> Plan:
    """Plan the runs that come before one with these settings; `weights`, a file, takes the place of `pretrain`.

    Raises InputError when a stage's config is missing or does not fit.
    """
    detector = weights or config.pretrain
    chain, branch_chain = chain_of(None if weights else detector), chain_of(config.stages.branch)
    branch, stages = config.stages.branch, []
    shared = chain == branch_chain and chain != (COCO,)
    if chain not in ((), (COCO,)) and not shared:
        stages = _chain(config, chain, start=None, with_branch=False)
        detector = str(stages[-1].best)
    if branch_chain:
        start = COCO if branch_chain[0] == COCO else None if shared else detector
        stages = [*stages, *_chain(config, branch_chain, start, with_branch=True)]
        branch = str(stages[-1].best)
        detector = branch if shared else detector
    return Plan(stages, detector, branch)


def _chain(config: Config, chain: tuple[str, ...], start: str | None, *, with_branch: bool) -> list[Stage]:
    """Return the runs of a chain, the first of which starts its detector from `start`."""
    stages: list[Stage] = []
    geometry = config.branch_geometry if with_branch else {"model.detector": config.model.detector}
    key = config_hash({**geometry, "start": start})[:6]
    for position, name in enumerate(chain):
        if name == COCO and position == 0 and not with_branch:
            start = COCO  # the official weights need no run
            continue
        branch = str(stages[-1].best) if stages and with_branch else None
        stage = _stage(config, chain[: position + 1], geometry, (start, branch), key if with_branch else "")
        stages.append(stage)
        start = str(stage.best)
    return stages


def _stage(
    config: Config,
    chain: tuple[str, ...],
    geometry: Mapping[str, str],
    sources: tuple[str | None, str | None],
    key: str,
) -> Stage:
    own, (detector, branch) = config.stages.sets[chain[-1]], sources
    parts = ["stage", "-".join(chain), config.model.detector, *([f"sr-{config.sr_decoder}", key] if key else [])]
    place = {name: getattr(config.run, name) for name in _PLACE}
    changed = {name: value for name, value in place.items() if value != RunSection.model_fields[name].default}
    overrides = (
        *own.overrides,
        *(f"{name}={value}" for name, value in geometry.items()),
        *(() if key else ("sr_decoder=none",)),
        f"pretrain={_text(detector)}",
        f"stages.branch={_text(branch)}",
        *(f"run.{name}={json.dumps(value) if isinstance(value, bool) else value}" for name, value in changed.items()),
        f"run.name={re.sub(r'[^A-Za-z0-9_.-]', '-', '_'.join(parts))}",
        "run.fixed_copies=false",
    )
    try:
        return Stage(chain, own.config, own.split, overrides, load_config(own.config, overrides))
    except InputError as error:
        raise InputError(f"stage {'+'.join(chain)}: {error}") from None


def _text(source: str | None) -> str:
    return "null" if source is None else source


def _differences(one: Config, other: Config) -> list[str]:
    """Return "key: value there, now value" for each setting that differs, but those of place, machine and chains."""
    first, second = (_flat({**config.model_dump(mode="json"), "run": None}) for config in (one, other))
    keys = [key for key in {**first, **second} if not key.startswith("stages.sets")]
    return [f"{key}: {first.get(key)}, now {second.get(key)}" for key in keys if first.get(key) != second.get(key)]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat


# Where a run's first weights come from: random, the official COCO weights, a file, or an earlier stage's run.


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
