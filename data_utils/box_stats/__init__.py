"""Box sizes of a data set: clusters for each detection stride, size buckets, aspect ratios, and whether P2 is needed.

    python -m data_utils.box_stats --config configs/train.yaml [--split N] [--data train|all] [key=value ...]

Writes box_stats.yaml, boxes.csv (a line for each box) and three pictures drawn from them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_utils.errors import InputError

if TYPE_CHECKING:
    from data_utils.box_stats.sizes import BoxTable
    from data_utils.config.sections import Config


def box_statistics(config: Config, split: int | None, n_clusters: int, seed: int, out: Path) -> dict[str, Any]:
    """Measure the boxes of one split's training list, or of the whole manifest when `split` is None, and save all.

    Returns what box_stats.yaml says. Raises InputError for files that training would refuse, images that the manifest
    does not know, and a list without a box.
    """
    import numpy as np
    import yaml

    from data_utils.box_stats.plots import BOX_COLUMNS, BOXES, STATISTICS, draw_box_plots
    from data_utils.box_stats.sizes import strides_of, summarise
    from data_utils.files import write_csv, write_text

    data = config.dataset
    n_frames, table = _read_boxes(config, split)
    origin = f"{n_frames} frames of " + ("the manifest" if split is None else f"split{split}/train")
    statistics = {
        "dataset": data.name,
        "frames": origin,
        "imgsz_lr": config.imgsz_lr,
        "detector": config.model.detector,
        "strides": list(strides_of(config.model.detector)),
        **summarise(table, data.names, config.model.detector, n_clusters, seed),
    }
    sides = np.concatenate([table.lr_sizes, table.original_sizes], axis=1).round(3).tolist()
    rows = (
        dict[str, object](zip(BOX_COLUMNS, (data.names[class_id], *pixels), strict=True))
        for class_id, pixels in zip(table.class_ids.tolist(), sides, strict=True)
    )
    write_csv(out / BOXES, BOX_COLUMNS, rows)
    write_text(out / STATISTICS, yaml.safe_dump(statistics, sort_keys=False, allow_unicode=True, width=120))
    draw_box_plots(out)
    return statistics


def report(statistics: dict[str, Any]) -> str:
    """Return what the terminal shows of box_stats.yaml."""
    from data_utils.command_line import format_table

    clusters, head, sizes = statistics["clusters"], statistics["p2_head"], statistics["sizes"]
    ratios = statistics["aspect_ratio"]
    centres = [
        {**centre, "width": round(centre["width"], 1), "height": round(centre["height"], 1),
         "share": round(centre["share"], 3)}
        for centre in clusters["centres"]
    ]  # fmt: skip
    buckets = [{"pixels": scale, **counts} for scale, counts in sizes.items()]
    by_boxes = sorted(statistics["classes"].items(), key=lambda item: -item[1]["boxes"])
    columns = by_boxes[0][1]  # a class without a box has no sizes
    classes = [{"class": name, **{key: row.get(key, "-") for key in columns}} for name, row in by_boxes]
    return "\n".join([
        f"{statistics['dataset']}: {statistics['n_boxes']} boxes in {statistics['frames']}, "
        f"input {statistics['imgsz_lr']} px, strides {', '.join(map(str, statistics['strides']))}\n",
        format_table(centres) + "\n",
        f"  average best IoU  {clusters['average_best_iou']:.3f}",
        f"  grouping          {clusters['grouping']}",
        *(f"  note              {note}" for note in clusters["notes"]),
        "",
        format_table(buckets) + "\n",
        format_table(classes) + "\n",
        f"  width / height    {_quartiles(ratios['lr'])} at LR, {_quartiles(ratios['original'])} in the original frame",
        f"  shorter side      {_quartiles(statistics['shorter_side_lr_px'])} px at LR",
        f"  P2 head           {'advisable' if head['advisable'] else 'not advised'}: {head['share_below_8px']:.1%} of "
        f"the boxes have a shorter side under 8 px; {head['advice']}",
        f"  rule              {head['rule']}",
    ])


def _quartiles(percentiles: dict[str, float]) -> str:
    return f"median {percentiles['p50']:g} (5 % {percentiles['p5']:g}, 95 % {percentiles['p95']:g})"


def _read_boxes(config: Config, split: int | None) -> tuple[int, BoxTable]:
    """Return the number of frames and their boxes, in LR and in original pixels."""
    import numpy as np

    from data_utils.box_stats.sizes import BoxTable
    from data_utils.lists import read_all_labels, read_split_list
    from data_utils.manifest import read_manifest

    data = config.dataset
    manifest = read_manifest(data.manifest)
    if split is None:
        source, images = data.manifest, [data.lr_images / f"{stem}.{data.image_format}" for stem in manifest]
    else:
        source = data.split_list(split, "train")
        images = read_split_list(source)
    unknown = [path for path in images if path.stem not in manifest]
    if unknown:
        raise InputError(
            f"{source}: {len(unknown)} of {len(images)} images are not in {data.manifest}, first {unknown[0]}; "
            "run `python -m data_utils.prepare` again"
        )
    labels = read_all_labels(images, data.nc, allow_background=data.allow_background)
    n_boxes = [len(frame) for frame in labels]
    if not sum(n_boxes):
        raise InputError(f"{source}: none of its {len(images)} frames holds a box; box statistics need at least one")
    rows = np.concatenate(labels).astype(np.float64)
    frames = np.array([(manifest[path.stem].width, manifest[path.stem].height) for path in images], np.float64)
    sizes = rows[:, 3:]
    return len(images), BoxTable(rows[:, 0].astype(np.int64), sizes * config.imgsz_lr,
                                 sizes * np.repeat(frames, n_boxes, axis=0))  # fmt: skip
