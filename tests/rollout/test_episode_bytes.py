"""Episodes that processes send one another, and those of a journal, come back the same, to the last
bit."""

import dataclasses
import json
import pickle
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from acim_jax.records import (
    GUIDES,
    Author,
    Episode,
    ExecutionResult,
    SamplingParams,
    Segment,
    Status,
    Stop,
)
from acim_jax.rollout import journal

# Half surrogate pairs too: what programs print is not always text.
TEXTS = st.text(st.characters(codec=None), max_size=8)
NUMBERS = st.floats(allow_nan=False)


# Plain values, of which the tests make the records: their run-time checks draw at random, which
# hypothesis does not allow while it draws itself.
TOKENS = st.lists(
    st.tuples(st.integers(0, 2**31 - 1), *[st.integers(0, 2**32 - 1)] * 2), min_size=1, max_size=5
)
SEGMENTS = st.tuples(st.sampled_from(Author), TOKENS, st.integers(0, 2))
EXECUTIONS = st.tuples(TEXTS, TEXTS, TEXTS, st.sampled_from(Status), NUMBERS, st.booleans())
EPISODES = st.fixed_dictionaries(
    {
        "problem_id": TEXTS,
        "guide": st.sampled_from(GUIDES),
        "index": st.integers(0, 99),
        "segments": st.lists(SEGMENTS, max_size=4),
        "executions": st.lists(EXECUTIONS, max_size=3),
        "stop": st.sampled_from(Stop),
        "sampling": st.tuples(NUMBERS, st.integers(0, 9), NUMBERS, NUMBERS),
        "fences_opened": st.integers(0, 9),
        "text": TEXTS,
        "answer": st.none() | TEXTS,
        "reward": NUMBERS,
        "graded": TEXTS,
        "answered_first": st.booleans(),
        "transplanted": st.booleans(),
        "reference_kl": NUMBERS,
    }
)


def make_segment(author: Author, tokens: list[tuple[int, int, int]], kept: int) -> Segment:
    """kept: how many of the two log-probs a MODEL segment has; of any bits, nan and −0 too."""
    columns = [np.array(column, np.uint32) for column in zip(*tokens, strict=True)]
    floats = [column.view(np.float32) for column in columns[1:]]
    keeps = kept if author is Author.MODEL else 0
    return Segment(author, columns[0].astype(np.int32), *floats[:keeps])


def make_episode(drawn: dict[str, Any]) -> Episode:
    return Episode(
        **drawn
        | {
            "segments": tuple(make_segment(*one) for one in drawn["segments"]),
            "executions": tuple(ExecutionResult(*one) for one in drawn["executions"]),
            "sampling": SamplingParams(*drawn["sampling"]),
        }
    )


def comparable(record: Any) -> Any:
    """A record by its types and fields, arrays by dtype and bits."""
    if isinstance(record, np.ndarray):
        return record.dtype.str, record.shape, record.tobytes()
    if isinstance(record, list | tuple):
        return [comparable(one) for one in record]
    if dataclasses.is_dataclass(record):
        fields = {f.name: comparable(getattr(record, f.name)) for f in dataclasses.fields(record)}
        return type(record), fields
    return type(record), record


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(st.lists(EPISODES, max_size=4))
def test_round_trip(drawn: list[dict[str, Any]]):
    episodes = [make_episode(one) for one in drawn]
    again = pickle.loads(pickle.dumps(episodes))
    assert comparable(again) == comparable(episodes)
    lines = json.dumps([journal.to_json(episode) for episode in episodes])
    again = [journal.from_json(record) for record in json.loads(lines)]
    assert comparable(again) == comparable(episodes)


def test_every_field_is_drawn():
    """A field with a default that is not drawn could get lost unseen."""
    fixed = hypothesis.find(EPISODES, lambda _: True)
    assert fixed.keys() == {field.name for field in dataclasses.fields(Episode)}


def test_bytes_that_were_cut_are_refused():
    ids = np.array([5, 6], np.int32)
    segment = Segment(Author.MODEL, ids, np.array([-1.5, -0.25], np.float32))
    episode = Episode("p", "code", 0, (segment,), (), Stop.EOS, SamplingParams())
    with pytest.raises(pickle.UnpicklingError):
        pickle.loads(pickle.dumps([episode])[:-1])
