"""The zoo as static HTML: a front page with the matrix, a page for each model. Nothing is fetched."""
