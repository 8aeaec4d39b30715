"""Pictures of what a network's outputs mean."""
