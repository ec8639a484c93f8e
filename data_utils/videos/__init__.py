"""Video files: decoding, still frames at given times, and whose a video is."""
