"""What a fork server loads before its first child, and what its children may import."""

import builtins
import gc
import importlib
import importlib.machinery
import importlib.metadata
import linecache
import os
import site
import sys
import types
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from acim_jax import own_code
from acim_jax.environment.protocol import Job

_PACKAGE = "acim_jax"

_STANDARD = (
    "import bisect, cmath, collections, copy, dataclasses, datetime, decimal, enum, fractions\n"
    "import functools, heapq, itertools, json, math, operator, random, re, statistics, string\n"
    "import textwrap, time, typing\n"
)

#: Run once per server where the module is loaded, so that children inherit filled caches and
#: submodules that are imported late.
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
}

_ANY_DISTRIBUTION = importlib.metadata.DistributionFinder.Context()


class ToolError(Exception):
    """A file of tools does not load; the message is for its author."""


class ModuleList(importlib.metadata.DistributionFinder):
    """Finds allowed third-party modules; the import path itself holds the standard library only.

    is_loading: the server loads modules; package versions, which some ask for, can be read.
    """

    def __init__(self, allowed: Sequence[str], folders: Sequence[str]) -> None:
        self.allowed = frozenset(allowed)
        self.folders = list(folders)
        self.is_loading = True

    def find_spec(
        self, fullname: str, path: object = None, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        if path is None and fullname in self.allowed:
            return importlib.machinery.PathFinder.find_spec(fullname, self.folders)
        return None

    def find_distributions(
        self, context: importlib.metadata.DistributionFinder.Context = _ANY_DISTRIBUTION
    ) -> Iterable[importlib.metadata.Distribution]:
        if not self.is_loading:
            return ()
        everywhere = importlib.metadata.DistributionFinder.Context(
            name=context.name, path=self.folders
        )
        return importlib.metadata.MetadataPathFinder.find_distributions(everywhere)


def load(job: Job, folders: Sequence[str]) -> tuple[Callable[..., int], list[str]]:
    """Imports and warms up what children will need. Returns the job's function, and the loaded
    modules to take away from children: this package's.

    folders: hold the job's modules. Everything is imported under the list of modules that the
    children will see. Raises `ToolError`.
    """
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    sys.path[:] = [entry for entry in sys.path if entry != root]
    finder = ModuleList(job.modules, folders)
    sys.meta_path.append(finder)
    site.setquit()  # `exit` and `quit`, which -S leaves out
    site.sethelper()
    exec(_STANDARD, {})
    for name in job.modules:
        importlib.import_module(name)
    for name, source in _WARM_UP.items():
        if name in finder.allowed:
            exec(source, {})
    for name, source, functions in job.tools:
        _add_tools(name, source, functions)
    function = _named(job.function)
    if job.warm_up:
        _named(job.warm_up)()
    finder.is_loading = False
    gc.collect()
    gc.freeze()  # a collection in a child would touch, and so copy, every inherited page
    if _PACKAGE in job.modules:
        return function, []
    return function, [name for name in sys.modules if name.partition(".")[0] == _PACKAGE]


def _add_tools(name: str, source: str, functions: Sequence[str]) -> None:
    """Runs a file of tools. Its functions become built-in names, as `exit` is one, so that every
    module of a program has them and may still use the names otherwise."""
    file = f"<{name}>"
    module = types.ModuleType(file)
    sys.modules[file] = module  # dataclasses look their module up
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)
    try:
        exec(compile(source, file, "exec", dont_inherit=True), module.__dict__)
    except (Exception, SystemExit) as error:
        what = own_code.raised(error, Path(file))
        raise ToolError(f"{name} does not load in the executor: {what}") from error
    for function in functions:
        setattr(builtins, function, module.__dict__[function])


def _named(function: str) -> Callable[..., Any]:
    """The function that `module:name` means; the module is found by its package's own path."""
    module, _, name = function.partition(":")
    return getattr(importlib.import_module(module), name)
