"""What the demo data holds: who the patients are, which lesions they have, and how each of their frames is taken."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from data_utils.synthetic.frame import DEFECTS, LARGEST_SHARE, SIZE_SHARES, FramePlan, Lesion, draw_lesion
from data_utils.synthetic.scene import Anatomy, Camera, draw_anatomy, glottis_half_width

SOURCES = {"scope_a": "round", "scope_b": "cropped", "scope_c": "octagon"}  # data set source -> shape of its vignette
HEALTHY_PATIENTS = 0.15
HEALTHY_FRAMES = 0.12  # of the other patients
SHOWN = 0.92  # how often a lesion is in view
DEFECT_SHARE = 0.08
NBI_SHARES = (0.0, 0.0, 0.3, 0.6, 1.0)  # by patient: share of frames under narrow-band light


@dataclass(frozen=True)
class Patient:
    """One patient: anatomy, lesions, equipment, and how the camera is usually held."""

    patient_id: str
    source: str
    nbi_share: float
    anatomy: Anatomy
    zoom: float
    centre_uv: tuple[float, float]
    lesions: tuple[Lesion, ...]


def plan_frames(n_patients: int, n_frames: int, size: int, seed: int) -> list[FramePlan]:
    """Plan the whole set, patient by patient; the same arguments give the same plan.

    `size` is the side of the square frames in pixels; lesion sizes are in these pixels whatever the side is.
    """
    rng = np.random.default_rng([seed, 0])
    patients = _draw_patients(rng, n_patients, size)
    owners = np.sort(np.concatenate([np.arange(n_patients), rng.integers(0, n_patients, n_frames - n_patients)]))
    spoiled = rng.permutation(n_frames)[: round(DEFECT_SHARE * n_frames)]
    defects = {int(frame): DEFECTS[i % len(DEFECTS)] for i, frame in enumerate(spoiled)}
    plans = []
    for frame, owner in enumerate(owners):
        number = frame - int(np.searchsorted(owners, owner))
        frame_rng = np.random.default_rng([seed, 1, frame])
        plans.append(_plan_frame(frame_rng, patients[owner], number, size, defects.get(frame)))
    return plans


def _draw_patients(rng: np.random.Generator, n_patients: int, size: int) -> list[Patient]:
    healthy = set(rng.permutation(n_patients)[: round(HEALTHY_PATIENTS * n_patients)].tolist())
    counts = dict.fromkeys(SIZE_SHARES, 0)
    patients = []
    for i in range(n_patients):
        source = list(SOURCES)[i % len(SOURCES)]
        anatomy = draw_anatomy(rng, SOURCES[source])
        zoom = rng.uniform(0.88, 1.25)
        lesions = () if i in healthy else _draw_lesions(rng, anatomy, zoom * size / 2, size, counts)
        centre_uv = (rng.normal(0, 0.06), 0.5 + rng.normal(0, 0.06))
        nbi_share = float(rng.choice(NBI_SHARES))
        patients.append(Patient(f"P{i + 1:03d}", source, nbi_share, anatomy, zoom, centre_uv, lesions))
    return patients


def _draw_lesions(
    rng: np.random.Generator, anatomy: Anatomy, scale: float, size: int, counts: dict[str, int]
) -> tuple[Lesion, ...]:
    """Draw 1 to 3 lesions that do not overlap; `counts` keeps the size buckets near their shares over all patients."""
    lesions: list[Lesion] = []
    for _ in range(int(rng.choice([1, 2, 3], p=[0.15, 0.35, 0.50]))):
        total = sum(counts.values()) + 1
        bucket = max(SIZE_SHARES, key=lambda name: SIZE_SHARES[name] * total - counts[name])
        for _ in range(30):
            lesion = draw_lesion(rng, bucket, _draw_place(rng, anatomy))
            if all(_apart(lesion, other, scale, LARGEST_SHARE * size) for other in lesions):
                lesions.append(lesion)
                counts[bucket] += 1
                break
    return tuple(lesions)


def _draw_place(rng: np.random.Generator, anatomy: Anatomy) -> tuple[float, float]:
    """Pick where lesions grow: mostly on the vocal folds, then false folds, arytenoids and the epiglottis."""
    side = int(rng.choice([-1, 1]))
    v = rng.uniform(0.08, 0.92)
    edge = float(glottis_half_width(anatomy, v))
    site = rng.choice(["fold", "false fold", "arytenoid", "epiglottis"], p=[0.45, 0.35, 0.12, 0.08])
    if site == "fold":
        return side * (edge + rng.uniform(0.1, 0.9) * anatomy.fold_width), v
    if site == "false fold":
        return side * (edge + 1.1 * anatomy.fold_width + rng.uniform(0.06, 0.26)), v
    if site == "arytenoid":
        return side * rng.uniform(0.12, 0.32), rng.uniform(1.04, 1.18)
    return rng.uniform(-0.25, 0.25), rng.uniform(-0.26, -0.10)


def _apart(a: Lesion, b: Lesion, scale: float, largest: float) -> bool:
    gap = scale * np.hypot(a.place_uv[0] - b.place_uv[0], a.place_uv[1] - b.place_uv[1])
    return bool(gap > 0.6 * (min(max(a.size_px), largest) + min(max(b.size_px), largest)))


def _plan_frame(rng: np.random.Generator, patient: Patient, number: int, size: int, defect: str | None) -> FramePlan:
    closer = rng.uniform(0.92, 1.08)
    anatomy = replace(patient.anatomy, opening=patient.anatomy.opening * rng.uniform(0.75, 1.25))  # the folds move
    camera = Camera(
        side=size,
        zoom=patient.zoom * closer,
        roll=anatomy.roll + rng.normal(0, 0.06),
        centre_uv=(patient.centre_uv[0] + rng.normal(0, 0.04), patient.centre_uv[1] + rng.normal(0, 0.04)),
    )
    shown = rng.random(len(patient.lesions)) < SHOWN
    if not shown.any():
        shown[:] = True
    if rng.random() < HEALTHY_FRAMES:
        shown[:] = False
    focus = rng.random()
    motion = focus > 0.9
    softness = rng.uniform(0.4, 0.9) if focus < 0.75 else rng.uniform(1.0, 1.8)
    return FramePlan(
        stem=f"{patient.patient_id.lower()}_f{number + 1:03d}",
        patient_id=patient.patient_id,
        source=patient.source,
        modality="NBI" if rng.random() < patient.nbi_share else "WL",
        anatomy=anatomy,
        camera=camera,
        lesion_zoom=closer,
        lesions=tuple(lesion for lesion, seen in zip(patient.lesions, shown, strict=True) if seen),
        seed=int(rng.integers(2**31)),
        softness=softness * size / 1280,
        motion=motion,
        noise=rng.uniform(3.0, 5.0) if defect != "blurred" else 0.4,
        exposure=rng.uniform(0.85, 1.12),
        defect=defect,
    )
