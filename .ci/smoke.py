"""What an installed skbamm must do: import silently and quickly, fit, predict, save and load."""

import pickle
import sys
from pathlib import Path

import numpy as np

import skbamm
from skbamm import BilevelRegularizedRegressor, HyperCleaningClassifier
from skbamm.datasets import load_mammography, load_meat_spectra

assert "torch" not in sys.modules, "import skbamm imported torch"
assert "site-packages" in Path(skbamm.__file__).parts, skbamm.__file__
assert skbamm.__version__ != "0+unknown"
assert (Path(skbamm.__file__).parent / "py.typed").exists()

X, y = load_meat_spectra(return_X_y=True)
regressor = BilevelRegularizedRegressor().fit(X[:150], y[:150])
assert regressor.score(X[150:], y[150:]) > 0.8

masses = load_mammography()
is_clean = np.arange(815) % 5 == 0
labels = np.where(is_clean, masses.target, masses.given_label)
cleaner = HyperCleaningClassifier().fit(masses.data, labels, is_clean=is_clean)
assert cleaner.score(masses.data, masses.target) > 0.75
assert len(cleaner.label_report()["weight"]) == 815

loaded = pickle.loads(pickle.dumps(regressor))
assert (loaded.predict(X) == regressor.predict(X)).all()
print(f"skbamm {skbamm.__version__} on Python {sys.version.split()[0]} works")
