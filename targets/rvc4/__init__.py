"""RVC4: DLC files are read here; making them is not there yet."""
