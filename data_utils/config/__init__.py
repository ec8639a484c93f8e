"""The settings: strict sections, their loading from configs/*.yaml, and the registry of ablations."""
