"""A picture in a page is the pixels alone, and holds their size."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from data_utils.pages import jpeg_picture


def test_a_picture_is_a_jpeg_of_the_pixels_without_metadata():
    bgr = np.full((8, 12, 3), (200, 100, 50), np.uint8)
    picture = jpeg_picture(bgr, "blue", 95)
    kind, encoded = picture.source.split(",")
    decoded = Image.open(io.BytesIO(base64.b64decode(encoded)))
    assert (kind, picture.width, picture.height, picture.alt) == ("data:image/jpeg;base64", 12, 8, "blue")
    assert decoded.size == (12, 8)
    assert np.abs(np.asarray(decoded)[4, 4].astype(int) - (50, 100, 200)).max() < 6
    assert not decoded.getexif()
