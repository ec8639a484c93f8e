"""One pass of a model over a set of frames: run, stored as a file, and read again."""
