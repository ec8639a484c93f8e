"""Self-contained HTML pages: what the preview of a data set and the report of a run share."""
