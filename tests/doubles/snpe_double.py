"""A DOUBLE of Qualcomm's SNPE tools, for the tests: it is not SNPE and proves nothing about SNPE.

It refuses every argument that Qualcomm's documentation does not list (80-63442-2, "Tools"), and every
file that is not as documented. The "DLC" that it writes says that it is a double's; it carries the ONNX
file along, and `snpe-net-run` runs that with ONNX Runtime, in floating point. So the tests see which
arguments, files, layouts and types are handed over, and whether numbers come out that way.

Runs inside the image, with Python's standard library, numpy, onnx, onnxruntime and flatbuffers.
"""

from __future__ import annotations

import argparse
import json
import os
import struct
import sys
import time
import zipfile
from pathlib import Path

VERSION = "SNPE v2.41.0.251128 (a DOUBLE, not Qualcomm's)"
LAYOUTS = ["NCDHW", "NDHWC", "NCHW", "NHWC", "NFC", "NCF", "NTF", "TNF", "NF", "NC", "F", "NONTRIVIAL"]
SOCS = ("sm8350", "sm8450", "sm8550", "sm8650", "sm8750", "qcs6490", "qcs8550")
FLOAT32, FLOAT16, INT32, UINT8 = 0x232, 0x216, 0x032, 0x108
FIXED = {(8, False): 0x408, (16, False): 0x416, (8, True): 0x308, (16, True): 0x316}
NUMPY = {FLOAT32: "float32", FLOAT16: "float16", INT32: "int32", UINT8: "uint8"}
NATIVE = NUMPY | {0x408: "uint8", 0x416: "uint16"}


def fail(text: str) -> None:
    print(f"DOUBLE: {text}", file=sys.stderr)
    sys.exit(1)


class Parser(argparse.ArgumentParser):
    def __init__(self, tool: str) -> None:
        super().__init__(prog=tool, allow_abbrev=False)

    def flags(self, names: str) -> None:
        for name in names.split():
            self.add_argument(f"--{name}", action="store_true")

    def values(self, names: str) -> None:
        for name in names.split():
            self.add_argument(f"--{name}")


def logging(parser: Parser) -> None:
    parser.flags("version verbose quiet silent debug1 debug2 debug3 log-file-include-hostname")
    parser.values("debug log-mask log-file log-dir")


# ------------------------------------------------------------------ the "DLC"


def write_dlc(path: str, state: dict, onnx: bytes) -> None:
    records = {
        "dlc.metadata2.3.0": json.dumps(
            {"converter": "DOUBLE", "made": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())}
        ).encode(),
        "model": struct.pack("<HHHH", 0x0AD5, 4, 1, 0) + graph(state),
        "double.json": json.dumps(state).encode(),
        "double.onnx": onnx,
        "DOUBLE": b"Written by a test double. No device runs this.",
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in records.items():
            archive.writestr(name, data)


def read_dlc(path: str) -> tuple[dict, bytes]:
    if not Path(path).is_file():
        fail(f"no such DLC: {path}")
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("double.json")), archive.read("double.onnx")


def graph(state: dict) -> bytes:
    """The flatbuffer of Netron's `dlc-schema.js`: Model, Graph, Node, Tensor, Quantization."""
    import flatbuffers

    b = flatbuffers.Builder(1024)

    def texts(values):
        made = [b.CreateString(value) for value in values]
        b.StartVector(4, len(made), 4)
        for one in reversed(made):
            b.PrependUOffsetTRelative(one)
        return b.EndVector()

    def tables(made):
        b.StartVector(4, len(made), 4)
        for one in reversed(made):
            b.PrependUOffsetTRelative(one)
        return b.EndVector()

    def ints(values):
        b.StartVector(4, len(values), 4)
        for value in reversed(values):
            b.PrependInt32(value)
        return b.EndVector()

    def tensor(index, name, kind, dims, dtype, encoding):
        label, shape = b.CreateString(name), ints(dims)
        quantization = None
        if encoding is not None:
            bits, scale, offset = encoding
            b.StartObject(5)
            b.PrependInt32Slot(0, bits, 0)
            b.PrependFloat32Slot(3, scale, 0.0)
            b.PrependInt32Slot(4, offset, 0)
            one = b.EndObject()
            b.StartObject(4)
            b.PrependInt32Slot(0, 1, 0)
            b.PrependUOffsetTRelativeSlot(2, one, 0)
            quantization = b.EndObject()
        b.StartObject(7)
        b.PrependUint32Slot(0, index, 0)
        b.PrependUOffsetTRelativeSlot(1, label, 0)
        b.PrependInt32Slot(2, kind, 0)
        b.PrependUOffsetTRelativeSlot(3, shape, 0)
        if quantization is not None:
            b.PrependUOffsetTRelativeSlot(5, quantization, 0)
        b.PrependInt32Slot(6, dtype, 0)
        return b.EndObject()

    made = []
    for kind, group in ((0, state["inputs"]), (1, state["outputs"])):
        for item in group:
            made.append(
                tensor(len(made), item["name"], kind, item["dims"], item["dtype"], item.get("encoding"))
            )
    weight = state["weight"]
    made.append(
        tensor(len(made), "double_weight", 4, [1, 1, 1, 1], weight["dtype"], weight["encoding"])
    )
    nodes = []
    name, op = b.CreateString("double"), b.CreateString("Conv2d")
    ins = texts([state["inputs"][0]["name"], "double_weight"])
    outs = texts([state["outputs"][0]["name"]])
    b.StartObject(4)
    for slot, value in enumerate((name, op, ins, outs)):
        b.PrependUOffsetTRelativeSlot(slot, value, 0)
    nodes.append(b.EndObject())
    nodes, tensors = tables(nodes), tables(made)
    title = b.CreateString("double")
    b.StartObject(3)
    for slot, value in enumerate((title, nodes, tensors)):
        b.PrependUOffsetTRelativeSlot(slot, value, 0)
    graphs = tables([b.EndObject()])
    b.StartObject(1)
    b.PrependUOffsetTRelativeSlot(0, graphs, 0)
    b.Finish(b.EndObject(), file_identifier=b"NETD")
    return bytes(b.Output())


# ------------------------------------------------------------------- the tools


def onnx_to_dlc(argv: list[str]) -> None:
    p = Parser("snpe-onnx-to-dlc")
    p.add_argument("--input_network", "-i", required=True)
    p.add_argument("--output_path", "-o")
    p.add_argument("--out_node", "--out_name", action="append", default=[])
    for name, short in (("input_dim", "-d"), ("input_layout", "-l"), ("input_type", "-t")):
        p.add_argument(f"--{name}", short, nargs=2, action="append", default=[])
    p.add_argument("--input_dtype", nargs=2, action="append", default=[])
    p.add_argument("--define_symbol", "-s", nargs=2, action="append")
    p.add_argument("--input_encoding", "-e", nargs="+", action="append")
    p.add_argument("--preserve_io", nargs="*", action="append", default=[])
    p.add_argument("--dry_run", nargs="?")
    p.add_argument("--debug", nargs="?")
    p.add_argument("--batch", "-b")
    p.add_argument("--no_simplification", "-n", action="store_true")
    p.add_argument("--validation_target", nargs=2)
    p.add_argument("--udo_config_paths", "-udo", nargs="+")
    p.add_argument("--op_package_config", "-opc", nargs="+")
    p.values("custom_io dump_custom_io_config_template quantization_overrides copyright_file")
    p.values("float_bitwidth float_bw float_bias_bw model_version op_package_lib")
    p.values("converter_op_package_lib package_name")
    p.flags("keep_quant_nodes disable_batchnorm_folding expand_lstm_op_structure")
    p.flags("keep_disconnected_nodes strict")
    a = p.parse_args(argv)
    import onnx

    model = onnx.load(a.input_network)
    unsupported = [n for n in model.graph.node if n.op_type == "Det"]
    if unsupported:
        fail(f"ERROR - Op type Det of node {unsupported[0].name} is not supported by this converter")
    dims, dtypes, layouts = dict(a.input_dim), dict(a.input_dtype), dict(a.input_layout)
    preserved = {"layout": set(), "datatype": set()}
    for words in a.preserve_io:
        if not words or words[0] not in preserved:
            fail("--preserve_io wants 'layout' or 'datatype' and names")
        preserved[words[0]] |= set(words[1:])
    overrides = {}
    if a.quantization_overrides:
        data = json.loads(Path(a.quantization_overrides).read_text())
        overrides = data["activation_encodings"]
        assert isinstance(data["param_encodings"], dict)
    float_type = {None: FLOAT32, "32": FLOAT32, "16": FLOAT16}[a.float_bitwidth]
    state = {"inputs": [], "outputs": [], "overrides": overrides}
    state["weight"] = {"dtype": float_type, "encoding": None}
    for value in model.graph.input:
        name, shape = value.name, [d.dim_value for d in value.type.tensor_type.shape.dim]
        if dims.pop(name, None) != ",".join(map(str, shape)):
            fail(f"--input_dim of {name} is not {shape}")
        if layouts.get(name) not in LAYOUTS:
            fail(f"--input_layout of {name}: {layouts.get(name)} is none of {LAYOUTS}")
        if len(layouts[name]) != len(shape) and layouts[name] != "NONTRIVIAL":
            fail(f"--input_layout of {name} has another rank")
        kept = name in preserved["layout"]
        axes = list(range(len(shape)))
        if layouts[name] in ("NCHW", "NCDHW") and not kept:
            axes = [0, *range(2, len(shape)), 1]
        word = dtypes.get(name, "float32")
        dtype = {"float32": float_type, "int32": INT32, "uint8": UINT8}[word]
        if name in preserved["datatype"] and word == "float32":
            dtype = FLOAT32
        state["inputs"].append(
            {
                "name": name, "dims": [shape[axis] for axis in axes], "axes": axes, "dtype": dtype,
                "kept": name in preserved["datatype"],
            }
        )  # fmt: skip
    if dims:
        fail(f"--input_dim names no inputs: {sorted(dims)}")
    outputs = [value.name for value in model.graph.output]
    if a.out_node != outputs:
        fail(f"--out_name {a.out_node} are not the outputs {outputs}")
    for value in model.graph.output:
        shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
        axes = list(range(len(shape)))
        if len(shape) == 4 and value.name not in preserved["layout"]:
            axes = [0, 2, 3, 1]
        state["outputs"].append(
            {
                "name": value.name, "dims": [shape[axis] for axis in axes], "axes": axes,
                "dtype": float_type,
            }
        )  # fmt: skip
    target = a.output_path or str(Path(a.input_network).with_suffix(".dlc"))
    if model.ByteSize() > 1 << 30:
        fail("too large for a double")
    write_dlc(target, state, model.SerializeToString())


def dlc_quant(argv: list[str]) -> None:
    p = Parser("snpe-dlc-quant")
    logging(p)
    p.values("input_dlc input_list output_dlc optimizations udo_package_path param_quantizer")
    p.values("act_quantizer bitwidth weights_bitwidth act_bitwidth float_bitwidth bias_bitwidth")
    p.values("float_bias_bitwidth restrict_quantization_steps")
    p.add_argument("--algorithms", action="append")
    p.flags("no_weight_quantization use_enhanced_quantizer use_adjusted_weights_quantizer")
    p.flags("override_params use_encoding_optimizations use_symmetric_quantize_weights")
    p.flags("use_native_dtype use_native_input_files use_native_output_files float_fallback axis_quant")
    p.flags("use_per_channel_quantization use_per_row_quantization enable_per_row_quantized_bias")
    a = p.parse_args(argv)
    if a.version:
        print(VERSION)
        return
    for name in (a.param_quantizer, a.act_quantizer):
        if name not in (None, "tf", "enhanced", "symmetric"):
            fail(f"no quantizer {name}")
    state, onnx = read_dlc(a.input_dlc)
    act, weights = int(a.act_bitwidth or 8), int(a.weights_bitwidth or 8)
    if act not in (8, 16) or weights not in (4, 8, 16):
        fail("no such bit width")
    ranges: dict[str, list[float]] = {}
    frames = read_list(a.input_list, state, native=a.use_native_input_files)
    if not frames:
        fail("the input list is empty")
    for frame in frames:
        for name, values in frame.items():
            low, high = ranges.get(name, [0.0, 0.0])
            ranges[name] = [min(low, float(values.min())), max(high, float(values.max()))]
    for item in state["inputs"]:
        if item["kept"] or item["dtype"] in (INT32, UINT8):
            continue
        encoding = state["overrides"].get(item["name"]) if a.override_params else None
        if encoding:
            bits, scale, offset = encoding[0]["bitwidth"], encoding[0]["scale"], encoding[0]["offset"]
        else:
            low, high = ranges[item["name"]]
            bits, scale = act, (high - low) / (2**act - 1)
            offset = round(low / scale)
        item |= {"dtype": FIXED[bits, False], "encoding": [bits, scale, offset]}
    for item in state["outputs"]:
        item |= {"dtype": FIXED[act, False], "encoding": [act, 0.125, -3]}
    state["weight"] = {"dtype": FIXED[weights, True], "encoding": [weights, 0.5, 0]}
    state["frames"] = len(frames)
    write_dlc(a.output_dlc, state, onnx)


def read_list(path: str, state: dict, *, native: bool) -> list[dict]:
    import numpy as np

    frames = []
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    while lines and lines[0][:1] in "#%":
        lines.pop(0)
    for line in lines:
        frame = {}
        for word in line.split(" "):
            name, separator, file = word.partition(":=")
            if not separator or not Path(file).is_absolute():
                fail(f"a line is not 'name:=path …': {line}")
            item = next((item for item in state["inputs"] if item["name"] == name), None)
            if item is None:
                fail(f"the list names no input: {name}")
            kind = NATIVE[item["dtype"]] if native else "float32"
            values = np.fromfile(file, kind)
            if values.size != int(np.prod(item["dims"])):
                fail(f"{file}: {values.size} values, {item['dims']} are {np.prod(item['dims'])}")
            frame[name] = values.reshape(item["dims"])
        if set(frame) != {item["name"] for item in state["inputs"]}:
            fail(f"a line does not name every input: {line}")
        frames.append(frame)
    return frames


def graph_prepare(argv: list[str]) -> None:
    p = Parser("snpe-dlc-graph-prepare")
    logging(p)
    p.values("input_dlc output_dlc set_output_tensors set_output_layers input_list htp_socs htp_archs")
    p.values("vtcm_override optimization_level htp_dlbc num_hvx_threads memorymapped_buffer_hint")
    p.values("udo_package_path")
    for name in ("buffer_data_type", "input_name", "input_dimensions"):
        p.add_argument(f"--{name}", action="append")
    p.flags("overwrite_cache_records use_float_io")
    a = p.parse_args(argv)
    state, onnx = read_dlc(a.input_dlc)
    wanted = a.set_output_tensors.split(",")
    if wanted != [item["name"] for item in state["outputs"]]:
        fail(f"--set_output_tensors {wanted} are not the outputs")
    if a.optimization_level not in ("1", "2", "3"):
        fail("--optimization_level is 1, 2 or 3")
    for soc in (a.htp_socs or "sm8650").split(","):
        if soc not in SOCS:
            fail(f"no SoC {soc}")
    if a.use_float_io and state["weight"]["encoding"] is not None:
        fail("--use_float_io on integers")
    state["socs"] = a.htp_socs
    write_dlc(a.output_dlc, state, onnx)


def dlc_info(argv: list[str]) -> None:
    p = Parser("snpe-dlc-info")
    p.add_argument("--input_dlc", "-i", required=True)
    p.add_argument("--save", "-s")
    a = p.parse_args(argv)
    state, _ = read_dlc(a.input_dlc)
    text = "\n".join(f"{i['name']},{i['dims']}" for i in (*state["inputs"], *state["outputs"]))
    if a.save:
        Path(a.save).write_text(f"DOUBLE\n{text}\n")
    print(text)


def net_run(argv: list[str]) -> None:
    p = Parser("snpe-net-run")
    p.add_argument("--container", required=True)
    p.add_argument("--input_list", required=True)
    p.add_argument("--output_dir", default="./output")
    p.values("storage_dir encoding_type perf_profile profiling_level set_output_tensors runtime_order")
    p.flags("use_gpu use_dsp use_aip debug use_native_input_files use_native_output_files version")
    p.flags("userbuffer_auto userbuffer_float userbuffer_tf8 static_min_max enable_cpu_fallback")
    a = p.parse_args(argv)
    if a.use_native_input_files and not (a.userbuffer_auto or a.userbuffer_float or a.userbuffer_tf8):
        fail("--use_native_input_files must be used with --userbuffer_xxx")
    import numpy as np
    import onnxruntime

    state, onnx = read_dlc(a.container)
    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    header = Path(a.input_list).read_text(encoding="utf-8").splitlines()[0]
    names = header[1:].split(" ") if header.startswith("%") else [o["name"] for o in state["outputs"]]
    types = {"tensor(float)": "float32", "tensor(int32)": "int32", "tensor(int64)": "int64",
             "tensor(uint8)": "uint8"}  # fmt: skip
    kinds = {value.name: types[value.type] for value in session.get_inputs()}
    for index, frame in enumerate(read_list(a.input_list, state, native=a.use_native_input_files)):
        feeds = {}
        for item in state["inputs"]:
            planar = frame[item["name"]].transpose(np.argsort(item["axes"]))
            feeds[item["name"]] = planar.astype(kinds[item["name"]])
        for name, values in zip(names, session.run(names, feeds), strict=True):
            axes = next(item["axes"] for item in state["outputs"] if item["name"] == name)
            place = Path(a.output_dir) / f"Result_{index}" / f"{name}.raw"
            place.parent.mkdir(parents=True, exist_ok=True)
            values.transpose(axes).astype("float32").tofile(place)


TOOLS = {
    "snpe-onnx-to-dlc": onnx_to_dlc,
    "snpe-dlc-quant": dlc_quant,
    "snpe-dlc-graph-prepare": graph_prepare,
    "snpe-dlc-info": dlc_info,
    "snpe-net-run": net_run,
}


def fault(tool: str) -> None:
    """Misbehave as the image's environment says: `DOUBLE_FAULT=tool:what`."""
    wanted, _, what = os.environ.get("DOUBLE_FAULT", ":").partition(":")
    if wanted != tool:
        return
    if what == "oom":
        hoard = [bytearray(64 << 20) for _ in range(10_000)]
        fail(f"had room for {len(hoard)} blocks")
    if what == "log":
        for index in range(100_000):
            print(f"DOUBLE: line {index:06d} {'x' * 80}")
        print("DOUBLE: the last line says what was wrong", file=sys.stderr)
        sys.exit(3)
    if what == "hang":
        print("DOUBLE: hanging", flush=True)
        time.sleep(3600)
    if what == "fill":
        with Path("/work/filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(b"\0" * (1 << 20))
    if what == "nothing":
        sys.exit(0)
    if what == "crash":
        os.kill(os.getpid(), 11)


def main(tool: str) -> None:
    if "--version" not in sys.argv:
        print(f"DOUBLE of {tool}, not Qualcomm's", flush=True)
        fault(tool)
    TOOLS[tool](sys.argv[1:])
