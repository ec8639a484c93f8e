"""Round numbers for the axes of charts."""

from __future__ import annotations

import math

TICK_STEPS = (1, 2, 5, 10)


def round_steps(low: float, high: float, n: int) -> list[float]:
    """Return about `n` round numbers in [low, high]: multiples of 1, 2 or 5 times a power of ten."""
    span = high - low
    if not span > 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(span / n))
    step = power * next(factor for factor in TICK_STEPS if factor * power * n >= span * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]
