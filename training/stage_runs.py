"""Training of the stages a run rests on, one after another; finished ones are left alone, a stopped one goes on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from data_utils.audit import SKIPPED, require_clean
from data_utils.config.loading import load_config
from data_utils.config.sections import Config
from data_utils.errors import InputError
from training.dry_run import require_prepared
from training.run.folder import add_to_record
from training.stages import Stage, plan_stages
from training.tasks.branch import trainer_class


def run_stages(
    config: Config,
    weights: str | None = None,
    *,
    device: str = "auto",
    wandb_off: bool = False,
    skip_audit: bool = False,
) -> list[Path]:
    """Train what the first weights of `config` rest on and is not finished; returns the run folders, in that order.

    Every stage's data are checked before the first is trained: InputError when some are missing or leak. What stops a
    stage is raised as its trainer raises it; the same call goes on with it.
    """
    pending = [stage for stage in plan_stages(config, weights).stages if stage.state() != "finished"]
    if pending and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError(
            f"stage {pending[0].name} is not finished, and stages are trained one at a time; run it first, with as "
            f"many processes as you like: {pending[0].command}"
        )
    audits = {stage.run_dir: _check_data(stage, skip_audit) for stage in pending}
    for number, stage in enumerate(pending, start=1):
        print(f"stage {number} of {len(pending)} to train: {stage}")
        _run(stage, audits, device, wandb_off)
    return [stage.run_dir for stage in pending]


def _check_data(stage: Stage, skip_audit: bool) -> str:
    try:
        require_prepared(stage.config.dataset, stage.split, stage.config_path)
        return SKIPPED if skip_audit else require_clean(stage.config, stage.split)
    except InputError as error:
        raise InputError(f"stage {stage.name}: {error}") from None


def _run(stage: Stage, audits: Mapping[Path, str], device: str, wandb_off: bool) -> None:
    begun, config = stage.state() == "begun", stage.config
    if begun:
        config = load_config(stage.run_dir / "config.yaml")
    elif stage.run_dir.exists():
        _set_aside(stage.run_dir)
    resume = stage.run_dir if begun else None
    trainer = trainer_class(config)(config, stage.split, device=device, resume=resume, wandb_off=wandb_off)
    add_to_record(trainer.run_dir, audit=audits[stage.run_dir], stage=stage.name)
    print(trainer.describe())
    print(trainer.closing_lines(trainer.fit()))


def _set_aside(run_dir: Path) -> None:
    """Move a folder away whose run ended before its first checkpoint: there is nothing in it to go on with."""
    number = next(n for n in range(1, 1000) if not run_dir.with_name(f"{run_dir.name}.stopped{n}").exists())
    os.rename(run_dir, run_dir.with_name(f"{run_dir.name}.stopped{number}"))
