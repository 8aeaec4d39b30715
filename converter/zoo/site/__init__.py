"""The zoo as static HTML: a front page with the matrix, and a page for each model. Nothing is fetched."""
