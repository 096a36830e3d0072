# SPDX-License-Identifier: Apache-2.0
"""What ONNX's operators mean. Source: the operator schemas of ONNX, opsets 1 to 28."""

from __future__ import annotations

OPSET = 21
"""The opset of a model that names none of the standard domain."""
STANDARD = {"", "ai.onnx"}
CONTRIBUTED = {"com.microsoft", "com.microsoft.nchwc"}
"""Domains: that of the standard, and those of ONNX Runtime."""

UNREGISTERED = {"SimplifiedLayerNormalization", "SkipLayerNormalization", "SkipSimplifiedLayerNormalization"}
"""Operators that ONNX Runtime puts in the standard domain, which does not have them."""

CONTROL = {"If", "Loop", "Scan"}
TRIPS = "give the trips of one by its name, as a dim"
RECURRENT = {"LSTM": "lstm", "GRU": "gru", "RNN": "rnn_tanh"}
SHAPE_OF_FIRST = {
    "SkipLayerNormalization", "SkipSimplifiedLayerNormalization", "SimplifiedLayerNormalization", "SkipGroupNorm",
    "FastGelu", "BiasGelu", "QuickGelu", "Gelu", "BiasAdd", "BiasSoftmax", "RotaryEmbedding", "MultiHeadAttention",
    "DecoderMaskedMultiHeadAttention", "MoE", "QMoE", "QLinearSigmoid", "QLinearLeakyRelu", "QLinearSoftmax",
    "SparseAttention", "GroupNorm", "BitmaskDropout", "PackedMultiHeadAttention", "Inverse", "Rfft", "Irfft",
}  # fmt: skip
"""Contributed operators whose first result has the shape of their first input."""

SAME_SHAPED = {"SkipLayerNormalization": (3,), "SkipSimplifiedLayerNormalization": (3,)}
"""Further results of that shape."""

SHAPE_ATTRIBUTES = {"transA", "transB", "auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"}
VIEWS = {"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Dropout", "Shape", "Size", "Constant",
         "SequenceConstruct", "SequenceAt", "SequenceEmpty", "SequenceErase", "SequenceInsert", "SequenceLength",
         "SplitToSequence", "Optional", "OptionalGetElement", "OptionalHasElement"}  # fmt: skip
RESHAPES = {"Reshape", "Squeeze", "Unsqueeze", "Flatten"}
SAME_ZEROS = {"Identity", "Cast", "Reshape", "Transpose", "DequantizeLinear", "Squeeze", "Unsqueeze", "Flatten"}
"""Operators whose result is their first input moved, recast or rescaled."""

GATHERS = {"Gather", "GatherElements", "GatherND"}
_COPIES = ("Cast", "Einsum", "Concat", "ConstantOfShape", "Expand", "Pad", "Slice", "Split", "Tile", "Transpose",
           "Range", "DepthToSpace", "SpaceToDepth", "ScatterElements", "ScatterND", "EyeLike", "OneHot", "Trilu",
           "Gather", "GatherElements", "GatherND", "CastLike", "Compress", "NonZero", "CenterCropPad",
           "ReverseSequence", "Scatter", "TensorScatter", "MaxUnpool", "Unique", "BitCast", "ConcatFromSequence",
           "BlackmanWindow", "HammingWindow", "HannWindow", "MelWeightMatrix", "RandomNormal", "RandomNormalLike",
           "RandomUniform", "RandomUniformLike")  # fmt: skip
_POINTWISE = ("Acosh", "Asinh", "Atanh", "Bernoulli", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "Shrink",
              "SwiGLU", "AffineGrid", "Abs", "Acos", "Add", "And", "Asin", "Atan", "BitShift", "Ceil", "Celu", "Clip",
              "Cos", "Cosh", "DequantizeLinear", "Div", "DynamicQuantizeLinear", "Elu", "Equal", "Erf", "Exp",
              "Floor", "Gelu", "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish", "IsInf", "IsNaN", "LeakyRelu",
              "Less", "LessOrEqual", "Log", "Max", "Mean", "Min", "Mish", "Mod", "Mul", "Neg", "Not", "Or", "PRelu",
              "Pow", "QuantizeLinear", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Sinh",
              "Softplus", "Softsign", "Sqrt", "Sub", "Sum", "Swish", "FastGelu", "BiasGelu", "QuickGelu", "BiasAdd",
              "QLinearAdd", "QLinearMul", "QLinearSigmoid", "QLinearLeakyRelu", "Tan", "Tanh", "ThresholdedRelu",
              "Where", "Xor")  # fmt: skip
_REDUCTIONS = ("CumProd", "Col2Im", "MaxRoiPool", "Multinomial", "NegativeLogLikelihoodLoss", "ArgMax", "ArgMin",
               "AveragePool", "CumSum", "GlobalAveragePool", "GlobalMaxPool", "LpNormalization", "LpPool", "MaxPool",
               "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "GlobalLpPool",
               "QLinearAveragePool", "QLinearGlobalAveragePool", "MeanVarianceNormalization", "Hardmax", "ReduceMean",
               "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare", "Resize", "TopK", "Upsample")  # fmt: skip

FLOPS_PER_OUTPUT = {**dict.fromkeys(_COPIES, 0), **dict.fromkeys(_POINTWISE, 1), "RotaryEmbedding": 3}
FLOPS_PER_INPUT = {
    **dict.fromkeys(_REDUCTIONS, 1), "Softmax": 5, "LogSoftmax": 5, "LayerNormalization": 7, "GroupNormalization": 7,
    "InstanceNormalization": 7, "BatchNormalization": 4, "RMSNormalization": 4, "SimplifiedLayerNormalization": 4,
    "SkipLayerNormalization": 8, "SkipSimplifiedLayerNormalization": 5, "EmbedLayerNormalization": 8, "GroupNorm": 7,
    "SkipGroupNorm": 8, "QLinearSoftmax": 5, "BiasSoftmax": 6, "SoftmaxCrossEntropyLoss": 6,
}  # fmt: skip
"""As simsparse.trace.capture.aten counts: softmax 5 an element, layer norm 7, batch and RMS norm 4."""

DTYPES = {
    1: "fp32", 2: "int8", 3: "int8", 4: "int16", 5: "int16", 6: "int32", 7: "int64", 9: "bool", 10: "fp16",
    11: "fp64", 12: "int32", 13: "int64", 16: "bf16", 17: "fp8", 18: "fp8", 19: "fp8", 20: "fp8", 21: "int4",
    22: "int4",
}  # fmt: skip
"""TensorProto.DataType by number; strings and complex numbers have no dtype."""
