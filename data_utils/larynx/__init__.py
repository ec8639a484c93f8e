"""A larynx-like scene for the demo data: scene (healthy anatomy), lesions, frame (one picture), plan (a set)."""
