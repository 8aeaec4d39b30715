"""`nnconvert serve`: conversions over HTTP, for the official client and for whoever writes one."""
