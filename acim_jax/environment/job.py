"""What a fork server is started for."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Job:
    """The modules that a fork server loads, and the function that its children call.

    function: `module:name` of this package. Each request calls it once, in a fresh confined child,
    with arguments that are JSON. It returns the child's exit code; what it prints is captured.
    modules: top-level modules that the server loads. Children may import these and the standard
    library, nothing else: this package is hidden from them, too.
    warm_up: `module:name`, called once in the server, so that children inherit filled caches.
    """

    function: str
    modules: tuple[str, ...] = ()
    warm_up: str = ""
