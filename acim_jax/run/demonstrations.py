"""The demonstrations of a run: those of its warm-up, those of its replay, checked at its start."""

from collections.abc import Callable, Sequence

from acim_jax.checkpoint.model_folder import ModelFolder
from acim_jax.config.run import RunConfig
from acim_jax.data import demonstrations, generated
from acim_jax.improve import demonstrations as training
from acim_jax.improve import warm_up
from acim_jax.improve.demonstrations import Replay
from acim_jax.improve.packing import TokenRow
from acim_jax.markup import Markup
from acim_jax.records import DECISIONS, Demonstration

#: Different demonstrations that warm-up and replay draw from at most.
WARM_UP, REPLAY = 160_000, 8192
#: Of a generator, so many tell whether its demonstrations fit.
_TRIED = 64


def warm_up_rows(config: RunConfig, model: ModelFolder) -> tuple[list[TokenRow], str]:
    """The rows of the warm-up, and which decisions their sources show, for people."""
    limit = min(WARM_UP, config.warmup.steps * config.warmup.rows)
    sources = _load(config, model.markup, limit, config.data.seed)
    rows = warm_up.rows(sources, model.tokenizer, model.markup, config.warmup)
    return rows, demonstrations.decisions(sources)


def replay(config: RunConfig, model: ModelFolder) -> Replay:
    """Of a run without replay, none."""
    if not config.replays:
        return Replay()
    sources = _load(config, model.markup, REPLAY, config.data.seed + 1)
    return _replay(sources, config, model)


def check(config: RunConfig, model: ModelFolder) -> str:
    """What `data.demonstrations` shows, for people. Raises ValueError, naming it, for records that
    cannot be read, and where the warm-up or the replay could not work with them."""
    source = config.data.demonstrations
    if source is None:
        return "none"
    endless = source.startswith(generated.PREFIX)
    sources = _load(config, model.markup, _TRIED if endless else None, config.data.seed)
    try:
        if config.warmup.steps:
            _check(sources, config.warmup.buckets[-1], model, lambda: warm_up.rows(
                sources, model.tokenizer, model.markup, config.warmup
            ))  # fmt: skip
        if config.replays:
            widest = config.improve.buckets[-1]
            _check(sources, widest, model, lambda: _replay(sources, config, model))
    except ValueError as error:
        raise ValueError(f"data.demonstrations: {source}: {error}") from error
    shown = "text and code in turn" if endless else demonstrations.decisions(sources)
    return f"{source}, {shown}"


def _check(
    sources: Sequence[Demonstration], longest: int, model: ModelFolder, use: Callable[[], object]
) -> None:
    """Uses them all, and raises what that raises, unless some of both decisions are seen to fit."""
    fit: set[str] = set()
    for source in sources:
        (encoded,) = training.encode([source], model.tokenizer, model.markup)
        if len(encoded.token_ids) <= longest:
            fit.add(encoded.decision)
        if len(fit) == len(DECISIONS):
            return
    use()


def _load(config: RunConfig, markup: Markup, limit: int | None, seed: int) -> list[Demonstration]:
    assert config.data.demonstrations is not None, "RunConfig refuses a need without them"
    return demonstrations.load(config.data.demonstrations, markup=markup, limit=limit, seed=seed)


def _replay(sources: Sequence[Demonstration], config: RunConfig, model: ModelFolder) -> Replay:
    return Replay.of(
        sources,
        model.tokenizer,
        model.markup,
        count=config.improve.replay_rows,
        buckets=config.improve.buckets,
    )
