"""Programs of one episode that share a module: the earlier ones are run again, unheard."""

from acim_jax.environment.executor import Executor
from acim_jax.records import Status


def test_names_of_earlier_cells_are_there_and_their_output_is_not(executor: Executor) -> None:
    earlier = [
        "import math\nx = 5\nprint('heard before')\nx",
        "def f(n):\n    return n * x\nimport os\nos.write(1, b'raw')\nx += 1",
    ]
    result = executor.submit("print(f(7), math.pi > 3)\nx", earlier=earlier).result()
    assert (result.status, result.stdout, result.stderr) == (Status.OK, "42 True\n6\n", "")


def test_classes_and_random_numbers_go_on_as_in_one_session(executor: Executor) -> None:
    cells = ["import random\na = random.random()\nclass C: pass", "b = random.random()"]
    whole = executor.submit("\n".join([*cells, "print(a, b, C().__class__.__name__)"])).result()
    split = executor.submit("print(a, b, C().__class__.__name__)", earlier=cells).result()
    assert split.stdout == whole.stdout != ""


def test_earlier_exits_end_their_cell_only(executor: Executor) -> None:
    earlier = ["y = 1\nexit()\ny = 2", "import sys\nz = 3\nsys.exit(0)"]
    assert executor.submit("y, z", earlier=earlier).result().stdout == "(1, 3)\n"


def test_an_earlier_cell_that_fails_this_time_is_named(executor: Executor) -> None:
    earlier = ["a = 1", "a / 0"]
    result = executor.submit("print('not reached')", earlier=earlier).result()
    assert (result.status, result.stdout) == (Status.ERROR, "")
    assert 'File "<cell 2>", line 1' in result.stderr
    assert result.stderr.splitlines()[-1] == "ZeroDivisionError: division by zero"


def test_limits_hold_for_all_cells_together(executor: Executor) -> None:
    result = executor.submit("print(1)", earlier=["while True: pass"]).result()
    assert (result.status, result.stdout) == (Status.TIMEOUT, "")


def test_an_error_names_its_own_line(executor: Executor) -> None:
    result = executor.submit("b = 1\nboom(b)", earlier=["def boom(x):\n    return x / 0"]).result()
    places = [line.strip() for line in result.stderr.splitlines() if "File" in line]
    assert places == [
        'File "<program>", line 2, in <module>',
        'File "<cell 1>", line 2, in boom',
    ]
