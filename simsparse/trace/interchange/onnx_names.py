# SPDX-License-Identifier: Apache-2.0
"""What ONNX's operators mean. Source: the operator schemas of ONNX, opsets 1 to 25."""

from __future__ import annotations

PRODUCTS: dict[str, tuple[int, int]] = {
    "MatMul": (0, 1), "Gemm": (0, 1), "Conv": (0, 1), "MatMulInteger": (0, 1), "ConvInteger": (0, 1),
    "QLinearMatMul": (0, 3), "QLinearConv": (0, 3),
}  # fmt: skip
"""Inputs that are the operands of a product: activations, weights."""

CONVOLUTIONS = {"Conv", "ConvInteger", "QLinearConv"}
VIEWS = {"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Dropout", "Shape", "Size", "Constant"}
SAME_ZEROS = {"Identity", "Cast", "Reshape", "Transpose", "DequantizeLinear", "Squeeze", "Unsqueeze", "Flatten"}
"""Operators whose result is their first input moved, recast or rescaled."""

GATHERS = {"Gather", "GatherElements", "GatherND"}
_COPIES = ("Cast", "Concat", "ConstantOfShape", "Expand", "Pad", "Slice", "Split", "Tile", "Transpose", "Range",
           "DepthToSpace", "SpaceToDepth", "ScatterElements", "ScatterND", "EyeLike", "OneHot", "Trilu", "Gather",
           "GatherElements", "GatherND", "CastLike", "Compress", "NonZero")  # fmt: skip
_POINTWISE = ("Abs", "Acos", "Add", "And", "Asin", "Atan", "BitShift", "Ceil", "Celu", "Clip", "Cos", "Cosh",
              "DequantizeLinear", "Div", "DynamicQuantizeLinear", "Elu", "Equal", "Erf", "Exp", "Floor", "Gelu",
              "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish", "IsInf", "IsNaN", "LeakyRelu", "Less",
              "LessOrEqual", "Log", "Max", "Mean", "Min", "Mish", "Mod", "Mul", "Neg", "Not", "Or", "PRelu", "Pow",
              "QuantizeLinear", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus",
              "Softsign", "Sqrt", "Sub", "Sum", "Swish", "Tan", "Tanh", "ThresholdedRelu", "Where", "Xor")  # fmt: skip
_REDUCTIONS = ("ArgMax", "ArgMin", "AveragePool", "CumSum", "GlobalAveragePool", "GlobalMaxPool", "LpNormalization",
               "LpPool", "MaxPool", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax",
               "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare", "Resize", "TopK",
               "Upsample")  # fmt: skip

FLOPS_PER_OUTPUT = {**dict.fromkeys(_COPIES, 0), **dict.fromkeys(_POINTWISE, 1)}
FLOPS_PER_INPUT = {
    **dict.fromkeys(_REDUCTIONS, 1), "Softmax": 5, "LogSoftmax": 5, "LayerNormalization": 7, "GroupNormalization": 7,
    "InstanceNormalization": 7, "BatchNormalization": 4, "RMSNormalization": 4, "SimplifiedLayerNormalization": 4,
}  # fmt: skip
"""As simsparse.trace.capture.aten counts: softmax 5 an element, layer norm 7, batch and RMS norm 4."""

DTYPES = {
    1: "fp32", 2: "int8", 3: "int8", 4: "int16", 5: "int16", 6: "int32", 7: "int64", 9: "bool", 10: "fp16",
    11: "fp64", 12: "int32", 13: "int64", 16: "bf16", 17: "fp8", 18: "fp8", 19: "fp8", 20: "fp8", 21: "int4",
    22: "int4",
}  # fmt: skip
"""TensorProto.DataType by number; strings and complex numbers have no dtype."""
