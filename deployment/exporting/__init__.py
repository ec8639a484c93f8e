"""The steps of an export: the graph, its file formats, INT8, the frames and the checks a file must pass."""
