"""
Data hyper-cleaning, the papers' application
============================================

Half of the training labels of some images are drawn anew. One weight for each training row is
learned from rows with verified labels: below, a linear softmax model on weighted noisy rows;
above, its loss on the verified ones. Digits that ship with scikit-learn, or FashionMNIST: give the
folder of its four ``.gz`` files as an argument. Every solver gets the same CPU seconds.
"""

import gzip
import sys
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from torch.nn.functional import cross_entropy

from skbamm.problems import BilevelProblem
from skbamm.solvers import ConjugateGradient, IapttGm, Meha, SlBamm, Unrolling, solve

# %%
# Noisy, verified and test rows.
if len(sys.argv) > 1:
    folder, seconds, sizes = Path(sys.argv[1]), 15.0, (2000, 2000, 5000)
    with gzip.open(folder / "train-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 784) / 255
    with gzip.open(folder / "train-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8).astype(int)
else:
    images, labels = load_digits(return_X_y=True)
    images, seconds, sizes = images / 16, 4.0, (700, 300, 797)
generator = np.random.default_rng(0)
parts = np.split(generator.permutation(len(labels))[: sum(sizes)], np.cumsum(sizes)[:2])
(noisy, verified, test), (right, checked, test_labels) = (
    [torch.from_numpy(array[part]) for part in parts] for array in (images, labels)
)
drawn = torch.from_numpy(generator.integers(0, 10, sizes[0]))
given = torch.where(torch.from_numpy(generator.random(sizes[0]) < 0.5), drawn, right)
print(f"{sizes[0]} noisy rows, {int((given != right).sum())} wrong; {sizes[1]} verified")


# %%
# The problem, from two functions.
def upper(hyper, params):
    return cross_entropy(verified @ params, checked)


def lower(hyper, params):
    losses = cross_entropy(noisy @ params, given, reduction="none")
    return (hyper.sigmoid() * losses).mean() + 1e-4 * params.square().sum() / 2


start = torch.zeros(sizes[0], dtype=torch.float64)
params = torch.zeros(noisy.shape[1], 10, dtype=torch.float64)
problem = BilevelProblem(upper, lower, start, params, lower_bound=-10.0, upper_bound=10.0)

# %%
# Every solver for the same time.
solvers = {
    "sl-bamm": SlBamm(averaging=0.5, accuracy=0.5),
    "meha": Meha(),
    "iaptt-gm": IapttGm(n_steps=10),
    "unrolling": Unrolling(n_steps=20),
    "conjugate-gradient": ConjugateGradient(n_steps=20, n_linear=10),
}
figure, (left, middle) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
for name, solver in solvers.items():
    curve, begin = [], time.process_time()

    def record(state, row, begin=begin, curve=curve):
        now = time.process_time() - begin
        accuracy = float(((test @ state.params).argmax(1) == test_labels).double().mean())
        curve.append((now, accuracy, f1_score(given != right, state.hyper < 0, zero_division=0)))
        return now > seconds

    solution = solve(problem, solver, max_iter=100_000, tol=1e-7, callback=record)
    times, accuracies, scores = np.array(curve).T
    left.plot(times, accuracies, label=name)
    middle.plot(times, scores, label=name)
    end = f"accuracy {accuracies[-1]:.3f}, F1 of wrong labels {scores[-1]:.3f}"
    print(f"{name:20} {len(times):5} iterations, {end}")
for name, data in {"verified": (verified, checked), "noisy": (noisy, given)}.items():
    model = LogisticRegression(C=1000 / len(data[1]), max_iter=200).fit(*data)
    accuracy = model.score(test.numpy(), test_labels.numpy())
    left.axhline(accuracy, color="gray", linewidth=0.8, linestyle="--")
    left.annotate(name, (0.98 * seconds, accuracy), ha="right", va="bottom", color="gray")
    print(f"{'logistic, ' + name:20}                   accuracy {accuracy:.3f}")
left.set(title="Test accuracy", xlabel="CPU seconds", ylim=(0.6, 1))
middle.set(title="F1 of wrong labels (weight below 1/2)", xlabel="CPU seconds", ylim=(0, 1))
middle.legend(loc="lower right")
figure.savefig("hyper_cleaning.png", dpi=110)
print("figure: hyper_cleaning.png")
