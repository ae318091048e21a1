"""What additive models share: columns of terms of a raw table, and the mean of fits on these."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, is_classifier

from .._base import BilevelEstimator, Documented
from ..data._folds import make_folds, seed_of
from ..data._tables import dataframe_kind
from ..data._validation import Interval, StrOptions
from ..linalg._cross_products import SPARSE
from ._transformer import SmoothTerms

# Parameters that are those of the transformer, and of the penalized fit.
OF_TERMS = ("categorical_features", "interactions", "n_knots", "order", "cyclic")
OF_PENALTY = ("solver", "max_iter", "tol", "device", "verbose")
# On few rows what is learned depends on which of them are held out together (measured).
FEW_ROWS_REPEATS = 3


class AdditiveEstimator(Documented, BaseEstimator):
    """An estimator on the columns of `SmoothTerms`; a subclass says how to learn on these."""

    _penalized: ClassVar[Any]  # the estimator that learns strengths
    _few_rows: ClassVar[int]  # up to so many "auto" repeats the assignment to folds
    _target_type: ClassVar[str]  # of the transformer

    _parameter_constraints: dict = {
        **{name: SmoothTerms._parameter_constraints[name] for name in OF_TERMS},
        **{
            name: BilevelEstimator._parameter_constraints[name]
            for name in ("cv", "random_state", *OF_PENALTY)
        },
        "n_repeats": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "shrinkage": [Interval(Real, 0, np.inf, closed="both")],
        "standard_errors": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        *,
        categorical_features="from_dtype",
        interactions="auto",
        n_knots=20,
        order=2,
        cyclic=None,
        shrinkage=0.01,
        standard_errors=1,
        cv=5,
        n_repeats="auto",
        solver="sl-bamm",
        max_iter=200,
        tol=2e-2,
        random_state=0,
        device=None,
        verbose=0,
    ):
        self.categorical_features = categorical_features
        self.interactions = interactions
        self.n_knots = n_knots
        self.order = order
        self.cyclic = cyclic
        self.shrinkage = shrinkage
        self.standard_errors = standard_errors
        self.cv = cv
        self.n_repeats = n_repeats
        self.solver = solver
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def _fit(self, X, y, sample_weight):
        """Set all attributes, given what the user has passed."""
        seed = seed_of(self.random_state)
        options = {name: getattr(self, name) for name in OF_TERMS}
        options |= {"cv": self.cv, "random_state": seed, "target_type": self._target_type}
        self.terms_ = SmoothTerms(**options).set_output(transform="default")
        y, weight = self._targets(X, y, sample_weight)
        search = self.terms_._fit(X, y, weight)
        # Levels of categories by the thousand: few entries of a row are stored.
        self.terms_.set_params(sparse_output=self.terms_._stored_share() < SPARSE)
        design = self.terms_._columns_of(search)
        self._describe_input()
        self.dataframe_ = dataframe_kind(X)
        if np.count_nonzero(weight) < 2:
            raise ValueError("There is 1 sample with weight, while a minimum of 2 is required.")
        if not design.shape[1]:
            raise ValueError("X has no column that varies: there is nothing to fit.")
        folds = make_folds(self.cv, design, y, seed=seed, stratify=is_classifier(self))
        self._learn(design, y, weight, folds, search)
        self._store_means(design, weight)
        return self

    def _describe_input(self):
        self.n_features_in_ = self.terms_.n_features_in_
        self.__dict__.pop("feature_names_in_", None)  # of a fit before
        if hasattr(self.terms_, "feature_names_in_"):
            self.feature_names_in_ = self.terms_.feature_names_in_
        self.term_names_ = list(dict.fromkeys(self.terms_.term_names_))

    def _columns_of_members(self, design, n_rows):
        """Which columns are those of the linear fit, and of the one on all terms."""
        linear = self.terms_._kinds() != "smooth"
        every = np.ones_like(linear)
        # Where most columns are levels there is little between the two.
        if linear.all() or not linear.any() or sparse.issparse(design):
            return {"smooth": every}
        # So few rows tell no functions of so many columns: ridge was better (measured).
        few = {} if self.n_features_in_ >= n_rows else {"smooth": every}
        return {"linear": linear, **few}

    def _model(self, name, groups, n_samples):
        """The estimator of one member."""
        n_repeats = self.n_repeats
        if n_repeats == "auto":
            n_repeats = FEW_ROWS_REPEATS if n_samples <= self._few_rows else 1
        model = self._penalized(
            "adaptive" if name == "smooth" else "l2",
            groups=groups,
            standardize=False,
            shrinkage=self.shrinkage if name == "smooth" else np.inf,
            cv=self.cv,
            n_repeats=n_repeats,
            random_state=self.terms_.random_state,
            **{option: getattr(self, option) for option in OF_PENALTY},
        )
        model._fitted_for = type(self).__name__
        return model

    def _store_mean(self, members, shares):
        """Attributes, given the members and the weights of these; returns the last one's model."""
        self.average_weights_ = dict(zip(members, shares.tolist(), strict=True))
        parts = list(zip(shares, members.values(), strict=True))
        self.coef_ = sum(share * one.coefficients() for share, one in parts)
        self.intercept_ = sum(share * one.model.intercept_ for share, one in parts)
        last = list(members.values())[-1]
        self.alpha_ = np.full(len(last.kept), np.inf)
        self.alpha_[last.kept] = last.model.alpha_
        self.block_alpha_ = last.model.group_alpha_
        for name in ("criterion_", "status_", "history_", "n_iter_"):
            setattr(self, name, getattr(last.model, name))
        return last.model

    def _membership(self):
        """1 where a column belongs to a term, shape (n_columns, n_terms)."""
        return (self.terms_.term_names_[:, None] == np.array(self.term_names_, object)) * 1.0

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        return tags
