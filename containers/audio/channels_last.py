"""HTDemucs in OpenVINO's terms, said so that no array is turned around on its way.

OpenVINO convolves with the channels last in memory, and takes what a network says literally:
a permutation between two convolutions brings the channels to the front and back again, and so
does a normalisation that goes over them. Said over the arrays as they lie, the same network
takes about three quarters of the time.

Everything here takes an ``openvino.Model`` or nodes and outputs of one, which have no types
that mypy could check.
"""

from typing import Any, Final

# (rows, channels, times), and (rows, times, channels), from either to the other.
_TURNED: Final = (0, 2, 1)


def keep_channels_last(converted: Any) -> None:
    """Say an HTDemucs, changed in place, over arrays whose channels lie last.

    Layers stay turned from their normalisation to the sum that they end with, so that what is
    turned at either end meets another one, or a convolution that wants it so. Normalisation
    sums in another order than before: answers are within -120 dB of what they were.

    Parameters
    ----------
    converted
        An ``openvino.Model``. What it has of other shapes than HTDemucs's stays as it is.
    """
    for node in converted.get_ordered_ops():
        if (turned := _permuted_before(node)) is not None:
            _put(_folded(turned), in_place_of=node.output(0))
        elif (rows := _folded_before(node)) is not None:
            _put(_unfolded(rows), in_place_of=node.output(0))
        elif _is_over_all_channels(node):
            _normalize(node)
        elif (product := _gated_linear(node)) is not None:
            _gate_convolutions(node, product)
    converted.validate_nodes_and_infer_types()


def _permuted_before(node: Any) -> Any:
    """What `node` makes into (bands, channels, times), or None if it does no such thing.

    Between two convolutions along the frequency a layer of HTDemucs has some along the time,
    for which it permutes (1, channels, bands, times) and folds the bands into the batch.
    """
    if node.get_type_name() != "Reshape":
        return None
    permuted = node.input_value(0).get_node()
    if permuted.get_type_name() != "Transpose":
        return None
    order, shape = _constant(permuted.input_value(1)), list(permuted.output(0).get_shape())
    if order != [0, 2, 1, 3] or list(node.output(0).get_shape()) != shape[1:] or shape[0] != 1:
        return None
    return permuted.input_value(0)


def _folded(turned: Any) -> Any:
    """(1, channels, bands, times) as (bands, channels, times), by way of how it lies."""
    from openvino import opset13

    _, channels, bands, times = turned.get_shape()
    last = opset13.transpose(turned, [0, 2, 3, 1])
    rows = opset13.reshape(last, [bands, times, channels], special_zero=False)
    return opset13.transpose(rows, _TURNED)


def _folded_before(node: Any) -> Any:
    """What `node` makes (1, channels, bands, times) of, as it was folded, or None."""
    if node.get_type_name() != "Transpose" or _constant(node.input_value(1)) != [0, 2, 1, 3]:
        return None
    unfolded = node.input_value(0).get_node()
    if unfolded.get_type_name() != "Reshape":
        return None
    rows = unfolded.input_value(0)
    return rows if list(unfolded.output(0).get_shape()) == [1, *rows.get_shape()] else None


def _unfolded(rows: Any) -> Any:
    """(bands, channels, times) as (1, channels, bands, times), by way of how it lies."""
    from openvino import opset13

    bands, channels, times = rows.get_shape()
    apart = opset13.reshape(_last(rows), [1, bands, times, channels], special_zero=False)
    return opset13.transpose(apart, [0, 3, 1, 2])


def _is_over_all_channels(node: Any) -> bool:
    """Whether it is a group normalisation of (rows, channels, times) with a single group."""
    return (
        node.get_type_name() == "GroupNormalization"
        and node.get_attributes()["num_groups"] == 1
        and len(node.get_output_shape(0)) == 3
    )


def _normalize(node: Any) -> None:
    """Put normalisation over the arrays as they lie in a node's place, and what follows it."""
    from openvino import opset13

    sound, weight, bias = (node.input_value(number) for number in range(3))
    epsilon = node.get_attributes()["epsilon"]
    even = opset13.mvn(_last(sound), [1, 2], True, epsilon, "inside_sqrt")
    scaled = opset13.add(opset13.multiply(even, _along_last(weight)), _along_last(bias))
    following, until = _added(*_activated(scaled, node.output(0)))
    _put(opset13.transpose(following, _TURNED), in_place_of=until)


def _activated(last: Any, until: Any) -> tuple[Any, Any]:
    """The activation after a normalisation, and after it a scale for each channel.

    Parameters
    ----------
    last
        What was normalised, (rows, times, channels).
    until
        The output of the network that it stands for.

    Returns
    -------
    tuple
        The activation of `last`, and the output that this stands for.
    """
    from openvino import opset13

    (user, *others) = (taker.get_node() for taker in until.get_target_inputs())
    if user.get_type_name() == "Gelu" and not others:
        mode = user.get_attributes()["approximation_mode"]
        return opset13.gelu(last, mode), user.output(0)
    gated = _gated_linear(user)
    if gated is None or others:
        return last, until
    values, gates = opset13.split(last, 2, 2).outputs()
    return _scaled(opset13.multiply(values, opset13.sigmoid(gates)), gated.output(0))


def _gated_linear(split: Any) -> Any:
    """The product that ends a gated linear unit beginning at `split`, or None.

    Dauphin et al., "Language modeling with gated convolutional networks", 2017, eq. 1: half of
    the channels times the logistic function of the other half.
    """
    if split.get_type_name() != "Split" or len(split.outputs()) != 2:
        return None
    if _constant(split.input_value(1)) != 1:
        return None
    values, gates = ([t.get_node() for t in out.get_target_inputs()] for out in split.outputs())
    if [node.get_type_name() for node in (*values, *gates)] != ["Multiply", "Sigmoid"]:
        return None
    return values[0]


def _scaled(last: Any, until: Any) -> tuple[Any, Any]:
    """What follows of a scale that each channel has of its own; as `_activated`."""
    from openvino import opset13

    (user, *others) = (taker.get_node() for taker in until.get_target_inputs())
    if user.get_type_name() != "Multiply" or others:
        return last, until
    scales = [value for value in user.input_values() if not _same(value, until)]
    if len(scales) != 1 or list(scales[0].get_shape())[-2:] != [last.get_output_shape(0)[2], 1]:
        return last, until
    return opset13.multiply(last, _along_last(scales[0])), user.output(0)


def _added(last: Any, until: Any) -> tuple[Any, Any]:
    """What follows of a sum with an array of the same shape, which a layer began with."""
    from openvino import opset13

    (user, *others) = (taker.get_node() for taker in until.get_target_inputs())
    if user.get_type_name() != "Add" or others:
        return last, until
    begun = [value for value in user.input_values() if not _same(value, until)]
    if len(begun) != 1 or list(begun[0].get_shape()) != list(until.get_shape()):
        return last, until
    return opset13.add(_last(begun[0]), last), user.output(0)


def _gate_convolutions(split: Any, product: Any) -> None:
    """Convolve into values and gates apart, where they came from one convolution.

    OpenVINO copies both halves out of one array; two arrays it multiplies as it convolves.
    """
    from openvino import opset13

    added = split.input_value(0).get_node()
    if added.get_type_name() != "Add":
        return
    convolved = added.input_value(0).get_node()
    apart = len(added.output(0).get_target_inputs()) == 1
    if convolved.get_type_name() != "Convolution" or not apart:
        return
    sound, form = convolved.input_value(0), convolved.get_attributes()
    kernels = opset13.split(convolved.input_value(1), 0, 2).outputs()
    biases = opset13.split(added.input_value(1), 1, 2).outputs()
    values, gates = (
        opset13.add(
            opset13.convolution(
                sound,
                kernel,
                form["strides"],
                form["pads_begin"],
                form["pads_end"],
                form["dilations"],
            ),
            bias,
        )
        for kernel, bias in zip(kernels, biases, strict=True)
    )
    _put(opset13.multiply(values, opset13.sigmoid(gates)), in_place_of=product.output(0))


def _last(sound: Any) -> Any:
    """(rows, channels, times) as (rows, times, channels), from where it was turned if it was."""
    from openvino import opset13

    node = sound.get_node()
    if node.get_type_name() == "Transpose" and _constant(node.input_value(1)) == list(_TURNED):
        return node.input_value(0)
    return opset13.transpose(sound, _TURNED)


def _along_last(values: Any) -> Any:
    """A value for each channel, as (1, 1, channels)."""
    from openvino import opset13

    return opset13.reshape(values, [1, 1, -1], special_zero=False)


def _put(node: Any, *, in_place_of: Any) -> None:
    for user in in_place_of.get_target_inputs():
        user.replace_source_output(node.output(0))


def _same(one: Any, other: Any) -> bool:
    # `==` of OpenVINO's nodes may be a node that compares.
    return bool(one.get_node().get_friendly_name() == other.get_node().get_friendly_name())


def _constant(output: Any) -> Any:
    """The value of a constant as Python's lists and numbers; None if it is computed."""
    node = output.get_node()
    return node.data.tolist() if node.get_type_name() == "Constant" else None
