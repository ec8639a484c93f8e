"""A backend is evaluated as the model is."""

from __future__ import annotations

import numpy as np
import torch
from test_predictor import FakeBackend, raw_of

from deployment.exporting.checks import BackendModule


def test_a_backend_stands_in_for_a_model():
    backend = FakeBackend(raw_of((32, 32, 16, 16, 0.9)))
    images = torch.rand(2, 3, 64, 64)
    raw = BackendModule(backend)(images, inference=True)
    assert raw.shape == (2, 5, 1)
    np.testing.assert_array_equal(backend.seen[0], images.numpy())
