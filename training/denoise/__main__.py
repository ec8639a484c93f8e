"""Train the speckle denoiser, measure it beside classical filters, and denoise prepared data sets.

    python -m training.denoise --split 1 [--data configs/NAME.yaml] [key=value ...]
    python -m training.denoise --resume [RUN]
    python -m training.denoise --evaluate RUN_OR_WEIGHTS [--data configs/OTHER.yaml] [key=value ...]
    python -m training.denoise --apply RUN_OR_WEIGHTS --out data/NAME_denoised [--data ...] [key=value ...]

The trainer is that of the detector (training/loop.py); after the last epoch the best weights are measured on the test
list. Runs lie in results/runs/<run>/, with denoise.json, denoise.csv and denoise_panel.png.
"""

from __future__ import annotations

import argparse
import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_utils.errors import run_command

if TYPE_CHECKING:
    from data_utils.config.sections import Config
    from models.denoiser import SpeckleDenoiser

DEFAULT_CONFIG = "configs/denoise.yaml"


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.denoise",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python -m training.denoise --split 1 --data configs/vocalfolds.yaml",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--resume", nargs="?", const="newest", metavar="RUN", help="go on with a run (default: newest)")
    what.add_argument("--evaluate", metavar="RUN", help="measure a run, or a weights file, on the test list")
    what.add_argument("--apply", metavar="RUN", help="denoise the prepared set with these weights; needs --out")
    parser.add_argument("--config", help=f"settings of the training (default: {DEFAULT_CONFIG})")
    parser.add_argument("--data", metavar="FILE", help="config whose data set and frame sizes are taken instead")
    parser.add_argument("--split", type=int, help="split number (default: 1, or that of the run named)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where --apply puts processed/ and splits/")
    parser.add_argument("--weights", help="denoiser to start training from (default: random weights)")
    parser.add_argument("--accept-changes", action="store_true", help="resume although settings, data or code changed")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: %(default)s)")
    parser.add_argument("--wandb-off", action="store_true", help="no Weights & Biases log")
    parser.add_argument("--skip-audit", action="store_true", help="train without looking for leaks between the parts")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and stop")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings, such as denoise.eval_looks=4")
    arguments = parser.parse_intermixed_args(argv)
    if (arguments.apply is None) != (arguments.out is None):
        parser.error("--apply RUN and --out FOLDER go together")
    if arguments.weights and (arguments.apply or arguments.evaluate or arguments.resume):
        parser.error("--weights starts a training; --resume, --evaluate and --apply name their weights themselves")
    if arguments.config and (arguments.apply or arguments.evaluate):
        parser.error("--config starts a training; weights have their settings, and --data names another set")
    if arguments.split and arguments.apply:
        parser.error("--apply denoises the whole set, so --split says nothing")
    return arguments


def main(argv: Sequence[str] | None = None) -> None:
    """Train, resume, measure or apply."""
    arguments = parse_arguments(argv)
    if arguments.apply or arguments.evaluate:
        _use(arguments)
    else:
        _train(arguments)


def _train(arguments: argparse.Namespace) -> None:
    from data_utils.audit import SKIPPED, require_clean
    from data_utils.config.loading import load_config
    from training.dry_run import require_prepared

    config_path, split, run_dir = arguments.config or DEFAULT_CONFIG, arguments.split, None
    if arguments.resume is not None:
        from models.checkpoint import DENOISE
        from training.run.folder import resumed_run

        run_dir, config, split = resumed_run(arguments.resume, config_path, split, arguments.overrides, DENOISE)
    else:
        config, split = _on_data(load_config(config_path), arguments), split if split is not None else 1
    require_prepared(config.dataset, split, arguments.data or config_path)
    audited = SKIPPED if arguments.skip_audit else require_clean(config, split, write=not arguments.dry_run)
    print(f"audit    {audited}")
    if arguments.dry_run:
        print(_plan(config, split))
        return

    from models.openmp import limit_spinning

    limit_spinning()  # before torch is imported
    from training.run.folder import add_to_record
    from training.tasks.denoise import DenoiseTrainer

    how = {"device": arguments.device, "wandb_off": arguments.wandb_off, "accept_changes": arguments.accept_changes}
    trainer = DenoiseTrainer(config, split, arguments.weights, resume=run_dir, **how)
    add_to_record(trainer.run_dir, audit=audited)
    print(trainer.describe(), flush=True)
    result = trainer.fit()
    print(trainer.closing_lines(result), flush=True)
    if config.dataset.split_list(split, "test").is_file():
        from models.denoiser import load_denoiser

        model, _, meta = load_denoiser(result["best"], trainer.device)
        _evaluate(model, meta, config, config, split)
    else:
        print(f"not measured on test frames: there is no {config.dataset.split_list(split, 'test')}")


def _on_data(config: Config, arguments: argparse.Namespace) -> Config:
    """Return the settings on the data set that --data names, with the overrides laid over them."""
    from data_utils.config.loading import load_config, override_config

    if arguments.data:
        data = load_config(arguments.data)
        taken = {"dataset": data.dataset, "imgsz_lr": data.imgsz_lr, "imgsz_hr": data.imgsz_hr}
        config = config.model_copy(update=taken)
    return override_config(config, arguments.overrides)


def _plan(config: Config, split: int) -> str:
    """Return what a training would do; raises InputError for lists that training would refuse."""
    from data_utils.lists import read_split_list

    dataset, noise, lines, n_batches = config.dataset, config.denoise, [], 0
    for part in ("train", "val", "test"):
        path = dataset.split_list(split, part)
        if part != "test" or path.is_file():
            n_frames = len(read_split_list(path))
            n_batches = math.ceil(n_frames / config.batch_size) if part == "train" else n_batches
            limited = part != "train" and noise.eval_frames is not None and noise.eval_frames < n_frames
            lines.append(f"{part:<10} {n_frames} frames{f', {noise.eval_frames} of them measured' if limited else ''}")
    return "\n".join([
        f"data set   {dataset.name}, split {split}, {noise.source.upper()} frames",
        *lines,
        f"noise      {noise.distribution}, {noise.looks[0]:g} to {noise.looks[1]:g} looks, measured at "
        f"{noise.eval_looks:g}, grain {noise.grain:g} px",
        f"net        {noise.levels} levels from width {noise.width}, squares of {noise.crop} px",
        f"schedule   {config.epochs} epochs of {n_batches} batches of {config.batch_size}, "
        f"{config.optimizer} lr {config.lr0:g} -> {config.lr0 * config.lrf:g}, patience {config.patience}",
        "dry run: nothing was trained or written",
    ])


def _use(arguments: argparse.Namespace) -> None:
    """Measure or apply the weights that were named, on their own data set or on the one asked for."""
    from models.openmp import limit_spinning

    limit_spinning()  # before torch is imported
    from models.checkpoint import pick_device
    from models.denoiser import load_denoiser, require_same_net

    model, trained, meta = load_denoiser(arguments.evaluate or arguments.apply, pick_device(arguments.device))
    config = _on_data(trained, arguments)
    require_same_net(config, trained, meta["weights"])
    if arguments.apply:
        _apply(model, meta, config, arguments)
        return
    split = arguments.split or meta["split"] or 1
    if arguments.dry_run:
        print(f"{meta['weights']} would be measured on the test list {config.dataset.split_list(split, 'test')}")
        print("dry run: nothing was measured or written")
    else:
        _evaluate(model, meta, config, trained, split)


def _evaluate(model: SpeckleDenoiser, meta: dict[str, Any], config: Config, trained: Config, split: int) -> None:
    """Measure the weights beside the classical filters; print the table, and save it where the weights lie."""
    from training.tasks.denoise import evaluate_denoiser, measure_name

    run_dir = Path(meta["weights"]).parent
    folder = run_dir if (run_dir / "log.csv").is_file() else Path(config.run.results_dir)
    text, files = evaluate_denoiser(model, config, meta, split, folder, measure_name(config, trained))
    print("\n".join(["", text, *(f"  {path}" for path in files)]))


def _apply(model: SpeckleDenoiser, meta: dict[str, Any], config: Config, arguments: argparse.Namespace) -> None:
    from training.denoise.apply import check_out, denoise_prepared, find_prepared

    out, dataset = arguments.out, config.dataset
    check_out(out, dataset)
    prepared = find_prepared(dataset)
    if arguments.dry_run:
        n_frames, n_lists = len(prepared.lr_paths), len(prepared.lists)
        print(f"{n_frames} frames (LR and HR) and {n_lists} lists of {dataset.name} would go to {out}")
        print("dry run: nothing was written")
        return
    source = {"dataset": dataset.name, "processed": dataset.processed, "splits": dataset.splits, "weights": meta}
    counts = denoise_prepared(model, prepared, out, source)
    print("\n".join(f"{name.replace('_', ' '):<26} {count}" for name, count in counts.items()))
    places = {"name": f"{dataset.name}_denoised", "processed": out / "processed", "splits": out / "splits"}
    overrides = [f"dataset.{key}={value}" for key, value in places.items()]
    print(f"next: python train.py --config <the set's config> --split 1 {shlex.join(overrides)}")


if __name__ == "__main__":
    run_command(main)
