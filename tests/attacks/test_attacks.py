"""Every attack ends as it must, with nothing harmed, on every kind of host."""

import functools
import json
import os

import pytest

from tests.attacks import harness, ordinary
from tests.attacks.attack import Attack
from tests.support import ordinary_user

#: Hosts by name: whether an ordinary user runs it, and the layers that the host lacks.
HOSTS = {
    "root": (False, ()),
    "root in a container": (False, ("namespaces", "private_files")),
    "user": (True, ()),
    "user in a container": (True, ("namespaces", "private_files")),
}
IS_ROOT = os.geteuid() == 0


@functools.cache
def report(host: str) -> harness.Report:
    """Of one run of everything; the tests below look at its parts."""
    ordinary_, leave_out = HOSTS[host]
    if ordinary_ and IS_ROOT:
        text = ordinary_user.run_module(
            "tests.attacks.harness", json.dumps(leave_out), timeout_s=300.0
        )
        return harness.Report(**json.loads(text))
    return harness.run(leave_out)


on_every_host = pytest.mark.parametrize(
    "host", [name for name, (ordinary_, _) in HOSTS.items() if ordinary_ or IS_ROOT]
)


def test_there_are_enough_of_them() -> None:
    assert len(harness.ATTACKS) >= 150 and len(ordinary.PROGRAMS) >= 60
    assert len({attack.name for attack in harness.ATTACKS}) == len(harness.ATTACKS)


@on_every_host
def test_nothing_outside_was_reached(host: str) -> None:
    assert report(host).harm == []


@on_every_host
@pytest.mark.parametrize("attack", harness.ATTACKS, ids=lambda attack: attack.name)
def test_attack(host: str, attack: Attack) -> None:
    status, stdout, stderr = report(host).attacks[attack.name]
    assert status in attack.allowed, (stdout[-300:], stderr[-500:])
    assert "ESCAPED" not in stdout.replace("'ESCAPED'", "")


@on_every_host
def test_attacks_leave_no_trace_to_the_next_program(host: str) -> None:
    expected = ("ok", harness.NEXT_OUTPUT, "")
    traces = {name: end for name, end in report(host).after.items() if tuple(end) != expected}
    assert traces == {}


@on_every_host
def test_ordinary_programs_print_what_they_should(host: str) -> None:
    ends = zip(ordinary.PROGRAMS, report(host).programs, strict=True)
    wrong = [(code, end) for (code, out), end in ends if (end[0], end[1]) != ("ok", out)]
    assert wrong == []
