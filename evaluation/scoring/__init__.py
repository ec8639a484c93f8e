"""From detections and truth to numbers: matched once, then counted."""
