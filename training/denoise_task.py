"""Training of the speckle denoiser: what `TrainingLoop` leaves open, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.utils.data import default_collate

from data_utils.loader import EpochLoader, make_loader
from data_utils.speckle_set import SpeckleDataset
from evaluation.denoising import validate_denoiser
from evaluation.predictions import as_float
from models.denoiser import SpeckleDenoiser, load_denoiser
from models.precision import autocast
from models.weights import DENOISE, load_state
from training.loop import TrainingLoop
from training.loss import mean_absolute_error
from training.progress import Score

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
