"""Small real tables for examples and tests; nothing is downloaded."""

from ._loaders import load_ames_housing, load_mammography, load_meat_spectra

__all__ = ["load_ames_housing", "load_mammography", "load_meat_spectra"]
