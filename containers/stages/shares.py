"""Parts of a stage's progress: a loop inside it reports its own 0 to 1 of them."""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    # A stage's entry takes this module, and not the array libraries, before it has work.
    from containers.audio.stream import Progress

# Progress is told in whole numbers; this many of them are finer than any watcher sees.
_STEPS: Final = 10_000


def share(progress: "Progress", begin: float, end: float) -> "Progress":
    """A progress callable whose whole is the part `begin` to `end` of the given one."""

    def part(done: int, total: int) -> None:
        fraction = begin + (end - begin) * (done / total if total else 1.0)
        progress(round(_STEPS * fraction), _STEPS)

    return part
