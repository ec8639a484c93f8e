"""Synthetic multiplicative speckle: y = x * n, with n > 0 of mean 1 and variance 1 / looks.

`gamma`: n ~ Gamma(shape L, scale 1 / L), the intensity of fully developed speckle averaged over L looks (Goodman,
"Some fundamental properties of speckle", J. Opt. Soc. Am. 66, 1976: one look is the exponential distribution).
`lognormal`: n = exp(s g - s^2 / 2) with g normal and s^2 = ln(1 + 1 / L).

Grains: a field of independent normal numbers is blurred by a Gaussian, divided by the standard deviation that the blur
leaves (the sum of the squared 1-D weights), and only then turned into n, quantile by quantile. So neighbours are alike
and n keeps its distribution exactly, which blurring n itself would not.

The noise acts on displayed grey values, one n for the three channels of a pixel. A scanner's speckle arises before its
logarithmic compression, so this is a stand-in for it, as in the literature, and not a model of a scanner.
"""

from __future__ import annotations

import functools
import math
import zlib

import cv2
import numpy as np
from numpy.typing import NDArray

FloatField = NDArray[np.float32]

_LIMIT, _KNOTS = 6.0, 1201  # normal quantiles tabulated between +-6: beyond lies one number in 500 million


def speckle_field(
    height: int, width: int, rng: np.random.Generator, looks: float, distribution: str = "gamma", grain: float = 0.0
) -> FloatField:
    """Draw n, float32 [height, width]: positive, mean 1, variance 1 / `looks`; `grain` is the blur's sigma in pixels.

    Raises ValueError for a distribution other than gamma and lognormal, and for looks that are not above 0.
    """
    if not looks > 0:
        raise ValueError(f"looks must be above 0, found {looks}")
    normal = _normal_field(height, width, rng, grain)
    if distribution == "lognormal":
        variance = math.log1p(1 / looks)
        return np.exp(math.sqrt(variance) * normal - variance / 2).astype(np.float32)
    if distribution != "gamma":
        raise ValueError(f"speckle '{distribution}': known are gamma and lognormal")
    return np.interp(normal, *_gamma_quantiles(float(looks))).astype(np.float32)


def add_speckle(
    image: NDArray[np.generic],
    rng: np.random.Generator,
    looks: float,
    distribution: str = "gamma",
    grain: float = 0.0,
) -> NDArray[np.generic]:
    """Return `image` times speckle, clipped to its range: uint8 [H, W(, C)], rounded, or float [H, W(, C)] in [0, 1].

    Clipping at white takes away the noise's upper tail there, so bright areas get a little darker on average.
    """
    height, width = image.shape[:2]
    field = speckle_field(height, width, rng, looks, distribution, grain)
    noisy = image.astype(np.float32) * (field[..., None] if image.ndim == 3 else field)
    if image.dtype == np.uint8:
        return np.rint(noisy.clip(0, 255)).astype(np.uint8)
    return noisy.clip(0, 1).astype(image.dtype)


def frame_rng(seed: int, stem: str) -> np.random.Generator:
    """Return the generator of a frame that gets the same noise each time, whichever list and place it stands in."""
    return np.random.default_rng([seed, zlib.crc32(stem.encode())])


def _normal_field(height: int, width: int, rng: np.random.Generator, grain: float) -> FloatField:
    """Draw standard normal numbers [height, width], correlated by a Gaussian of sigma `grain` where it is above 0."""
    if not grain:
        return rng.standard_normal((height, width), dtype=np.float32)
    radius = math.ceil(3 * grain)
    weights = cv2.getGaussianKernel(2 * radius + 1, grain, cv2.CV_32F)
    # Drawn larger and cut, because numbers blurred against a border would vary more than the others.
    wide = rng.standard_normal((height + 2 * radius, width + 2 * radius), dtype=np.float32)
    blurred = cv2.sepFilter2D(wide, -1, weights, weights)[radius : radius + height, radius : radius + width]
    return (blurred / np.square(weights).sum()).astype(np.float32)


@functools.lru_cache(maxsize=8)
def _gamma_quantiles(looks: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return normal quantiles, and those of Gamma(looks, 1 / looks) that belong to them."""
    from scipy.special import gammaincinv, ndtr

    normal = np.linspace(-_LIMIT, _LIMIT, _KNOTS)
    return normal, gammaincinv(looks, ndtr(normal)) / looks
