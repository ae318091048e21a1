"""Losses of all folds at once, and the bilevel problems that they make."""
