"""The lower level at a hyper: descents on it, its solution, and how that moves with hyper."""
