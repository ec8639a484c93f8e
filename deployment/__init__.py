"""What leaves the lab: backends, video, export."""
