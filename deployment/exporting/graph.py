"""The modules that are traced for an export.

Legend: B frames; S input side in pixels; A anchors; nc classes; K = max_det rows.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.sre_yolo import SREYOLO

NMS_CANDIDATES = 3000  # best-scored anchors that enter the graph's NMS


class InferenceGraph(nn.Module):
    """The detector alone, with boxes divided by the input side; the SR branch is not part of it."""

    def __init__(self, model: SREYOLO, input_size: int) -> None:
        super().__init__()
        self.backbone = model.backbone
        self.input_size = input_size

    def forward(self, images: Tensor) -> Tensor:
        """Map float32 [B, 3, S, S] to [B, 4+nc, A] with boxes in units of the input side."""
        decoded = self.backbone.detect(images)
        return torch.cat([decoded[:, :4] / self.input_size, decoded[:, 4:]], dim=1)


class NmsGraph(nn.Module):
    """An `InferenceGraph` and the suppression that models/predictor.py does, for one frame."""

    def __init__(self, graph: nn.Module, conf: float, iou: float, max_det: int) -> None:
        super().__init__()
        self.graph = graph
        self.conf, self.iou, self.max_det = conf, iou, max_det

    def forward(self, images: Tensor) -> Tensor:
        """Map float32 [1, 3, S, S] to [1, K, 6]: corners in units of the input side, score, class; the rest zeros."""
        from torchvision.ops import nms

        raw = self.graph(images)[0]
        scores, class_ids = raw[4:].max(dim=0)
        scores, order = scores.topk(min(NMS_CANDIDATES, scores.shape[0]))
        boxes, class_ids = raw[:4, order].T, class_ids[order].to(raw.dtype)
        corners = torch.cat([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], dim=1)
        kept = nms(corners + class_ids[:, None] * 4, scores, self.iou)  # boxes of two classes never meet 4 sides apart
        kept = kept[scores[kept] > self.conf]
        rows = torch.cat([corners[kept], scores[kept, None], class_ids[kept, None]], dim=1)
        return torch.cat([rows, rows.new_zeros(self.max_det, 6)])[None, : self.max_det]
