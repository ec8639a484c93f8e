"""Training of the SR branch alone, on frames whose labels are never read: L_SR, judged by PSNR."""

from __future__ import annotations

from typing import Any

from data_utils.config.sections import Config
from evaluation.image_quality import ReconstructionQuality
from evaluation.passes.predict import measure_reconstruction
from models.sre_yolo import SREYOLO
from training import distributed
from training.run.log import Score
from training.trainer import Trainer


class BranchTrainer(Trainer):
    """Trains the branch (`stages.train` branch), and the backbone with it (branch+backbone), on L_SR alone.

    No detector layer behind the deeper tap is run or changed. The best epoch is the one with the highest PSNR of the
    validation frames. Raises InputError, beside what `Trainer` raises, for a frozen detector with random weights.
    """

    score, terms = Score("psnr", "PSNR"), ("total_loss", "l_sr")

    def _new_model(self) -> SREYOLO:
        model = super()._new_model()
        model.backbone.stops_at_taps = True
        return model

    def _measure(self) -> dict[str, Any]:
        limit = self.config.run.sr_metric_frames or len(self.val_set)
        quality = measure_reconstruction(
            self.ema.model, self.val_loader, self.device, limit, precision=self.eval_precision
        )
        return dict(ReconstructionQuality.merged(distributed.gathered(quality)).means())

    def _next_command(self, best: str) -> str:
        return f"python train.py stages.branch={best}"


def trainer_class(config: Config) -> type[Trainer]:
    """Return the trainer of what `stages.train` asks for."""
    return Trainer if config.detects else BranchTrainer
