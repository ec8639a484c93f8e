"""Readers of other people's label files, each giving Frame records."""
