"""The loop around a solver's steps: candidates, verified answers, and when a run ends."""
