import numpy as np
import pytest

from clearstem.errors import LengthChanged
from containers.audio.compose import Difference
from tests.stages.memory import Sound, noise


def test_the_accompaniment_is_the_source_without_the_vocals():
    source, vocals = noise(2, 5000), noise(2, 5000, seed=1)
    accompaniment = Difference(Sound(source), Sound(vocals))
    assert (accompaniment.rate_hz, accompaniment.channels, accompaniment.frames) == (
        44_100,
        2,
        5000,
    )
    np.testing.assert_array_equal(accompaniment.read(100, 4000), (source - vocals)[:, 100:4000])


def test_a_difference_is_zero_outside_the_recording():
    accompaniment = Difference(Sound(noise(1, 10)), Sound(noise(1, 10, seed=1)))
    assert not accompaniment.read(-5, 0).any()
    assert not accompaniment.read(10, 20).any()


@pytest.mark.parametrize(
    "part",
    [
        Sound(np.zeros((2, 9))),
        Sound(np.zeros((1, 10))),
        Sound(np.zeros((2, 10)), rate_hz=48_000),
    ],
    ids=["shorter", "mono", "another rate"],
)
def test_parts_of_another_form_are_refused(part):
    with pytest.raises(LengthChanged, match="frames"):
        Difference(Sound(np.zeros((2, 10))), part)


def test_what_is_left_without_several_parts_is_rounded_once():
    source, *stems = (noise(2, 5000, seed=n) for n in range(5))
    residual = Difference(Sound(source), *(Sound(stem) for stem in stems)).read(0, 5000)
    exact = source.astype(np.float64) - sum(stem.astype(np.float64) for stem in stems)
    np.testing.assert_array_equal(residual, exact.astype(np.float32))
