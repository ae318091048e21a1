"""Weights of rows by when, where and from whom they come.

Each kind compares candidate weightings by the error of rows that they were not fitted to, takes the
mean of those that this error cannot tell apart, and leaves rows as they are where none is better.
"""
