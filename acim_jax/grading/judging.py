"""Unit tests in a process that never sees the program under test, only what it claims.

`judge_all` is the job of servers of its own (`Grader.judges`). A test runs with the answers of the
program under test as the results of its calls (`remote_calls.py` has their form). A call that has
no answer yet gives a stand-in that agrees with any comparison; the operations then stand in the
verdict's place, and the caller has them answered and asks again.
"""

import ast
import builtins
import importlib
import json
import sys
from typing import Any

from acim_jax.environment import program
from acim_jax.grading.remote_calls import decode, encode


class _Log:
    """Operations that have answers, and those that a test asked for after them."""

    def __init__(self, operations: list[Any], answers: list[str]) -> None:
        self.operations, self.answers = operations, answers
        self.texts = [json.dumps(operation) for operation in operations]
        self.at, self.asked = 0, list[Any]()

    def perform(self, *operation: Any) -> Any:
        """What the operation gives. Answers that the test does not ask for are skipped."""
        wanted = json.dumps(operation)
        if self.asked or wanted not in self.texts[self.at :]:
            self.asked.append(operation)
            return _Unknown(self, {"result": self.at + len(self.asked) - 1}, True)
        index = self.texts.index(wanted, self.at)
        self.at = index + 1
        answer = json.loads(self.answers[index])
        if "raised" in answer:
            kind = getattr(builtins, answer["raised"], RuntimeError)
            is_error = isinstance(kind, type) and issubclass(kind, Exception)
            raise (kind if is_error else RuntimeError)("raised by the program under test")
        if isinstance(answer["value"], dict) and "opaque" in answer["value"]:
            return _Remote(self, {"result": index}, answer["value"]["opaque"])
        return decode(answer["value"], lambda _, truth: _Remote(self, None, truth))


class _Remote:
    """An object of the program under test: it can be called, read, set and passed on.

    It equals nothing but itself: an `==` of the program's own never decides a test.
    """

    def __init__(self, log: _Log, target: Any, truth: bool) -> None:
        object.__setattr__(self, "_state", (log, target, truth))

    def _perform(self, kind: str, *rest: Any) -> Any:
        log, _, _ = object.__getattribute__(self, "_state")
        return log.perform(kind, _Remote.encoded_target(self), *rest)

    def encoded_target(self) -> Any:
        _, target, _ = object.__getattribute__(self, "_state")
        if target is None:
            raise TypeError("the program's object cannot be passed on")
        return target

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._perform("call", encode(list(arguments)), encode(named))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._perform("get", name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._perform("set", name, encode(value))

    def __bool__(self) -> bool:
        return bool(object.__getattribute__(self, "_state")[2])


class _Unknown(_Remote):
    """The result of a call without an answer. Any comparison with it holds."""

    def __int__(self) -> int:
        return 1

    def __float__(self) -> float:
        return 1.0

    def __hash__(self) -> int:
        return 0

    def __iter__(self) -> Any:
        return iter(())

    def _nowhere(self, *_: object) -> Any:
        return _Unknown(object.__getattribute__(self, "_state")[0], None, True)

    def _agrees(self, _: object) -> Any:
        return True

    __index__ = __len__ = __int__
    __getitem__ = __abs__ = __neg__ = __round__ = _nowhere
    __add__ = __sub__ = __mul__ = __truediv__ = __floordiv__ = __mod__ = __pow__ = _nowhere
    __radd__ = __rsub__ = __rmul__ = __rtruediv__ = __rfloordiv__ = __rmod__ = _nowhere
    __lt__ = __le__ = __gt__ = __ge__ = __eq__ = __ne__ = __contains__ = _agrees


class _Asserts(ast.NodeTransformer):
    """`assert x` becomes `if not x: _failed()`, which ignores failures due to unknown results."""

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        failed = ast.Expr(ast.Call(ast.Name("_failed", ast.Load()), [], []))
        check = ast.If(ast.UnaryOp(ast.Not(), node.test), [failed], [])
        return ast.fix_missing_locations(ast.copy_location(check, node))


def judge(
    preface: str, test: str, entry_point: str, operations: list[Any], answers: list[str]
) -> dict[str, Any]:
    """`{"passed": bool}`, or `{"operations": [...]}` if the test asks for more than is answered.

    preface: trusted code that stands before the test (the head of the question). entry_point: the
    function that the program under test must define, or "". answers: JSON, one of each operation.
    """
    log = _Log(operations[: len(answers)], answers)

    def failed() -> None:
        if not log.asked:
            raise AssertionError

    namespace: dict[str, Any] = {"__name__": "test", "_failed": failed}
    try:
        exec(compile(preface, "<preface>", "exec", dont_inherit=True), namespace)
        tree = _Asserts().visit(ast.parse(test))
        for name in _asked_of_program(tree, entry_point, namespace):
            namespace[name] = _Remote(log, {"name": name}, True)
        exec(compile(tree, "<test>", "exec", dont_inherit=True), namespace)
        if entry_point and "check" in namespace and not isinstance(namespace["check"], _Remote):
            namespace["check"](namespace[entry_point])
        passed = True
    except Exception:
        passed = False
    if log.asked:
        return {"operations": [*log.operations[: log.at], *log.asked]}
    return {"passed": passed}


def _asked_of_program(tree: ast.AST, entry_point: str, namespace: dict[str, Any]) -> set[str]:
    """The names in a test that belong to the program under test: all that nothing else defines.

    Modules of the standard library that the test names are imported. A built-in name is the
    program's only if it is the one thing that the test calls.
    """
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    called = {node.id for node in calls if isinstance(node, ast.Name)} - {"_failed"}
    for name in used & sys.stdlib_module_names - called - namespace.keys():
        namespace[name] = importlib.import_module(name)
    asked = {name for name in used if name not in namespace and not hasattr(builtins, name)}
    if entry_point:
        asked.add(entry_point)
    elif len(called) == 1 and not called & namespace.keys():
        asked |= called
    return asked


def judge_all(tests: list[dict[str, Any]], mark: str) -> int:
    """Prints `mark` and the verdict of each test as soon as it stands; returns the exit code."""
    program.make_repeatable()
    for test in tests:
        print(f"\n{mark}{json.dumps(judge(**test))}", flush=True)
    return 0
