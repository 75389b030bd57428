"""One translation on disk: its place, its sidecar, its hashes, put there whole or not at all."""
