"""Bugs that the tests must find; see `table`."""

# The variable that tells the plugin where its verdicts go.
PLACE = "NNCONVERT_MUTANT_VERDICTS"
