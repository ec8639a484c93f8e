"""Training of the speckle denoiser: what `TrainingLoop` leaves open, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import default_collate

from data_utils.config.sections import Config
from data_utils.files import write_csv, write_text
from data_utils.loader import EpochLoader, make_loader
from data_utils.speckle import SpeckleDataset
from evaluation.cost import eval_mode
from evaluation.image_quality import psnr, ssim
from evaluation.passes.predict import as_float
from evaluation.plots import draw_comparison
from evaluation.report.text import format_table
from models.checkpoint import DENOISE, load_state
from models.denoiser import SpeckleDenoiser, denoise_image, load_denoiser
from models.precision import autocast
from training.loop import TrainingLoop
from training.loss import mean_absolute_error
from training.run.log import Score

# How well speckle is taken away: the denoiser beside a 3x3 median and non-local means, in PSNR and SSIM.
#
# Pictures are uint8 RGB [H, W, 3]; every method is measured on the 8-bit picture it would leave on disk.


Picture = NDArray[np.uint8]
Pairs = Sequence[tuple[Picture, Picture]]  # (noisy, clean)
Method = Callable[[Picture], Picture]

INPUT, MEDIAN, NLM, NET = "noisy input", "median 3x3", "non-local means", "denoiser"
# Non-local means: strengths in grey values, tried on training frames, and then shares of the best one for colour.
STRENGTHS = (5, 10, 15, 20, 30, 40, 60, 80, 120)
COLOUR_SHARES = (1, 0.5, 0.25)
COLUMNS = ("method", "psnr", "ssim", "best_on", "n_frames")
PANEL_FRAMES = 3


def median_3x3(noisy: Picture) -> Picture:
    """Return the median over 3x3 pixels, channel by channel."""
    return cv2.medianBlur(noisy, 3).astype(np.uint8, copy=False)


def non_local_means(noisy: Picture, strength: float, colour: float) -> Picture:
    """Run OpenCV's coloured non-local means: patches of 7, search window of 21, `colour` its strength on a and b."""
    bgr = cv2.cvtColor(noisy, cv2.COLOR_RGB2BGR)
    clean = cv2.fastNlMeansDenoisingColored(bgr, np.empty_like(bgr), strength, colour, 7, 21)
    return cv2.cvtColor(clean, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


def choose_strengths(
    pairs: Pairs, strengths: Sequence[float] = STRENGTHS
) -> tuple[tuple[float, float], dict[tuple[float, float], float]]:
    """Return non-local means' (strength, colour) of the best mean PSNR on `pairs`, and that of each one tried.

    The strength is chosen first, with as much for colour; then less for colour is tried.
    """
    tried: dict[tuple[float, float], float] = {}

    def best_of(candidates: Iterable[tuple[float, float]]) -> tuple[float, float]:
        for setting in candidates:
            if setting not in tried:
                found = [quality(non_local_means(noisy, *setting), clean)[0] for noisy, clean in pairs]
                tried[setting] = float(np.mean(found))
        return max(tried, key=tried.__getitem__)

    strength, _ = best_of((strength, strength) for strength in strengths)
    return best_of((strength, strength * share) for share in COLOUR_SHARES), tried


def quality(picture: Picture, clean: Picture) -> tuple[float, float]:
    """Return PSNR in dB and SSIM of one picture against the clean one."""
    one, other = (torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255 for image in (picture, clean))
    return float(psnr(one, other)), float(ssim(one, other))


def compare(methods: Mapping[str, Method], pairs: Iterable[tuple[Picture, Picture]]) -> list[dict[str, Any]]:
    """Measure every method on every pair: a row of `COLUMNS` for each, with the means over the frames.

    best_on: frames on which the method's PSNR is the highest, ties counting for the first. Raises ValueError without
    pairs.
    """
    scores = np.array([[quality(method(noisy), clean) for method in methods.values()] for noisy, clean in pairs])
    if not len(scores):
        raise ValueError("no frames to compare on")
    best = np.bincount(scores[:, :, 0].argmax(axis=1), minlength=len(methods))
    means = scores.mean(axis=0)
    return [
        {"method": name, "psnr": means[k, 0], "ssim": means[k, 1], "best_on": int(best[k]), "n_frames": len(scores)}
        for k, name in enumerate(methods)
    ]


def validate_denoiser(
    model: torch.nn.Module, loader: Iterable[Mapping[str, Any]], device: torch.device, precision: str = "fp32"
) -> dict[str, float]:
    """Return mean PSNR and SSIM of `model` on batches of `NoisyPair`s, and those of the noisy input; for the log."""
    sums, count = np.zeros(4), 0
    with eval_mode(model), torch.no_grad():
        for batch in loader:
            noisy, clean = as_float(batch["noisy"], device), as_float(batch["clean"], device)
            with autocast(precision, device):
                output = model(noisy)
            pictures = (output.float().clamp(0, 1), noisy)
            sums += [float(measure(picture, clean).sum()) for picture in pictures for measure in (psnr, ssim)]
            count += len(noisy)
    return dict(zip(("psnr", "ssim", "psnr_noisy", "ssim_noisy"), (sums / count).tolist(), strict=True))


def evaluate_denoiser(
    model: SpeckleDenoiser, config: Config, meta: Mapping[str, Any], split: int, folder: Path, name: str = "denoise"
) -> tuple[str, list[Path]]:
    """Compare `model` with the classical filters on the split's test list; return the report and the files written.

    The noise is that of `config.denoise`. Non-local means gets the strengths that are best on training frames. Writes
    <name>.json, <name>.csv, <name>_panel.npz and <name>_panel.png to `folder`. Raises InputError for missing lists or
    frames.
    """
    noise = config.denoise
    tests = SpeckleDataset(config.dataset.split_list(split, "test"), config, False, limit=noise.eval_frames)
    fitting = SpeckleDataset(config.dataset.split_list(split, "train"), config, False, limit=noise.nlm_frames)
    (strength, colour), tried = choose_strengths([fitting.pair(index) for index in range(len(fitting))])
    methods: dict[str, Method] = {
        INPUT: lambda noisy: noisy,
        MEDIAN: median_3x3,
        NLM: lambda noisy: non_local_means(noisy, strength, colour),
        NET: lambda noisy: denoise_image(model, noisy),
    }
    rows = compare(methods, (tests.pair(index) for index in range(len(tests))))
    tried_rows = [{"strength": h, "colour": h_colour, "psnr": value} for (h, h_colour), value in tried.items()]
    record = {
        "weights": dict(meta),
        "data": f"{config.dataset.name}_split{split}_test",
        "side": tests.side,
        "noise": {"distribution": noise.distribution, "looks": noise.eval_looks, "grain": noise.grain},
        "seed": config.seed,
        "nlm": {"strength": strength, "colour": colour, "n_frames": len(fitting), "tried": tried_rows},
        "methods": rows,
    }
    files = [folder / f"{name}{suffix}" for suffix in (".json", ".csv", "_panel.npz", "_panel.png")]
    write_text(files[0], json.dumps(record, indent=1, allow_nan=False) + "\n")
    write_csv(files[1], COLUMNS, [{**row, "psnr": f"{row['psnr']:.4f}", "ssim": f"{row['ssim']:.4f}"} for row in rows])
    _save_panel(files[2], tests, methods)
    draw_comparison(files[2], files[3])
    return report(record), files


def measure_name(config: Config, trained: Config) -> str:
    """Return "denoise" for a measure on the run's own data and noise, else a name that tells both."""
    if (config.dataset.name, config.denoise) == (trained.dataset.name, trained.denoise):
        return "denoise"
    noise = config.denoise
    return f"denoise_{config.dataset.name}_{noise.distribution}_looks{noise.eval_looks:g}_grain{noise.grain:g}"


def report(record: Mapping[str, Any]) -> str:
    """Lay out what `evaluate_denoiser` recorded, and say in words whether the denoiser beats the filters."""
    rows, noise, nlm = record["methods"], record["noise"], record["nlm"]
    cells = [[r["method"], f"{r['psnr']:.2f}", f"{r['ssim']:.3f}", f"{r['best_on']}/{r['n_frames']}"] for r in rows]
    by_name = {row["method"]: row for row in rows}
    rival = max((row for row in rows if row["method"] != NET), key=lambda row: row["psnr"])
    gain = by_name[NET]["psnr"] - rival["psnr"]
    grain = f", grains of {noise['grain']:g} px" if noise["grain"] else ""
    lines = [
        f"{record['data']}: {rows[0]['n_frames']} frames of {record['side']} px, {noise['distribution']} speckle of "
        f"{noise['looks']:g} looks{grain}",
        format_table(["", "PSNR, dB", "SSIM", "best on"], cells),
        f"the denoiser is {abs(gain):.2f} dB {'above' if gain > 0 else 'BELOW'} the next best, {rival['method']}",
        f"non-local means: strength {nlm['strength']:g}, for colour {nlm['colour']:g}, chosen on {nlm['n_frames']} "
        "training frames",
    ]
    if nlm["strength"] in (min(STRENGTHS), max(STRENGTHS)):
        lines.append("non-local means: the strength lies at the edge of those tried; a better one may lie beyond")
    return "\n".join(lines)


def _save_panel(path: Path, tests: SpeckleDataset, methods: Mapping[str, Method]) -> None:
    chosen = np.linspace(0, len(tests) - 1, min(PANEL_FRAMES, len(tests))).round().astype(int)
    pairs = [tests.pair(index) for index in chosen]
    columns = {name: np.stack([method(noisy) for noisy, _ in pairs]) for name, method in methods.items()}
    columns["clean"] = np.stack([clean for _, clean in pairs])
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **columns)  # pyright: ignore[reportArgumentType]


COMMAND = "python -m training.denoise"


class DenoiseLoss(nn.Module):
    """Mean absolute error against the clean frame."""

    def forward(self, output: Tensor, clean: Tensor) -> dict[str, Tensor]:
        """Compare float [B, 3, h, w] pictures of one shape; returns {"total_loss"}, a differentiable scalar."""
        return {"total_loss": mean_absolute_error(output.float(), clean)}


class DenoiseTrainer(TrainingLoop[SpeckleDenoiser, SpeckleDataset]):
    """Trains the speckle denoiser on one split of a prepared set; everything it writes lies in `run_dir`.

    weights: a denoiser of the same width and levels to start from. resume: the run folder to go on with. Raises
    InputError for missing data, weights or devices before anything is written.
    """

    task, command = DENOISE, COMMAND
    score, terms = Score("psnr", "PSNR"), ("total_loss",)

    def _dataset(self, part: str, training: bool) -> SpeckleDataset:
        limit = None if training else self.config.denoise.eval_frames
        return SpeckleDataset(self.config.dataset.split_list(self.split, part), self.config, training, limit)

    def _loader(self, dataset: SpeckleDataset) -> EpochLoader:
        config, training = self.config, dataset.training
        batch_size = config.batch_size if training else config.eval.batch_size or 1  # whole frames, which may be large
        workers, seed = config.run.workers, config.seed
        return make_loader(
            dataset, batch_size, workers=workers, shuffle=training, seed=seed, collate_fn=default_collate
        )

    def _new_model(self) -> SpeckleDenoiser:
        return SpeckleDenoiser(self.config.denoise.width, self.config.denoise.levels)

    def _initialise(self, model: SpeckleDenoiser, weights: str | None) -> str:
        if weights is None:
            return "random (Kaiming), the last layer zero: it starts as the identity"
        start, _, meta = load_denoiser(weights)
        load_state(model, start.state_dict(), meta["weights"])
        return meta["weights"]

    def _new_criterion(self) -> DenoiseLoss:
        return DenoiseLoss()

    def _terms_of(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        with autocast(self.precision, self.device):
            output = self.model(self._input(batch["noisy"]))
        return self.criterion(output, as_float(batch["clean"], self.device))

    def _measure(self) -> dict[str, Any]:
        return validate_denoiser(self.ema.model, self.val_loader, self.device, self.eval_precision)

    def _about_model(self) -> str:
        noise, n_params = self.config.denoise, sum(p.numel() for p in self.model.parameters())
        return f"encoder-decoder, {noise.levels} levels from width {noise.width}, {n_params:,} parameters"

    def _next_command(self, best: str) -> str:
        return f"{COMMAND} --apply {best} --out data/{self.config.dataset.name}_denoised"
