"""Raw data sets in the formats people have them in: YOLO, VOC, COCO, CVAT, LabelMe, HyperKvasir, label maps, masks."""

from data_utils.formats.registry import RawSet, read_raw_set

__all__ = ["RawSet", "read_raw_set"]
