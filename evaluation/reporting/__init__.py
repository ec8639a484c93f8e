"""The report of a run as a page: what is in it, its charts and pictures, and its template."""
