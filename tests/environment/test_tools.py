"""Tools: a user's functions that programs call, and how the prompt tells of them."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from acim_jax.environment import executor as executors
from acim_jax.environment import tools
from acim_jax.environment.config import ExecutorConfig
from acim_jax.environment.executor import Executor
from acim_jax.environment.sandbox.protection import LAYERS
from acim_jax.markup import Markup, fences, form
from acim_jax.markup.outputs import render_output
from acim_jax.markup.templates import TEMPLATES
from acim_jax.records import ExecutionResult, Status

SOURCE = '''
import dataclasses
import math
import sympy

_KM = {"Rome": 12.5, "Oslo": 40.0}
_asked = []

@dataclasses.dataclass
class City:
    name: "str"

def distance(city: str, unit: str = "km") -> float:
    """Distance of a city from here."""
    _asked.append(City(city).name)
    return _KM[city] * (1.0 if unit == "km" else 1000.0)

def asked() -> list:
    """The cities so far."""
    return _asked

def reach(path: str) -> str:
    """The first characters of a file."""
    return open(path).read(9)
'''
CONFIG = ExecutorConfig(workers=1, timeout_s=20.0, cpu_seconds=1.0)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("outside") / "my_tools.py"
    path.write_text(SOURCE, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def config(file: Path) -> ExecutorConfig:
    names = (f"{file}:{name}" for name in ("distance", "asked", "reach"))
    return dataclasses.replace(CONFIG, tools=tuple(names))


@pytest.fixture(scope="module", params=["all layers", "limits only"])
def opened(config: ExecutorConfig, request: pytest.FixtureRequest) -> Iterator[Executor]:
    leave_out = () if request.param == "all layers" else LAYERS
    with Executor(config, leave_out=leave_out) as executor:
        yield executor


def test_a_program_calls_a_tool_and_gets_its_result(opened: Executor) -> None:
    first, second = opened.run(["distance('Rome', unit='m')", "distance('Oslo')\nasked()"])
    assert (first.status, first.stdout) == (Status.OK, "12500.0\n")
    assert (second.status, second.stdout) == (Status.OK, "['Oslo']\n")  # nothing of the first


def test_tools_go_on_with_the_state_of_earlier_programs(opened: Executor) -> None:
    result = opened.submit("asked()", earlier=["distance('Rome')", "d = distance('Oslo')"]).result()
    assert result.stdout == "['Rome', 'Oslo']\n"


def test_a_program_may_use_the_name_otherwise(opened: Executor) -> None:
    assert opened.submit("distance = 3\ndistance").result().stdout == "3\n"


def test_an_error_in_a_tool_names_the_programs_own_line(opened: Executor) -> None:
    result = opened.submit("x = 1\n\nprint(distance('Atlantis'))").result()
    assert result.status is Status.ERROR
    assert 'File "<my_tools.py>", line 16, in distance' in result.stderr
    shown = render_output(result, Markup())
    assert shown == "\n```output\nKeyError: 'Atlantis' (line 3)\n```\n"


def test_a_tool_has_the_rights_of_the_program(config: ExecutorConfig, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("a secret!", encoding="utf-8")
    call = f"reach({str(secret)!r})"
    with Executor(config) as opened:
        if opened.capabilities()["protection"] not in ("confined", "isolated"):
            pytest.skip("this host does not confine files")
        assert opened.submit(call).result().status is Status.ERROR
    with Executor(config, leave_out=LAYERS) as opened:
        assert opened.submit(call).result().stdout == "'a secret!'\n"


def test_a_json_call_of_a_tool_is_a_program(opened: Executor, config: ExecutorConfig) -> None:
    hermes = form.with_tools(TEMPLATES["hermes"], "T", tools.schemas(config.tools))
    call = '{"name": "distance", "arguments": {"city": "Rome", "unit": "m"}}'
    response = f"Ask.\n<tool_call>\n{call}\n</tool_call>"
    (program,) = fences.programs(response, hermes)
    assert opened.submit(program).result().stdout == "12500.0\n"
    assert fences.programs(response.replace("distance", "nearness"), hermes) == []
    assert fences.programs(response, TEMPLATES["hermes"]) == []


def test_limits_hold_in_a_tool(file: Path) -> None:
    endless = file.with_name("endless.py")
    endless.write_text('def wait() -> None:\n    """Waits."""\n    while True: pass\n')
    with Executor(dataclasses.replace(CONFIG, tools=(f"{endless}:wait",))) as opened:
        results: list[ExecutionResult] = opened.run(["wait()", "1 + 1"])
    assert [one.status for one in results] == [Status.TIMEOUT, Status.OK]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("\nimport pydantic\n", "ModuleNotFoundError: No module named 'pydantic' (<mine.py>, li"),
        ("x = 1\n\nx / 0\n", "ZeroDivisionError: division by zero (<mine.py>, line 3). It may"),
    ],
)
def test_a_file_that_does_not_load_there_is_refused_when_it_is_opened(
    tmp_path: Path, source: str, said: str
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(f'{source}def f(n: int) -> int:\n    """F."""\n    return n\n')
    for open_one in (Executor, executors.probe):
        with pytest.raises(ValueError) as refused:
            open_one(dataclasses.replace(CONFIG, modules=(), tools=(f"{path}:f",)))
        assert str(refused.value).startswith("executor.tools: mine.py does not load")
        assert said in str(refused.value)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ('def f(n):\n    """F."""', "has the signature (n), where n has no type"),
        ('def f(*n: int):\n    """F."""', "has parameters without a name to call them by"),
        ("def f(n: int):\n    return n", "has no docstring"),
        ('async def f(n: int):\n    """F."""', "is no plain function"),
        ("class f:\n    pass", "is no plain function"),
        ("def g(): pass", "is no plain function at the top of its file"),
        ("def f(:", "SyntaxError: invalid syntax"),
    ],
)
def test_a_wrong_tool_is_refused_with_the_expected_one(
    tmp_path: Path, source: str, said: str
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(source, encoding="utf-8")
    with pytest.raises(ValueError) as refused:
        tools.files([f"{path}:f"])
    message = str(refused.value)
    if said.startswith("SyntaxError"):
        assert message == f"executor.tools: {said} ({path}, line 1)"
        return
    assert message.startswith(f"executor.tools: {path}:f {said}")
    assert "needed is\n  def lookup(city: str) -> float:" in message


def test_names_that_cannot_be_told_apart_are_refused() -> None:
    with pytest.raises(ValueError, match="of a built-in name"):
        ExecutorConfig(tools=("a.py:print",))
    with pytest.raises(ValueError, match="of another tool"):
        ExecutorConfig(tools=("a.py:f", "b:f"))
    with pytest.raises(ValueError, match=r"FILE\.py:FUNCTION"):
        ExecutorConfig(tools=("a.py",))


LISTED = '''\
Programs can call these functions, without importing them:

def distance(city: str, unit: str='km') -> float:
    """Distance of a city from here."""

def asked() -> list:
    """The cities so far."""'''


def test_the_prompt_lists_signatures_and_docstrings(file: Path) -> None:
    assert tools.listed([f"{file}:distance", f"{file}:asked"]) == LISTED
    assert (tools.listed([]), tools.schemas([])) == ("", ())


def test_the_schema_is_that_of_the_annotations(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "def f(names: list[str], limit: int = 3, *, exact: bool, at: 'date') -> str:\n"
        '    """Finds."""\n'
    )
    (schema,) = map(json.loads, tools.schemas([f"{path}:f"]))
    assert schema == {
        "type": "function",
        "function": {
            "name": "f",
            "description": "Finds.",
            "parameters": {
                "type": "object",
                "properties": {
                    "names": {"type": "array"},
                    "limit": {"type": "integer"},
                    "exact": {"type": "boolean"},
                    "at": {},
                },
                "required": ["names", "exact", "at"],
            },
        },
    }


@pytest.mark.parametrize(
    ("markup", "expected"),
    [
        (Markup(), "T\n\nProblem: Q\nSolution: "),
        (Markup(template="User: {problem}\nMe:"), "User: T\n\nQ\nMe:"),
        (Markup(template="{tools} | {problem}"), "T | Q"),
    ],
)
def test_where_the_list_stands(markup: Markup, expected: str) -> None:
    assert form.prompt_text("Q", form.with_tools(markup, "T", ["{}"])) == expected
    without = form.prompt_text("Q", form.with_tools(markup, "", []))
    assert without == expected.replace("T\n\n", "").replace("T", "")


def test_where_the_list_stands_in_messages() -> None:
    chat = Markup(template="chat", user="{problem}?")
    for markup, expected in (
        (chat, ["T\n\nQ?"]),
        (dataclasses.replace(chat, system="S"), ["S\n\nT", "Q?"]),
        (dataclasses.replace(chat, system="S", user="{problem} {tools}"), ["S", "Q T"]),
        (dataclasses.replace(chat, system="S {tools}!"), ["S T!", "Q?"]),
        (dataclasses.replace(chat, tools=True), ["Q?"]),  # the chat template lists them
    ):
        told = form.messages("Q", form.with_tools(markup, "T", ["{}"]))
        assert [message["content"] for message in told] == expected
