"""Functions of the user's own, named `FILE.py:FUNCTION` or `package.module:FUNCTION`.

A file is relative to the working directory and is loaded by itself: what it imports must be
installed or on PYTHONPATH. Own code is trusted: it runs in this process with the user's rights.
"""

import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
import traceback
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

_FORM = re.compile(r"(.+\.py|[^\W\d]\w*(?:\.[^\W\d]\w*)*):([^\W\d]\w*)")


#: By the name of a function, as the user wrote it.
_digests: dict[str, str] = {}


class Role(NamedTuple):
    """What a function is wanted for. setting: names it in refusals. parameters: those that it is
    called with, by name. expected: such a function, as it is shown."""

    setting: str
    parameters: tuple[str, ...]
    expected: str


def is_spec(text: str) -> bool:
    """Whether `text` has the form of a name of a function."""
    return _FORM.fullmatch(text) is not None


def check_form(field: str, text: str) -> None:
    """ValueError, beginning with `field`, for what cannot be the name of a function."""
    if not is_spec(text):
        raise ValueError(
            f"{field} must be FILE.py:FUNCTION or package.module:FUNCTION, got {text!r}."
        )


def split(spec: str) -> tuple[Path, str]:
    """The source file and the function's name. FileNotFoundError or ValueError without a file."""
    place, _, name = spec.rpartition(":")
    if place.endswith(".py"):
        if not Path(place).is_file():
            raise FileNotFoundError(f"{spec}: no such file")
        return Path(place), name
    try:
        found = importlib.util.find_spec(place)
    except Exception as error:  # a package that holds it does not load
        raise ValueError(f"{spec}: {place} cannot be imported: {raised(error)}") from error
    if found is None or found.origin is None or not Path(found.origin).is_file():
        raise ValueError(
            f"{spec}: there is no module {place!r}; install it, put its folder on PYTHONPATH, or "
            f"give its file, path/to/FILE.py:{name}."
        )
    return Path(found.origin), name


def read(spec: str) -> tuple[Path, bytes]:
    """The source file and its content, which `digest` is of from now on; errors as of `split`."""
    file, name = split(spec)
    content = file.read_bytes()
    _digests[spec] = f"{name} {hashlib.sha256(content).hexdigest()[:12]}"
    return file, content


def digest(spec: str) -> str:
    """The function's name and 12 hex digits of its file's content, not of what that imports: as it
    was when this process last read it, whatever becomes of the file while a run works."""
    if spec not in _digests:
        read(spec)
    return _digests[spec]


def find(spec: str, role: Role) -> Callable[..., Any]:
    """The function, loaded. ValueError or FileNotFoundError, beginning with the role's setting,
    where there is none, its file does not load, or it cannot be called as the role does."""
    try:
        file, content = read(spec)
    except (ValueError, OSError) as error:
        raise type(error)(f"{role.setting}: {error}") from error
    name = spec.rpartition(":")[2]
    try:
        module = _load(spec, file, content)
    except (Exception, SystemExit) as error:
        raise ValueError(f"{role.setting}: {spec} does not load: {raised(error, file)}") from error
    function = getattr(module, name, None)
    if not callable(function):
        found = "nothing" if function is None else type(function).__name__
        raise ValueError(
            f"{role.setting}: {file} has {found} called {name!r}; needed is\n  {role.expected}"
        )
    try:
        inspect.signature(function).bind(**dict.fromkeys(role.parameters))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{role.setting}: {spec} has the signature {_signature(function)}, {error}; needed is\n"
            f"  {role.expected}"
        ) from error
    if inspect.iscoroutinefunction(function):
        raise ValueError(f"{role.setting}: {spec} is async; needed is\n  {role.expected}")
    return function


def raised(error: BaseException, file: Path | None = None) -> str:
    """What an error says, and the last line of `file` that it went through: no traceback."""
    what = traceback.format_exception_only(error)[-1].strip()
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if file and frame.filename == str(file)]
    if isinstance(error, SyntaxError) and file and error.filename == str(file):
        lines.append(error.lineno)
    return f"{what} ({file}, line {lines[-1]})" if lines else what


def _signature(function: Callable[..., Any]) -> str:
    try:
        return str(inspect.signature(function))
    except (TypeError, ValueError):  # of some built-in functions
        return "unknown"


def _load(spec: str, file: Path, content: bytes) -> types.ModuleType:
    """The module of a function. A file with the same content is loaded once per process."""
    place = spec.rpartition(":")[0]
    if not place.endswith(".py"):
        return importlib.import_module(place)
    name = f"own_{hashlib.sha256(str(file.resolve()).encode() + content).hexdigest()[:16]}"
    if name not in sys.modules:
        module = types.ModuleType(name)
        module.__file__ = str(file)
        sys.modules[name] = module  # dataclasses look their module up
        try:
            exec(compile(content, str(file), "exec", dont_inherit=True), module.__dict__)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]
