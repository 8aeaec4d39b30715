"""Two archives compared by what they mean (`nnconvert diff`)."""
