"""From a float network to the network that QNN compiles."""
