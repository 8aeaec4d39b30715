"""What values the inputs of a graph take, as far as their consumers show it."""
