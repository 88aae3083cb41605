"""The decoder again, in numpy float64 and one row at a time: an answer from elsewhere.

RMSNorm, rotary positions in the half-split layout, grouped-query attention with biases, SwiGLU and
tied embeddings, as arXiv:2407.10671 describes Qwen2. Nothing is taken from `acim_jax.model`.
"""

import numpy as np

EPS, THETA = 1e-6, 10000.0


def token_logprobs(params, token_ids: np.ndarray, *, temperature: float) -> np.ndarray:
    """log π(token t | tokens < t) of one row, [T]; 0 at column 0."""
    following = token_ids[1:]
    found = next_logprobs(params, token_ids, temperature=temperature)
    return np.concatenate([[0.0], found[np.arange(len(following)), following]])


def entropies(params, token_ids: np.ndarray, *, temperature: float) -> np.ndarray:
    """Of the distribution that token t was drawn from, [T] in nats; 0 at column 0."""
    found = next_logprobs(params, token_ids[:-1], temperature=temperature)
    return np.concatenate([[0.0], -(np.exp(found) * found).sum(axis=-1)])


def next_logprobs(params, token_ids: np.ndarray, *, temperature: float) -> np.ndarray:
    """log π(· | tokens ≤ t), [T, V]."""
    embedding = params["embed"]["embedding"]
    x = embedding[token_ids]
    blocks = params["blocks"]
    for layer in range(len(blocks["attention"]["w_q"])):
        attention, mlp = (
            {name: leaf[layer] for name, leaf in blocks[group].items()}
            for group in ("attention", "mlp")
        )
        x = x + attend(norm(x, blocks["attention_norm"]["scale"][layer]), attention)
        h = norm(x, blocks["mlp_norm"]["scale"][layer])
        gate = h @ mlp["w_gate"]
        x = x + (gate / (1 + np.exp(-gate)) * (h @ mlp["w_up"])) @ mlp["w_down"]
    logits = norm(x, params["final_norm"]["scale"]) @ embedding.T / temperature
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def norm(x: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + EPS) * scale


def attend(x: np.ndarray, w) -> np.ndarray:
    queries = rotate(np.einsum("td,dnh->tnh", x, w["w_q"]) + w["b_q"])
    keys = rotate(np.einsum("td,dkh->tkh", x, w["w_k"]) + w["b_k"])
    values = np.einsum("td,dkh->tkh", x, w["w_v"]) + w["b_v"]
    share = queries.shape[1] // keys.shape[1]
    out = np.zeros_like(queries)
    for head in range(queries.shape[1]):
        for t in range(len(x)):
            scores = keys[: t + 1, head // share] @ queries[t, head] / np.sqrt(queries.shape[2])
            weights = np.exp(scores - scores.max())
            out[t, head] = weights / weights.sum() @ values[: t + 1, head // share]
    return np.einsum("tnh,nhd->td", out, w["w_o"])


def rotate(x: np.ndarray) -> np.ndarray:
    half = x.shape[-1] // 2
    angles = np.arange(len(x))[:, None] * THETA ** (-np.arange(half) / half)
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
    first, second = x[..., :half], x[..., half:]
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
