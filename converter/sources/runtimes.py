"""The runtimes that run a source model as it was given: the reference for every comparison."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from converter.errors import ArchiveError
from converter.sources.facts import kind_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

# From arrays by input name (the model's input shapes and dtypes) and names of outputs to those outputs,
# in the model's output shapes and dtypes.
Runtime = Callable[[Mapping[str, "NDArray[Any]"], Sequence[str]], Sequence["NDArray[Any]"]]
RUNTIMES: Final = {"ONNX": "ONNX Runtime", "OpenVINO IR": "OpenVINO", "TFLite": "LiteRT"}


def open_runtime(model: str, *, exact: bool = False) -> Runtime:
    """The runtime of a model file's format, on the CPU and in float32.

    Args:
        exact: For quantized ONNX networks, see `converter.sources.onnx_session.session_of`.

    Raises:
        Exception: The runtime does not take the model.
    """
    match kind_of(model):
        case "OpenVINO IR":
            return _openvino(model)
        case "TFLite":
            return _litert(model)
        case _:
            return _onnxruntime(model, exact=exact)


def _onnxruntime(model: str, *, exact: bool) -> Runtime:
    from converter.sources.onnx_session import readable, session_of

    session = session_of(readable(model), exact=exact)

    def run(feed: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> Sequence[NDArray[Any]]:
        found: Sequence[NDArray[Any]] = session.run(list(outputs), dict(feed))
        return found

    return run


def _openvino(model: str) -> Runtime:
    import openvino

    from converter.sources.port_names import places_of

    core = openvino.Core()
    net = core.read_model(model)
    compiled: dict[tuple[str, ...], Any] = {}

    def run(feed: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> Sequence[NDArray[Any]]:
        names = tuple(feed)
        places = places_of("input", net.inputs, names)
        if names not in compiled:
            net.reshape({net.inputs[places[name]]: feed[name].shape for name in names})
            # Some processors have bfloat16, which the plugin would use unasked.
            compiled[names] = core.compile_model(net, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        ready = compiled[names]
        result = ready({places[name]: feed[name] for name in names})
        found = places_of("output", net.outputs, outputs)
        return [result[found[name]] for name in outputs]

    return run


def _litert(model: str) -> Runtime:
    from converter.sources.tflite import missing

    try:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType
    except ImportError as error:
        raise missing(error) from error
    # The XNNPACK delegate, which it takes by itself, refuses some quantized models.
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model, experimental_op_resolver_type=plain)
    inputs = {entry["name"]: entry for entry in interpreter.get_input_details()}
    results = {entry["name"]: entry["index"] for entry in interpreter.get_output_details()}

    def run(feed: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> Sequence[NDArray[Any]]:
        for name, values in feed.items():
            if tuple(inputs[name]["shape"]) != values.shape:
                interpreter.resize_tensor_input(inputs[name]["index"], values.shape)
        interpreter.allocate_tensors()
        for name, values in feed.items():
            interpreter.set_tensor(inputs[name]["index"], values)
        interpreter.invoke()
        if gone := [name for name in outputs if name not in results]:
            raise ArchiveError(f"LiteRT reads the model without an output {gone[0]!r}.")
        return [interpreter.get_tensor(results[name]) for name in outputs]

    return run
