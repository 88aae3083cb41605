"""What a fork server loads before its first child, and what programs may import.

Standard library only; runs inside a fork server (`worker.py`).
"""

import gc
import importlib
import importlib.machinery
import importlib.metadata
import os
import site
import sys
from collections.abc import Iterable, Sequence

#: What the symbolic comparison loads.
COMPARISON_MODULES = ("math_verify", "latex2sympy2_extended", "antlr4", "sympy", "mpmath")
#: Loaded in servers, but not for programs unless their module list names it.
TRUSTED = ("acim_jax", *COMPARISON_MODULES)

_STANDARD = (
    "import bisect, cmath, collections, copy, dataclasses, datetime, decimal, enum, fractions\n"
    "import functools, heapq, itertools, json, math, operator, random, re, statistics, string\n"
    "import textwrap, time, typing\n"
)

#: Run once per server, so that children inherit warm caches and lazily imported submodules.
_WARM_UP = {
    "numpy": "import numpy as m, numpy.linalg, numpy.random; m.linalg.solve(m.eye(2), m.ones(2))",
    "sympy": (
        "from sympy import *\n"
        "x, y = symbols('x y')\n"
        "str(solve(x**2 - 3*x + 2, x)), str(solve([x + y - 3, x - y - 1], [x, y]))\n"
        "str(integrate(x * sin(x), x)), str(factor(x**3 - 1)), str(simplify(sin(x)**2))\n"
        "str(limit(sin(x) / x, x, 0)), str(diff(exp(x) * log(x), x)), sqrt(2).evalf()\n"
        "factorint(60), isprime(97), Matrix([[1, 2], [3, 4]]).inv()\n"
    ),
    "acim_jax.grading.symbolic": (
        "from acim_jax.grading import symbolic\n"
        r"symbolic.equal(r'\frac{1}{2}+x^{2}\sqrt{3}', r'x^2\sqrt{3}+\frac{2}{4}')"
        "\n"
        r"symbolic.equal(r'\{1,2\}', r'\{2,1\}'), symbolic.equal(r'(1,\pi]', r'(1,\infty)')"
        "\n"
        r"symbolic.equal(r'\begin{pmatrix}1\\2\end{pmatrix}', '3'), symbolic.equal('x=5', '5')"
    ),
}

_ANY_DISTRIBUTION = importlib.metadata.DistributionFinder.Context()


class ModuleList(importlib.metadata.DistributionFinder):
    """Finds allowed third-party modules; the import path itself holds the standard library only."""

    def __init__(self, allowed: Sequence[str], folders: Sequence[str]) -> None:
        self.allowed = frozenset(allowed)
        self.folders = list(folders)

    def find_spec(
        self, fullname: str, path: object = None, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        if path is None and fullname in self.allowed:
            return importlib.machinery.PathFinder.find_spec(fullname, self.folders)
        return None

    def find_distributions(
        self, context: importlib.metadata.DistributionFinder.Context = _ANY_DISTRIBUTION
    ) -> Iterable[importlib.metadata.Distribution]:
        """Package versions, which the symbolic comparison asks for when it is imported."""
        if "acim_jax" not in self.allowed:
            return ()
        everywhere = importlib.metadata.DistributionFinder.Context(
            name=context.name, path=self.folders
        )
        return importlib.metadata.MetadataPathFinder.find_distributions(everywhere)


def load(modules: Sequence[str], folders: Sequence[str], *, grader: bool) -> None:
    """Imports and warms what children will need, under the module list that they will see.

    grader: the server compares answers and runs no programs; it loads `COMPARISON_MODULES`, too.
    """
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    sys.path[:] = [entry for entry in sys.path if entry != root]
    finder = ModuleList([*modules, *(TRUSTED if grader else ())], [*folders, root])
    sys.meta_path.append(finder)
    site.setquit()  # `exit` and `quit`, which -S leaves out
    site.sethelper()
    exec(_STANDARD, {})
    for name in modules:
        importlib.import_module(name)
    for name, program in _WARM_UP.items():
        if name.partition(".")[0] in finder.allowed:
            exec(program, {})
    gc.collect()
    gc.freeze()  # a collection in a child would touch, and so copy, every inherited page
