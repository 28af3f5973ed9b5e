"""Assembles an ONNX model node by node, with names that depend on nothing but their order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt
    from onnx import ModelProto, NodeProto, TensorProto

INPUT = "features"
OUTPUT = "probabilities"
OPSETS = {"": 15, "ai.onnx.ml": 3}
IR_VERSION = 8
PRODUCER = "jenkins-ml-pipeline"


class OnnxGraph:
    """Nodes and constants in the making: input ``features`` float32 [n, width]."""

    def __init__(self, width: int) -> None:
        self.width = width
        self._nodes: list[NodeProto] = []
        self._constants: list[TensorProto] = []
        self._included = 0

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node of the default domain; return the name of its one output."""
        from onnx import helper

        output = f"value_{len(self._nodes)}"
        self._nodes.append(
            helper.make_node(
                operator, inputs, [output], name=f"node_{len(self._nodes)}", **attributes
            )
        )
        return output

    def constant(self, values: npt.ArrayLike, dtype: npt.DTypeLike) -> str:
        """Add a constant; return its name."""
        from onnx import numpy_helper

        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(values, dtype=dtype), name))
        return name

    def cast(self, value: str, dtype: npt.DTypeLike) -> str:
        from onnx import helper

        return self.node("Cast", value, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def include(self, model: ModelProto, source: str, output: str) -> str:
        """Add a converter's whole graph, fed from ``source``; return the new name of ``output``."""
        from onnx import NodeProto, TensorProto

        prefix = f"included_{self._included}_"
        self._included += 1
        (entry,) = model.graph.input
        names = {"": "", entry.name: source}

        def renamed(name: str) -> str:
            return names.get(name, prefix + name)

        for tensor in model.graph.initializer:
            copy = TensorProto()
            copy.CopyFrom(tensor)
            copy.name = renamed(tensor.name)
            self._constants.append(copy)
        for original in model.graph.node:
            node = NodeProto()
            node.CopyFrom(original)
            node.name = f"node_{len(self._nodes)}"
            node.doc_string = ""
            del node.input[:], node.output[:]
            node.input.extend(renamed(name) for name in original.input)
            node.output.extend(renamed(name) for name in original.output)
            self._nodes.append(node)
        return renamed(output)

    def finish(self, value: str, columns: int = 2) -> bytes:
        """Return the model with output ``value``, float32 [n, columns].

        Equal graphs give equal bytes.

        Raises:
            onnx.checker.ValidationError: the nodes do not fit together.
        """
        import onnx
        from onnx import TensorProto, helper

        self._nodes.append(helper.make_node("Identity", [value], [OUTPUT], name="output"))
        graph = helper.make_graph(
            self._nodes,
            "model",
            [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["n", self.width])],
            [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["n", columns])],
            self._constants,
        )
        model = helper.make_model(
            graph,
            producer_name=PRODUCER,
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid(name, n) for name, n in OPSETS.items()],
        )
        onnx.checker.check_model(model, full_check=True)
        content: bytes = model.SerializeToString(deterministic=True)
        return content


def two_columns(graph: OnnxGraph, probability: str) -> str:
    """Turn a double [n, 1] probability of class 1 into the output form, float32 [n, 2]."""
    one = graph.constant([[1.0]], np.float64)
    other = graph.node("Sub", one, probability)
    return graph.cast(graph.node("Concat", other, probability, axis=1), np.float32)


def one_column(graph: OnnxGraph, probabilities: str) -> str:
    """Take the probability of class 1 out of the output form, as double [n, 1]."""
    column = graph.node("Gather", probabilities, graph.constant([1], np.int64), axis=1)
    return graph.cast(column, np.float64)
