"""Trained models as files: read, written, described, exported, and their networks made."""
