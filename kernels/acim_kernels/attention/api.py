"""The one signature of attention, and the choice of its implementation."""

from typing import Literal

from jaxtyping import Array, Float, Int

from acim_kernels.attention import reference

Implementation = Literal["auto", "reference"]


def attention(
    q_BTNH: Float[Array, "B T N H"],
    k_BKSH: Float[Array, "B K S H"],
    v_BKSH: Float[Array, "B K S H"],
    positions_BT: Int[Array, "B T"],
    *,
    window: int | Int[Array, ""] | None = None,
    implementation: Implementation = "auto",
) -> Float[Array, "B T N H"]:
    """Each query attends to the keys at positions up to its own, at most `window` of them.

    Rows are left-aligned: key s stands at position s, so padding behind a row's end is never seen.
    N must be a multiple of K (grouped queries). window counts the query's own position (None: all)
    and may be an array, so that the layers of one scan can differ. `auto` takes the fastest
    implementation that covers the input; today that is `reference` on every backend.
    """
    match implementation:
        case "auto" | "reference":
            return reference.attention(q_BTNH, k_BKSH, v_BKSH, positions_BT, window)
