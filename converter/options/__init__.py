"""Options: declared, read from files and arguments, resolved."""
