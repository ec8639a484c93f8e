"""Frames, results, a fake detector and a prepared data set small enough for the tests of evaluation/."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data_utils.records import Detections, FrameResult

CONFIG_PATH = Path(__file__).resolve().parents[1] / "configs" / "train.yaml"
SIDE = 96  # px, LR; the same as tiny_checkpoint's


def frame_result(truth=(), found=(), stem="f", original=(640, 480), model_input=(320, 320)) -> FrameResult:
    """`truth`: (x1, y1, x2, y2, class); `found`: the same with the score last; all in original pixels."""
    truth_rows = np.array(truth, dtype=np.float64).reshape(-1, 5)
    found_rows = np.array(found, dtype=np.float64).reshape(-1, 6)
    return FrameResult(
        stem=stem,
        detections=Detections(found_rows[:, :4], found_rows[:, 5], found_rows[:, 4]),
        truth_xyxy=truth_rows[:, :4],
        truth_class_ids=truth_rows[:, 4].astype(np.int64),
        original_size=original,
        input_size=model_input,
    )


def small_config(*overrides: str):
    """The default config at 96 px with two classes."""
    from data_utils.config.loading import load_config

    small = [f"imgsz_lr={SIDE}", f"imgsz_hr={2 * SIDE}", "dataset.nc=2", "dataset.names=[lesion, polyp]"]
    return load_config(CONFIG_PATH, [*small, "batch_size=2", "run.workers=0", *overrides])


def batch(paths, labels=(), side=SIDE, hr=False):
    """A batch of black frames; `labels` rows are (index in batch, class, cx, cy, w, h)."""
    import torch

    images = {"lr_image": torch.zeros(len(paths), 3, side, side)}
    if hr:
        images["hr_image"] = torch.zeros(len(paths), 3, 2 * side, 2 * side)
    rows = torch.tensor(labels, dtype=torch.float32).reshape(-1, 6)
    return {**images, "labels": rows, "img_path": [f"/data/lr/images/{path}.png" for path in paths]}


def fake_detector(boxes, nc=2, branch=False):
    """A model that finds the same boxes in every frame: (cx, cy, w, h, class, score) in input pixels."""
    import torch
    from torch import nn

    class FakeDetector(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))
            self.frozen = nn.BatchNorm2d(3).eval()
            self.sr_branch = nn.Identity() if branch else None
            self.modes: list[bool] = []

        def forward(self, lr_image, inference=False):
            self.modes.append(self.training)
            if not inference:
                enlarged = nn.functional.interpolate(lr_image, scale_factor=2) * self.scale
                return {"predictions": None, "sr_output": enlarged if branch else None}
            raw = torch.zeros(len(lr_image), 4 + nc, max(len(boxes), 1), dtype=lr_image.dtype)
            for anchor, (*box, class_id, score) in enumerate(boxes):
                raw[:, :4, anchor] = torch.tensor(box, dtype=lr_image.dtype)
                raw[:, 4 + class_id, anchor] = score
            return raw * self.scale

    return FakeDetector()


def write_prepared_set(folder: Path, n_frames: int = 5, original=(384, 192)) -> list[str]:
    """Write a prepared set (96/192 px, noise) with its manifest and a test list; return overrides that lead to it.

    Every frame but the last holds one box of alternating class, a quarter of the frame wide and high, at its centre.
    """
    import cv2

    from data_utils.manifest import ManifestRow, write_manifest

    rng = np.random.default_rng(0)
    processed = folder / "processed"
    for name in ("lr/images", "lr/labels", "hr/images"):
        (processed / name).mkdir(parents=True)
    rows, listed = [], []
    for index in range(n_frames):
        stem = f"frame_{index}"
        hr = rng.integers(0, 255, (2 * SIDE, 2 * SIDE, 3), dtype=np.uint8)
        cv2.imwrite(str(processed / f"hr/images/{stem}.png"), hr)
        cv2.imwrite(str(processed / f"lr/images/{stem}.png"), cv2.resize(hr, (SIDE, SIDE)))
        label = "" if index == n_frames - 1 else f"{index % 2} 0.5 0.5 0.25 0.25\n"
        (processed / f"lr/labels/{stem}.txt").write_text(label)
        rows.append(ManifestRow(stem, f"{stem}.png", f"p{index}", f"p{index}", "made", "WL", *original, "native",
                                int(bool(label)), "0" * 32))  # fmt: skip
        listed.append(str(processed / f"lr/images/{stem}.png"))
    write_manifest(processed / "manifest.csv", rows)
    (folder / "splits" / "split1").mkdir(parents=True)
    (folder / "splits" / "split1" / "test.txt").write_text("\n".join(listed) + "\n")
    return [f"dataset.processed={processed}", f"dataset.splits={folder / 'splits'}"]


def random_results(rng, n_frames=8, nc=1, n_patients=None) -> list[FrameResult]:
    """Frames with up to three true boxes and up to eight detections, some of them near a true box; distinct scores."""
    results = []
    for index in range(n_frames):
        n_true, n_found = int(rng.integers(0, 4)), int(rng.integers(0, 9))
        corners, sizes = rng.uniform(0, 400, (n_true, 2)), rng.uniform(10, 150, (n_true, 2))
        truth = np.concatenate([corners, corners + sizes], axis=1)
        classes = rng.integers(0, nc, n_true)
        corners, sizes = rng.uniform(0, 400, (n_found, 2)), rng.uniform(10, 150, (n_found, 2))
        found, found_classes = np.concatenate([corners, corners + sizes], axis=1), rng.integers(0, nc, n_found)
        for row in range(n_found if n_true else 0):
            if rng.random() < 0.6:
                near = int(rng.integers(n_true))
                found[row] = truth[near] + rng.normal(0, 4, 4)
                found_classes[row] = classes[near]
        patient = f"p{index if n_patients is None else index % n_patients}"
        results.append(
            FrameResult(
                stem=f"f{index}",
                detections=Detections(found, rng.random(n_found), found_classes),
                truth_xyxy=truth,
                truth_class_ids=classes,
                original_size=(640, 640),
                input_size=(320, 320),
                patient_id=patient,
                group=patient,
                source="A" if index % 2 else "B",
                modality="NBI" if index % 3 else "WL",
            )
        )
    return results
