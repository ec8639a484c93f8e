"""A checkpoint small enough for unit tests, for the tests of backends, export and infer.py."""

from __future__ import annotations

from pathlib import Path

TINY_SIDE = 96  # px
TINY_NAMES = ("lesion", "polyp")
CONFIG_PATH = Path(__file__).resolve().parents[1] / "configs" / "train.yaml"


def write_tiny_checkpoint(path: Path, decoder: str = "light", seed: int = 0) -> Path:
    """Save a randomly initialised YOLOv8n for two classes at 96 px.

    The detector's weights depend on `seed` alone, whatever the decoder. Its class bias is raised and its BatchNorm
    statistics are made uneven, so that it finds something and folding them is no empty exercise.
    """
    import torch

    from data_utils.config.loading import load_config
    from models.checkpoint import save_model
    from models.sre_yolo import SREYOLO

    overrides = [f"imgsz_lr={TINY_SIDE}", f"imgsz_hr={2 * TINY_SIDE}", f"sr_decoder={decoder}", "model.fusion_stride=8",
                 "model.branch_width=8", f"dataset.names=[{', '.join(TINY_NAMES)}]", "dataset.nc=2"]  # fmt: skip
    config = load_config(CONFIG_PATH, overrides)
    model = SREYOLO(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.backbone.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2.0, generator=generator)
            elif name.endswith("running_mean"):
                tensor.normal_(0, 0.1, generator=generator)
            elif tensor.dim() == 4 and ".dfl." not in name:
                tensor.normal_(0, (2 / tensor[0].numel()) ** 0.5, generator=generator)
        for scores in model.backbone.head.cv3:
            scores[-1].bias.fill_(-1.0)
    save_model(path, model, config, {"epoch": 3, "run": "tiny"})
    return path
