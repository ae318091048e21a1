"""Weights of rows by age, source and annotator."""

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgba
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbamm import BilevelRegularizedRegressor
from skbamm.inspection import RowWeightDisplay
from skbamm.inspection._display import RED
from tests.row_weights.made_rows import drifting, ratings, sites

matplotlib.use("Agg")
DRAW = RowWeightDisplay.from_estimator


def fit(X, y, **told):
    return BilevelRegularizedRegressor("l2", max_iter=2, n_repeats=1).fit(X, y, **told)


def test_weights_are_drawn_against_age():
    X, y, time = drifting(300, 200)
    model = fit(X, y, time=time)
    display = DRAW(model)
    age, weight = display.ax_.lines[0].get_data()
    np.testing.assert_array_equal(age, np.arange(300))
    np.testing.assert_allclose(weight[::-1], model.sample_weight_ / model.sample_weight_.max())
    oldest, newest = display.ax_.get_xlim()
    assert newest == 0 and weight[age > oldest].max(initial=0) < 0.01


def test_sources_are_bars_with_their_levels():
    X, y, source = sites()
    model = fit(X, y, row_source=source, target_source=0)
    ax = DRAW(model).ax_
    assert max(bar.get_width() for bar in ax.patches) == 1
    named = [label.get_text() for label in ax.get_yticklabels()]
    assert "0 (30)" in named and len(named) == 3
    [red] = [bar for bar in ax.patches if bar.get_facecolor() == to_rgba(RED)]
    assert named[ax.patches.index(red)] == "0 (30)"
    texts = [text.get_text() for text in ax.texts]
    assert sum(text.startswith("+") for text in texts) == 1
    assert sum(text.startswith("-") for text in texts) == 1


def test_annotators_are_sorted():
    X, y, annotator, _, _ = ratings()
    heights = [bar.get_height() for bar in DRAW(fit(X, y, annotator=annotator)).ax_.patches]
    assert len(heights) == 40 and heights == sorted(heights, reverse=True)


def test_every_kind_has_a_panel_and_the_title_says_what_was_found():
    X, y, source = sites()
    time = np.arange(len(y))
    model = fit(X, y, row_source=source, target_source=0, time=time, annotator=source)
    display = DRAW(make_pipeline(StandardScaler(), model))
    assert len(display.axes_) == 3
    for ax, part in zip(display.axes_, model.row_weights_.parts, strict=True):
        assert ax.get_title().replace("\n", " ") == part.sentence


def test_the_frame_is_the_report():
    X, y, source = sites()
    model = fit(X, y, row_source=source, target_source=0)
    assert DRAW(model).frame().equals(model.row_weight_report())


def test_an_estimator_that_was_told_nothing_is_an_error():
    X, y, _ = sites()
    with pytest.raises(TypeError, match="has no row_weights_"):
        DRAW(fit(X, y))
