"""The network's core run by OpenVINO, its short-time Fourier transforms by torch.

OpenVINO's fp32 convolutions and attention are about 1.7 times as fast as torch's on a CPU,
and it knows no complex numbers: so what is converted is the network between its two
transforms. Answers are within -80 dB of torch's (-115 dB measured at full size). Segments
are run one after the other with all processors on each: two side by side, a processor each,
are 4 to 10 % faster a segment and lose it again on an odd number of them.

Converting costs about 16 s for a network of full size and 2.1 GB at its peak, so a
conversion is kept in a folder under the checkpoint's sha256. Reading it back takes seconds.
"""

import errno
import shutil
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from demucs.htdemucs import HTDemucs

from containers.audio.channels_last import keep_channels_last
from containers.audio.network import Network, Precision, stereo_network, without_fused_attention
from containers.audio.overlap import Floats, each

# Counted up whenever the same checkpoint is converted into something else than before.
_FORM = 3
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
# OpenVINO's names. Without a hint it takes bf16 by itself where the processor has it.
_HINTS: dict[Precision, str] = {"fp32": "f32", "bf16": "bf16"}


def is_installed() -> bool:
    """Whether the optional dependency is there; it is not imported."""
    return find_spec("openvino") is not None


def can_run(model: torch.nn.Module) -> bool:
    """Whether `model` is one whose core can be told from its transforms.

    That is an HTDemucs whose spectrogram is complex as channels, at its training length:
    what htdemucs and htdemucs_ft are.
    """
    return isinstance(model, HTDemucs) and model.cac and model.use_train_segment


def openvino_network(
    model: torch.nn.Module,
    *,
    sha256: str,
    cache_dir: Path | None,
    precision: Precision = "fp32",
) -> Network:
    """`model` with its core run by OpenVINO on the CPU; the model's weights are let go.

    Parameters
    ----------
    model
        An HTDemucs as `can_run` accepts it.
    sha256
        Of its checkpoint, under which the conversion is kept.
    cache_dir
        Where conversions are kept; None converts anew.
    precision
        ``bf16`` is 2.7 times as fast as torch where the processor multiplies it in
        hardware, at -23 dB of error.

    Raises
    ------
    EngineUnavailable
        If `precision` is none that a CPU has.
    """
    network = stereo_network(model, device=torch.device("cpu"), precision=precision)
    run_core = _compiled(model, sha256, cache_dir, precision)
    # Any: demucs has no types.
    transforms: Any = model
    frames = network.segments.length
    # Only the transforms are left to torch, and those have no weights.
    model.to("meta")

    def forward(block: Floats) -> Floats:
        with torch.inference_mode():
            mix = torch.from_numpy(block)[None]
            spectrum = transforms._spec(mix)
            spectra, waves = run_core(transforms._magnitude(spectrum), mix)
            sound = transforms._ispec(transforms._mask(spectrum, spectra), frames)
            stems: Floats = (waves + sound)[0].numpy()
        return stems

    return replace(network, forwards=(each(forward),))


def _compiled(
    model: Any, sha256: str, cache_dir: Path | None, precision: Precision
) -> Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    import openvino

    compiled = openvino.Core().compile_model(
        converted(model, sha256=sha256, cache_dir=cache_dir),
        "CPU",
        {"INFERENCE_PRECISION_HINT": _HINTS[precision], "PERFORMANCE_HINT": "LATENCY"},
    )

    def run(magnitudes: torch.Tensor, mix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        answer = compiled([magnitudes.numpy(), mix.numpy()])
        return torch.from_numpy(answer[0]), torch.from_numpy(answer[1])

    return run


def converted(model: Any, *, sha256: str, cache_dir: Path | None) -> Any:
    """OpenVINO's model of a network's core, from the cache where it is kept there.

    Parameters
    ----------
    model
        An HTDemucs as `can_run` accepts it.
    sha256, cache_dir
        As for `openvino_network`. What cannot be kept because the folder is read-only, as
        one of an image is, is converted for this process alone.
    """
    import openvino

    if cache_dir is None:
        return _convert(model)
    # Another version of either may convert in another way.
    name = f"{sha256}-{_FORM}-openvino-{version('openvino')}-torch-{version('torch')}"
    kept = cache_dir / name
    if not kept.is_dir():
        made = _convert(model)
        try:
            _keep(made, kept)
        except OSError as exc:
            if exc.errno not in _READ_ONLY:
                raise
            return made
    return openvino.Core().read_model(kept / "core.xml")


def _keep(made: Any, kept: Path) -> None:
    """Write a conversion so that it is there whole or not at all."""
    import openvino

    kept.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix="partial-", dir=kept.parent))
    try:
        openvino.save_model(made, partial / "core.xml", compress_to_fp16=False)
        # mkdtemp's folders are their maker's alone; an image's conversions are made by root
        # and read by its tasks' user.
        partial.chmod(0o755)
        # A task beside this one may have been faster; its conversion is as good.
        if not kept.is_dir():
            partial.rename(kept)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _convert(model: Any) -> Any:
    import openvino

    core = _Core(model).eval()
    mix = torch.zeros(1, 2, int(model.samplerate * model.segment))
    with torch.no_grad(), without_fused_attention():
        example = (model._magnitude(model._spec(mix)), mix)
        # Tracing once more to compare would double the cost; a test compares the answers.
        with warnings.catch_warnings():
            # Lengths become constants, which is meant: every segment is padded to one length.
            warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined] # not in its __all__
            # torch.export, which is to follow, does not take forwards that are replaced.
            warnings.filterwarnings("ignore", "`torch.jit.", DeprecationWarning)
            traced: Any = torch.jit.trace(core, example, check_trace=False)  # type: ignore[no-untyped-call]
            shapes = [list(tensor.shape) for tensor in example]
            made = openvino.convert_model(traced, example_input=example, input=shapes)
    keep_channels_last(made)
    return made


class _Core(torch.nn.Module):
    """An HTDemucs between its transforms: spectrogram and mix in, both branches out.

    The network's own ``forward`` is run, with its four transforms replaced for the while, so
    that nothing of it is written down a second time.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, magnitudes: torch.Tensor, mix: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        spectra: list[torch.Tensor] = []

        def keep_spectrum(spectrum: torch.Tensor, *_: object) -> torch.Tensor:
            spectra.append(spectrum)
            # Added to the waves by the network: nothing.
            return torch.zeros(())

        replaced: dict[str, Callable[..., torch.Tensor]] = {
            "_spec": lambda _mix: magnitudes,
            "_magnitude": lambda spectrum: spectrum,
            "_mask": lambda _spectrum, masked: masked,
            "_ispec": keep_spectrum,
        }
        vars(self.model).update(replaced)
        try:
            waves: torch.Tensor = self.model(mix)
        finally:
            for name in replaced:
                vars(self.model).pop(name)
        return spectra[0], waves
