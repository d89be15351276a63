"""The same network said over arrays that lie still: what is said anew, and that it is the same."""

import numpy as np
import pytest

from containers.audio import openvino_core
from containers.audio.channels_last import keep_channels_last
from tests.stages.tiny_checkpoint import SHORT, tiny_model

pytestmark = pytest.mark.skipif(
    not openvino_core.is_installed(), reason="the extra openvino is not installed"
)

ROWS, CHANNELS, TIMES = 3, 8, 50


def answers(network):
    import openvino

    compiled = openvino.Core().compile_model(
        network, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    )
    rng = np.random.default_rng(7)
    given = [rng.standard_normal(list(each.shape)).astype(np.float32) for each in compiled.inputs]
    return [found.copy() for found in compiled(given).values()]


def off_db(found, expected):
    return 20 * np.log10(np.abs(found - expected).max() / np.abs(expected).max() + 1e-15)


def kinds(network):
    return [node.get_type_name() for node in network.get_ordered_ops()]


def normalized(following, *, shape=(ROWS, CHANNELS, TIMES), groups=1):
    """A network of one group normalisation, with weights, and what follows it."""
    import openvino
    from openvino import opset13

    rng = np.random.default_rng(11)
    weight, bias = rng.standard_normal((2, shape[1])).astype(np.float32)
    sound = opset13.parameter(shape, np.float32)
    even = opset13.group_normalization(sound, weight, bias, groups, 1e-5)
    return openvino.Model([following(even)], [sound], "one normalisation")


def itself(even):
    return even


def gelu(even):
    from openvino import opset13

    return opset13.gelu(even, "tanh")


def scaled_by(shape):
    def glu(even):
        from openvino import opset13

        values, gates = opset13.split(even, 1, 2).outputs()
        scale = np.linspace(-1, 2, int(np.prod(shape)), dtype=np.float32).reshape(shape)
        return opset13.multiply(opset13.multiply(values, opset13.sigmoid(gates)), scale)

    return glu


def over_times(even):
    """A split that is no gated linear unit: of the times."""
    from openvino import opset13

    first, second = opset13.split(even, 2, 2).outputs()
    return opset13.multiply(first, opset13.sigmoid(second))


def not_gated(even):
    from openvino import opset13

    return opset13.add(*opset13.split(even, 1, 2).outputs())


def twice(even):
    """An activation beside another use of what was normalised."""
    from openvino import opset13

    return opset13.add(opset13.gelu(even, "erf"), even)


@pytest.mark.parametrize(
    "following",
    [
        itself,
        gelu,
        scaled_by((CHANNELS // 2, 1)),
        scaled_by((1, 1, TIMES)),
        scaled_by(()),
        over_times,
        not_gated,
        twice,
    ],
    ids=["alone", "gelu", "glu", "glu-times", "glu-number", "times", "halves", "twice"],
)
def test_normalization_said_over_what_lies_there_is_the_same(following):
    expected = answers(normalized(following))
    changed = normalized(following)
    keep_channels_last(changed)
    assert "GroupNormalization" not in kinds(changed)
    for ours, theirs in zip(answers(changed), expected, strict=True):
        assert off_db(ours, theirs) < -120


def layered(begun):
    """A layer as HTDemucs has: normalised, gated, scaled and added to what it began with."""
    from openvino import opset13

    def layer(even):
        values, gates = opset13.split(even, 1, 2).outputs()
        scale = np.linspace(-1, 2, CHANNELS // 2, dtype=np.float32)[:, np.newaxis]
        whole = opset13.multiply(opset13.multiply(values, opset13.sigmoid(gates)), scale)
        return opset13.add(begun, whole)

    return layer


@pytest.mark.parametrize("turned", [False, True], ids=["as it is", "turned before"])
def test_a_sum_with_what_a_layer_began_with_is_said_over_what_lies_there(turned):
    import openvino
    from openvino import opset13

    def network():
        shape = (ROWS, TIMES, CHANNELS // 2) if turned else (ROWS, CHANNELS // 2, TIMES)
        given = opset13.parameter(shape, np.float32)
        begun = opset13.transpose(given, [0, 2, 1]) if turned else given
        wide = opset13.concat([begun, opset13.exp(begun)], 1)
        weight, bias = np.random.default_rng(3).standard_normal((2, CHANNELS)).astype(np.float32)
        even = opset13.group_normalization(wide, weight, bias, 1, 1e-5)
        return openvino.Model([layered(begun)(even)], [given], "a layer")

    changed = network()
    keep_channels_last(changed)
    (end,) = (node for node in changed.get_ordered_ops() if node.get_type_name() == "Result")
    assert end.input_value(0).get_node().get_type_name() == "Transpose"
    for ours, theirs in zip(answers(changed), answers(network()), strict=True):
        assert off_db(ours, theirs) < -120


@pytest.mark.parametrize("shape", [(1, 6, 20), (1, 6, 8, 20)], ids=["waves", "spectra"])
def test_a_gated_convolution_is_two_with_the_same_answer(shape):
    import openvino
    from openvino import opset13

    def network():
        rng, size = np.random.default_rng(5), len(shape) - 2
        kernel = rng.standard_normal((CHANNELS, shape[1], *[3] * size)).astype(np.float32)
        bias = rng.standard_normal((1, CHANNELS, *[1] * size)).astype(np.float32)
        given, one = opset13.parameter(shape, np.float32), [1] * size
        wide = opset13.add(opset13.convolution(given, kernel, one, one, one, one), bias)
        values, gates = opset13.split(wide, 1, 2).outputs()
        product = opset13.multiply(values, opset13.sigmoid(gates))
        return openvino.Model([product], [given], "a gate")

    changed = network()
    keep_channels_last(changed)
    assert (kinds(network()).count("Convolution"), kinds(changed).count("Convolution")) == (1, 2)
    for ours, theirs in zip(answers(changed), answers(network()), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "groups"), [((ROWS, CHANNELS, TIMES), 2), ((1, CHANNELS, ROWS, TIMES), 1)]
)
def test_other_normalizations_stay_as_they_are(shape, groups):
    network = normalized(gelu, shape=shape, groups=groups)
    before = kinds(network)
    keep_channels_last(network)
    assert kinds(network) == before


def test_every_layer_of_a_network_is_said_anew_and_answers_as_before(monkeypatch):
    monkeypatch.setattr(openvino_core, "keep_channels_last", lambda _: None)
    plain = openvino_core._convert(tiny_model(dconv_mode=3, dconv_comp=2, segment=SHORT))
    changed = plain.clone()
    keep_channels_last(changed)
    assert (turned_literally(plain) > 0, turned_literally(changed)) == (True, 0)
    assert ("GroupNormalization" in kinds(plain), "GroupNormalization" in kinds(changed)) == (
        True,
        False,
    )
    for ours, theirs in zip(answers(changed), answers(plain), strict=True):
        assert off_db(ours, theirs) < -110


def turned_literally(network):
    return sum(
        node.get_type_name() == "Transpose"
        and node.input_value(1).get_node().data.tolist() == [0, 2, 1, 3]
        and any(
            user.get_node().get_type_name() == "Reshape"
            for user in node.output(0).get_target_inputs()
        )
        for node in network.get_ordered_ops()
    )
