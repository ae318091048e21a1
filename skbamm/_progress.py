"""How a fit tells callbacks, and readers of its lines, how far it is, and hears who stops it."""

from __future__ import annotations

import contextlib
import copy

import numpy as np

from .data._validation import name_of
from .solvers import Callback


class Progress:
    """The tasks of a fit: its stages, and the steps of each.

    A callback's True at the end of a task stops, as scikit-learn has it, the tasks of that
    level: at the end of an iteration this run, at the end of a stage all further learning.
    Without callbacks nothing of this costs anything. X, y and weights are as the user gave them,
    for callbacks that score; there are at most `n_stages`.
    """

    def __init__(self, estimator, X, y, sample_weight, n_stages):
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        self.task = {"estimator": estimator, "X": X, "y": y, "metadata": metadata}
        self.context = estimator._init_callback_context(max_subtasks=n_stages)
        self.has_callbacks = hasattr(estimator, "_skl_callbacks")
        self.verbose = int(estimator.verbose)
        self.name = name_of(estimator)
        self.stopped = False  # whether no further stage shall learn
        self.left_out: list[str] = []  # what was not done on request
        self.explained = ""  # of the last line: why its criterion is not the best one of the run

    def __enter__(self):
        self.context.call_on_fit_task_begin(**self.task)
        return self

    def __exit__(self, kind, error, traceback):
        if kind is None:
            if self.verbose:
                fitted = self.task["estimator"]
                first, last = np.mean(fitted.initial_criterion_), np.mean(fitted.criterion_)
                self.say(
                    f"{fitted.status_}; criterion {last:.6g}{self.explained}, "
                    f"without learning (max_iter=0) {first:.6g}"
                )
            self.context.call_on_fit_task_end(**self.task, reconstruction_attributes={})

    @contextlib.contextmanager
    def stage(self, name, n_steps=0):
        """A `Stage` of the fit, of at most `n_steps`."""
        if not self.has_callbacks:
            yield Stage(self, name, None)
            return
        context = self.context.subcontext(task_name=name, max_subtasks=n_steps)
        stage = Stage(self, name, context)
        context.call_on_fit_task_begin(**self.task)
        yield stage
        stage.close()
        self.stopped |= context.call_on_fit_task_end(**self.task)

    def describe(self, sentence):
        """A `status_` that also says what was left out."""
        if not self.left_out:
            return sentence
        return f"{sentence}; on request without {', '.join(self.left_out)}"

    def leave_out(self, what):
        """Note it for `status_`, once."""
        if what not in self.left_out:
            self.left_out.append(what)

    def say(self, line):
        print(f"[{self.name}] {line}")


class Stage:
    """One stage: a run of iterations, a loop, or a single step."""

    def __init__(self, progress, name, context):
        self.progress = progress
        self.name = name
        self.context = context
        self._open = None

    def each(self, items, *, what):
        """The items, a step for each; fewer where a callback stops."""
        for number, item in enumerate(items):
            if self.progress.verbose:
                self.progress.say(f"{self.name}: {what} {number + 1} of {len(items)}")
            self._begin(what)
            yield item
            if self._end() and number + 1 < len(items):
                left = len(items) - number - 1
                self.progress.leave_out(f"{left} of {len(items)} {what}s ({self.name})")
                return

    def callback(self, attributes=None, *, verbose=True):
        """A `Callback` for `solve`, or None where nobody listens.

        ``attributes(learned)`` returns the fitted attributes as if the fit had ended with what was
        learned so far, for callbacks that ask for a fitted estimator. Lines are printed only if
        `verbose`, and if the user wants these.
        """
        report = self._report() if verbose and self.progress.verbose else None
        if self.context is None:
            return report and Callback(lambda iteration: None, report)
        estimator = self.progress.task["estimator"]

        def begin(iteration):
            self._begin("iteration")

        def end(snapshot):
            if report is not None:
                report(snapshot)
            # Where callbacks find how the run goes on; it costs something only if it is read.
            estimator.history_ = snapshot.history
            return self._end(attributes and (lambda: attributes(snapshot.solution())))

        return Callback(begin, end)

    def close(self):
        """End what a diverged run left open."""
        if self._open is not None:
            self._end()

    def _begin(self, name):
        if self.context is not None:
            self._open = self.context.subcontext(task_name=name)
            self._open.call_on_fit_task_begin(**self.progress.task)

    def _end(self, attributes=None):
        task, self._open = self._open, None
        if task is None:
            return False
        return task.call_on_fit_task_end(**self.progress.task, reconstruction_attributes=attributes)

    def _report(self):
        """Progress lines: every 10th iteration where ``verbose`` is 1, every one above."""
        every = 10 if self.progress.verbose == 1 else 1

        def report(snapshot):
            iteration, history = snapshot.state.iteration, snapshot.history
            if iteration % every == 0 or iteration == 1:
                best = np.nanmin([history.initial["criterion"], *history["criterion"]])
                residual = history["residual"][-1]  # in the unit of `tol`, which `row` is not
                known = f", residual {residual:.1e}" if np.isfinite(residual) else ""
                self.progress.say(f"iteration {iteration}: best criterion {best:.6g}{known}")
            return False

        return report


def attributes_after(estimator, store):
    """The fitted attributes that ``store(estimator)`` would leave; the estimator stays as it is."""
    fitted = copy.copy(estimator)
    store(fitted)
    return {name: value for name, value in vars(fitted).items() if name.endswith("_")}
