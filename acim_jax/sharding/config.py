"""The `mesh` section of a run."""

from acim_jax.section import section


@section
class MeshConfig:
    """Sizes of the mesh axes. One of them may be -1: whatever devices are left."""

    data: int = 1
    """Replicas of the parameters; they split the batch."""
    fsdp: int = -1
    """Shards of the parameters, and of the batch."""
    tensor: int = 1
    """Shards of heads, feed-forward (or experts) and vocabulary."""

    def __post_init__(self) -> None:
        sizes = (self.data, self.fsdp, self.tensor)
        if any(size < 1 and size != -1 for size in sizes) or sizes.count(-1) > 1:
            raise ValueError(
                f"Mesh axes must be positive, one of them may be -1; got data={self.data}, "
                f"fsdp={self.fsdp}, tensor={self.tensor}."
            )
