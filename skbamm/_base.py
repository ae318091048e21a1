"""What the estimators share: options, endings, and fits that succeed or change nothing."""

from __future__ import annotations

import copy
import functools
import warnings
from numbers import Integral, Real

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator
from sklearn.callback import CallbackSupportMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing

from ._metadata import __version__, link_template
from .data._folds import seed_of
from .data._validation import Interval, StrOptions, check_is_fitted, level_of_caller, name_of
from .solvers import SOLVERS, Solver, Status

_SENTENCES = {
    Status.CONVERGED: "converged after {n_iter} iterations ({residual} <= {tol})",
    Status.MAX_ITER: "stopped at max_iter={n_iter}{above}",
    Status.STALLED: (
        "stopped after {n_iter} iterations: no further decrease at working precision "
        "({residual}, {tol})"
    ),
    Status.UNDETERMINED: (
        "stopped after {n_iter} iterations: the training loss leaves coefficients undetermined, "
        "which this solver cannot take ({residual}, {tol})"
    ),
    Status.UNSOLVED: (
        "stopped after {n_iter} iterations: the training loss could not be minimized, so that the "
        "criterion is not to be trusted ({residual}, {tol})"
    ),
    Status.STOPPED: "stopped on request after {n_iter} iterations ({residual})",
    Status.DIVERGED: "diverged in iteration {n_iter}; the best iterate before that is kept",
    Status.EXACT: (
        "one strength for all fits the held-out rows but for rounding: there is nothing to learn"
    ),
    Status.FROZEN: "evaluated at the initialization only: nothing was learned",
}

# What to do where a run did not get there.
_ADVICE = {
    Status.MAX_ITER: (
        "Increase max_iter or tol; history_ shows whether the criterion still falls."
    ),
    Status.DIVERGED: (
        "Look for columns or targets of extreme size, or take another solver, or smaller steps of "
        "this one."
    ),
    Status.UNSOLVED: "Use solver='sl-bamm', or a larger alpha.",
    Status.UNDETERMINED: "Use solver='sl-bamm', or a larger alpha.",
}

# Name of the version in a saved state; it is no attribute.
_SAVED_BY = "_skbamm_version"


def fit_atomically(fit):
    """A failed or interrupted `fit` leaves the estimator as it was."""

    @functools.wraps(fit)
    def wrapper(self, *args, **kwargs):
        before = dict(vars(self))
        try:
            return fit(self, *args, **kwargs)
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise

    return wrapper


class Documented:
    """An estimator that HTML links to its page."""

    _doc_link_module = "skbamm"

    @property
    def _doc_link_template(self):
        return link_template()


class BilevelEstimator(Documented, CallbackSupportMixin, BaseEstimator):
    """Options and endings that the estimators have in common."""

    _parameter_constraints: dict = {
        "cv": ["cv_object"],
        "solver": [StrOptions(set(SOLVERS)), Solver],
        "standardize": ["boolean"],
        "max_iter": [Interval(Integral, 0, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
        "device": [str, None],
        "verbose": ["verbose"],
    }

    def __getstate__(self):
        return {**super().__getstate__(), _SAVED_BY: __version__}

    def __setstate__(self, state):
        state = dict(state)
        saved_by = state.pop(_SAVED_BY, "an unknown version")
        super().__setstate__(state)
        if saved_by != __version__:
            warnings.warn(
                f"This {type(self).__name__} was saved by skbamm {saved_by} and is loaded by "
                f"{__version__}, which may know it by other attributes. Load it with the version "
                "that saved it, or fit it again.",
                UserWarning,
                stacklevel=2,
            )

    def set_params(self, **params):
        """Set parameters, also those of a solver, as ``solver__name``.

        Parameters
        ----------
        **params : dict
            By name.

        Returns
        -------
        self : object
            The estimator.

        Raises
        ------
        ValueError
            For unknown names, and for ``solver__`` parameters where `solver` is a name.
        """
        if any(name.startswith("solver__") for name in params):
            solver = params.get("solver", self.solver)
            if isinstance(solver, str):
                example = SOLVERS.get(solver, Solver).__name__
                raise ValueError(
                    f"solver={solver!r} is a name and has no parameters to set; give an instance, "
                    f"for example solver=skbamm.solvers.{example}(), to use solver__ parameters."
                )
        return super().set_params(**params)

    def get_metadata_routing(self):
        """Say what `fit` and, where it takes something, the splitter `cv` ask for.

        Returns
        -------
        routing : MetadataRouter
            As scikit-learn's meta-estimators read it.
        """
        router = MetadataRouter(owner=self).add_self_request(self)
        if not hasattr(self.cv, "split"):
            return router
        mapping = MethodMapping().add(caller="fit", callee="split")
        return router.add(splitter=self.cv, method_mapping=mapping)

    def _split_params(self, params):
        """What further arguments of `fit` say to the splitter."""
        if "groups" in params and params["groups"] is None:
            params = {name: value for name, value in params.items() if name != "groups"}
        if not params:
            return {}
        if isinstance(params.get("groups"), str):
            raise TypeError(
                f"groups must have an entry for each row: got {params['groups']!r}. Pass the "
                "column itself, and leave it out of X."
            )
        if get_config()["enable_metadata_routing"]:
            return process_routing(self, "fit", **params).get("splitter", {}).get("split", {})
        unknown = sorted(set(params) - {"groups"})
        if unknown:
            raise TypeError(f"{type(self).__name__}.fit got unexpected arguments: {unknown}.")
        if not hasattr(self.cv, "split"):
            raise ValueError(
                "groups are for a splitter such as GroupKFold, passed as cv: got "
                f"cv={self.cv!r}, which takes none."
            )
        return params

    def _twin(self, kind, **attributes):
        """A fitted estimator of scikit-learn with copies of these attributes."""
        check_is_fitted(self)
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(self, name):
                attributes[name] = getattr(self, name)
        twin = kind()
        vars(twin).update(copy.deepcopy(attributes))
        return twin

    def _seed(self):
        """Seed of the folds; drawn where `random_state` is not an int."""
        return seed_of(self.random_state)

    def _describe(self, solution, residual):
        """`status_` in a sentence; warns where the run did not get there."""
        known = np.isfinite(residual)
        sentence = _SENTENCES[solution.status].format(
            n_iter=solution.n_iter,
            residual=f"residual {residual:.1e}" if known else "its residual is not known yet",
            above=(
                f" with residual {residual:.1e} > tol={self.tol:.1e}"
                if known
                else ", before its residual was known"
            ),
            tol=f"tol={self.tol:.1e}",
        )
        if solution.status in _ADVICE:
            warnings.warn(
                f"{name_of(self)} {sentence}. {_ADVICE[solution.status]}",
                ConvergenceWarning,
                stacklevel=level_of_caller(),
            )
        return sentence
