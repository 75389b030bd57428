"""The parts of scripts/bench_training.py: one file a part, and what they share."""
