"""Child processes, and the folders that they work in."""
