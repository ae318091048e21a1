"""Find words that readers of the field would not expect, and say what to write instead.

    python .ci/words.py [PATH ...]

A path is a file or a folder. Prints file:line of each, and exits with 1 if there is any. Words that
also have a plain sense (slope, push, start, trust, parts) are left to reviewers.
"""

import re
import sys
from pathlib import Path

TEXTS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")
PATHS = (*TEXTS, "docs", "examples", "benchmarks", "skbamm", "tests")
SUFFIXES = (".py", ".md", ".rst")
GENERATED = {"_build", "auto_examples", "generated", "gen_modules", "sg_execution_times.rst"}

#: Regular expression -> what to say. Upper and lower case are alike. "<" is the beginning of a word
#: and ">" its end, which may stand at an underscore; "~" is a space, a line break, "_" or "-".
WORDS = {
    "<judg": "validation rows, validation weight; score, scorer",
    "<opinion": "base model, prediction",
    "<belie[fv]": "label weight, label quality",
    "<doubt": "flagged as a label issue, of low weight",
    "<verdict": "label weights so far",
    "evidence": "label quality score; log posterior odds",
    "<sharpness": "inverse temperature",
    "<bend(s|ing)?>": "curvature",
    "<pull(s|ed|ing)?>(?! request)": "prior; vjp; proximal term; shrink",
    "<survey": "coarse grid",
    "<clean~rows?>": "rows with verified labels",
    "<noise~matri": "noise transition matrix",
    "<traps?>": "pitfall",
    "<some~dozens": "a few dozen",
    "<door~tests?>": "API tests",
    "<cross~?fitted>": "out-of-fold",
    "<own~part>": "out-of-fold",
    "<trust_|_trust>": "label weight",
    "<unseen>": "out-of-fold",
    "<nuisance": "partialled out, partialled-out covariates",
    "<moments>|[.]moment>": "cross-products, sufficient statistics",
    "<summed~rows>": "sufficient statistics, cross-products",
    "<valleys?>": "basin, local minimum",
    "<settle[sd]?>|<calm>": "converged",
    "[^`]<watch(es|ed|ing)?>": "callback; snapshot",
    "<ceilings?>": "baseline criterion",
    "<beside~([.0-9]|`?(Ridge|Lasso|ElasticNet|LogisticRegression)CV)": "relative to",
    '[|] start[ ,]|"start[",]|<the start\'s>': "without learning (max_iter=0); initialization",
}
PATTERNS = {
    re.compile(
        word.replace("<", "(?<![a-z])")
        .replace(">", "(?![a-z])")
        .replace("~", r"(?:[_-]|\s+#?\s*)"),
        re.IGNORECASE,
    ): instead
    for word, instead in WORDS.items()
}


def files(path):
    if path.is_file():
        return [path]
    found = (file for file in sorted(path.rglob("*")) if file.suffix in SUFFIXES)
    return [file for file in found if not GENERATED & set(file.parts)]


def main(paths):
    lines = []
    for file in (file for path in paths for file in files(Path(path))):
        text = file.read_text(encoding="utf-8")
        for pattern, instead in PATTERNS.items():
            for match in pattern.finditer(text):
                line = 1 + text.count("\n", 0, match.start())
                lines.append(f"{file}:{line}: {match[0]!r}; say: {instead}")
    print(*lines, sep="\n", end="\n" if lines else "")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or PATHS))
