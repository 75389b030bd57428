"""What the benchmarks and the study in scripts/ are made of, and what they share."""
