"""Many files of a user: planned, shared out, kept within the memory, translated, recorded."""
