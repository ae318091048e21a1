"""Learned weights of targets: from residuals out of their fold, by models of what errors are."""
