"""A cell of the paper's tables: the published value, ours, the difference, and a verdict in words."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

from evaluation.tables.gather import COSTS, Measured, Study
from evaluation.tables.published import Source

DIGITS = {"gflops": 1, "fps": 1}
WITHIN, OUTSIDE, NOT_RUN, INCOMPLETE = "within tolerance", "outside", "not run", "incomplete"
NOT_MEASURED = "not measured"  # it ran, but has no such box, or no such set
OTHER_DATA, OTHER_SIDE, OTHER_MACHINE = "other data", "other input side", "other machine"
ROUNDING = 1e-9  # 0.80 - 0.77 is a little more than 0.03


@dataclass(frozen=True)
class Cell:
    """One cell. why: what is missing, by seed. ran: whether there is any result, be it without this measure.

    on_paper_data, at_paper_side: whether ours was measured where the paper measured, and with an input of its side.
    """

    runs: tuple[str, ...]
    measure: str
    published: float | None
    mean: float | None
    sd: float | None = None
    low: float | None = None
    high: float | None = None
    n_seeds: int = 0
    why: str = ""
    tolerance: float | None = None
    on_paper_data: bool = True
    at_paper_side: bool = True
    ran: bool = False

    @property
    def difference(self) -> float | None:
        """Ours minus the published value, or None."""
        return None if self.mean is None or self.published is None else self.mean - self.published

    @property
    def verdict(self) -> str:
        """How ours stands to the published value."""
        if self.mean is None:
            return INCOMPLETE if self.n_seeds else NOT_MEASURED if self.ran else NOT_RUN
        if self.measure == "fps":
            return OTHER_MACHINE
        if self.difference is None:
            return ""
        if self.measure == "gflops" and not self.at_paper_side:
            return OTHER_SIDE
        if self.measure != "gflops" and not self.on_paper_data:
            return OTHER_DATA
        if self.tolerance is None:
            return ""
        return WITHIN if abs(self.difference) <= self.tolerance + ROUNDING else OUTSIDE

    @property
    def ours(self) -> str:
        """Mean, SD over seeds and interval, as text."""
        if self.mean is None:
            return "-"
        digits = DIGITS.get(self.measure, 3)
        spread = "" if self.sd is None else f" ± {self.sd:.{digits}f}"
        interval = f" [{self.low:.{digits}f}, {self.high:.{digits}f}]" if self.low is not None else ""
        return f"{self.mean:.{digits}f}{spread}{interval}"

    @property
    def texts(self) -> tuple[str, str, str]:
        """Published, ours, difference."""
        digits = DIGITS.get(self.measure, 2)
        published = "-" if self.published is None else f"{self.published:.{digits}f}"
        difference = "" if self.difference is None else f"{self.difference:+.{DIGITS.get(self.measure, 3)}f}"
        return published, self.ours, difference


def cell_of(study: Study, source: Source) -> Cell:
    """Return the cell of one run and measure; of several, their mean, which is none while one is missing."""
    cells = [_single(study, run, measure) for run, measure in source]
    if len(cells) == 1:
        return cells[0]
    published = [cell.published for cell in cells if cell.published is not None]
    means = [cell.mean for cell in cells if cell.mean is not None]
    tolerances = [cell.tolerance for cell in cells if cell.tolerance is not None]
    return Cell(
        runs=tuple(dict.fromkeys(run for run, _ in source)),
        measure=source[0][1],
        published=fmean(published) if len(published) == len(cells) else None,
        mean=fmean(means) if len(means) == len(cells) else None,
        n_seeds=sum({cell.runs: cell.n_seeds for cell in cells}.values()),  # of one run once, however many its measures
        why="" if len(means) == len(cells) else "a mean of rows above, of which some are missing",
        tolerance=max(tolerances, default=None),
        on_paper_data=all(cell.on_paper_data for cell in cells),
        at_paper_side=all(cell.at_paper_side for cell in cells),
        ran=all(cell.ran for cell in cells),
    )


def _single(study: Study, run: str, measure: str) -> Cell:
    entry = study.registry.get(run)
    measured = study.measured(run, measure)
    return Cell(
        runs=(run,),
        measure=measure,
        published=entry.paper.get(measure) if entry else None,  # pyright: ignore[reportArgumentType] "small": never
        mean=measured.mean,
        sd=None if measure in COSTS else measured.sd,
        low=measured.low,
        high=measured.high if measured.low is not None else None,
        n_seeds=len(measured.by_seed),
        why=reason(run, measured),
        tolerance=entry.tolerance.get(measure) if entry else None,  # pyright: ignore[reportArgumentType]
        on_paper_data=study.on_paper_data(run),
        at_paper_side=study.at_paper_side(run),
        ran=measured.ran,
    )


def reason(run: str, measured: Measured) -> str:
    """Say which seeds are missing and why, beside the values of those that are there; nothing where none is."""
    if not measured.missing:
        return ""
    reasons = set(measured.missing.values())
    if not measured.by_seed and len(reasons) == 1:
        return reasons.pop()  # without the run's name, so that rows may share it
    there = ", ".join(f"seed {seed} has {value:.3f}" for seed, value in sorted(measured.by_seed.items()))
    gone = "; ".join(f"seed {seed}: {why}" for seed, why in sorted(measured.missing.items()))
    return f"{run}: {gone}" + (f"; {there}; no mean over fewer seeds than were asked for" if there else "")
