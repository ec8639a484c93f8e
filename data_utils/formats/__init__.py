"""Raw data sets in the formats people have them in: YOLO, Pascal VOC and label maps."""

from data_utils.formats.raw_set import RawSet, read_raw_set

__all__ = ["RawSet", "read_raw_set"]
