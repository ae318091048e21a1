"""What sphinx-gallery takes by name: the order of the examples, and what is reset before each."""

import warnings

ORDER = [
    "quickstart",
    # which columns matter, and how much
    "column_penalties",
    "one_hot_groups",
    "wide_spectra",
    "exact_zeros",
    "penalty_shape",
    "grid_search",
    "learning_path",
    # functions of raw columns
    "smooth_terms",
    "classes",
    # which labels are right
    "human_labels",
    "gradient_boosting",
    "few_verified_labels",
    # which targets are right
    "wrong_targets",
    # what rows are worth
    "old_rows",
    "few_rows_of_a_site",
    # the core
    "own_problem",
    "few_shot",
    "learned_strengths",
    "distilled_digits",
    "activation_mixing",
    "noisy_images",
    "weight_network",
    "convergence",
    "hyper_cleaning",
]


class ByQuestion:
    """Sort key of an example's file name; one that is not in `ORDER` ends the build."""

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, file_name):
        return ORDER.index(file_name.removeprefix("plot_").removesuffix(".py"))

    def __repr__(self):
        # Part of the configuration that Sphinx compares between builds.
        return "<ByQuestion>"


def strict_warnings(gallery_conf, file_name):
    """A warning in an example is a mistake: as in the tests, it becomes an error."""
    for category in (UserWarning, FutureWarning, RuntimeWarning):
        warnings.filterwarnings("error", category=category)
