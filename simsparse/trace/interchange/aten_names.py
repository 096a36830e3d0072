# SPDX-License-Identifier: Apache-2.0
"""What aten's names mean in an execution trace, which has no tags or overloads to ask.

FLOPs as simsparse.trace.capture.aten counts them: one an output element of a pointwise operation, one an
input element of a reduction, 5 an element of a softmax, 7 of a layer norm, 4 of an RMS or batch norm,
none of a copy.
"""

from __future__ import annotations

LINEAR = {"linear"}
MATRIX = {"mm", "addmm"}
BATCHED = {"bmm", "baddbmm"}
CONVOLUTION = {"conv1d", "conv2d", "convolution", "_convolution", "cudnn_convolution", "mkldnn_convolution",
               "convolution_overrideable"}  # fmt: skip
ATTENTION = {"scaled_dot_product_attention", "_scaled_dot_product_flash_attention",
             "_scaled_dot_product_efficient_attention", "_scaled_dot_product_flash_attention_for_cpu",
             "_scaled_dot_product_cudnn_attention", "_scaled_dot_product_fused_attention_overrideable"}  # fmt: skip
GATHER = {"embedding", "index_select", "gather", "index", "take", "embedding_bag"}
EMPTY = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "resize", "detach", "alias",
         "resolve_conj", "resolve_neg", "_unsafe_view", "item", "_local_scalar_dense", "is_nonzero", "set",
         "lift_fresh", "result_type", "size", "stride", "record_stream", "as_strided", "t", "transpose",
         "squeeze", "unsqueeze", "view", "permute"}  # fmt: skip
COPY = {"copy", "clone", "_to_copy", "cat", "stack", "fill", "zero", "zeros", "ones", "full", "arange", "zeros_like",
        "ones_like", "full_like", "new_zeros", "new_ones", "new_full", "scalar_tensor", "constant_pad_nd", "pad",
        "repeat", "flip", "roll", "tril", "triu", "repeat_interleave", "index_copy", "index_put", "scatter", "one_hot",
        "_index_put_impl", "slice_scatter", "select_scatter", "masked_select", "nonzero", "eye",
        "linspace", "_reshape_copy", "_reshape_alias_copy", "normal", "uniform", "bernoulli", "random"}  # fmt: skip
REDUCTION = {"sum", "mean", "amax", "amin", "max", "min", "prod", "var", "std", "var_mean", "std_mean", "argmax",
             "argmin", "any", "all", "cumsum", "cumprod", "norm", "linalg_vector_norm", "logsumexp", "topk", "sort",
             "max_pool1d", "max_pool2d", "max_pool2d_with_indices", "avg_pool2d", "adaptive_avg_pool2d", "argsort",
             "_adaptive_avg_pool2d", "adaptive_max_pool2d", "index_add", "scatter_add", "scatter_reduce", "bincount",
             "histc", "upsample_nearest2d", "upsample_bilinear2d", "glu", "nll_loss_forward",
             "nll_loss_backward", "mse_loss", "embedding_dense_backward"}  # fmt: skip
FLOPS_PER_INPUT = {
    "softmax": 5, "_softmax": 5, "log_softmax": 5, "_log_softmax": 5, "layer_norm": 7, "native_layer_norm": 7,
    "group_norm": 7, "native_group_norm": 7, "rms_norm": 4, "_fused_rms_norm": 4, "batch_norm": 4,
    "native_batch_norm": 4, "_native_batch_norm_legit": 4, "_native_batch_norm_legit_no_training": 4,
    "cudnn_batch_norm": 4, "instance_norm": 7,
}  # fmt: skip
POINTWISE = {
    "abs", "add", "addcdiv", "addcmul", "bitwise_and", "bitwise_not", "bitwise_or", "bitwise_xor", "ceil", "celu",
    "clamp", "clamp_max", "clamp_min", "cos", "div", "elu", "eq", "erf", "exp", "exp2", "expm1", "floor",
    "floor_divide", "fmod", "ge", "gelu", "gt", "hardsigmoid", "hardswish", "hardtanh", "isfinite", "isinf", "isnan",
    "le", "leaky_relu", "lerp", "log", "log10", "log1p", "log2", "logical_and", "logical_not", "logical_or", "lt",
    "masked_fill", "maximum", "minimum", "mish", "mul", "ne", "neg", "pow", "prelu", "reciprocal", "relu", "relu6",
    "remainder", "round", "rsqrt", "rsub", "sgn", "sigmoid", "sign", "silu", "sin", "softplus", "sqrt", "square",
    "sub", "tan", "tanh", "threshold", "true_divide", "trunc", "where", "xlogy", "native_dropout", "selu", "softsign",
    "gelu_backward", "silu_backward", "threshold_backward", "sigmoid_backward", "tanh_backward", "_foreach_add",
    "_softmax_backward_data", "_log_softmax_backward_data", "native_layer_norm_backward", "logical_xor",
    "native_batch_norm_backward", "max_pool2d_with_indices_backward", "relu_backward", "hardtanh_backward",
}  # fmt: skip
FUSED = COPY | REDUCTION | POINTWISE | set(FLOPS_PER_INPUT) | GATHER
COLLECTIVES = {
    "allreduce": "all_reduce", "all_reduce": "all_reduce", "allgather": "all_gather", "all_gather": "all_gather",
    "_allgather_base": "all_gather", "allgather_into_tensor": "all_gather", "alltoall": "all_to_all",
    "all_to_all": "all_to_all", "alltoall_base": "all_to_all", "all_to_allv": "all_to_all",
    "reduce_scatter": "reduce_scatter", "_reduce_scatter_base": "reduce_scatter",
    "reduce_scatter_tensor": "reduce_scatter", "send": "send_recv", "recv": "send_recv", "isend": "send_recv",
    "irecv": "send_recv", "_broadcast_oop": "broadcast", "broadcastuniquencclid": "init", "_reduce_oop": "reduce",
    "broadcast": "broadcast", "reduce": "reduce", "gather": "gather", "barrier": "barrier", "wait": "wait",
    "allreduce_coalesced": "all_reduce", "allgather_into_tensor_coalesced": "all_gather",
    "reduce_scatter_tensor_coalesced": "reduce_scatter", "all_to_all_single": "all_to_all",
}  # fmt: skip
"""Names of torch's record_param_comms nodes, ``collective_name``, as kinds of collective."""

DTYPES = {
    "float": "fp32", "double": "fp64", "c10::half": "fp16", "half": "fp16", "c10::bfloat16": "bf16",
    "bfloat16": "bf16", "c10::float8_e4m3fn": "fp8", "c10::float8_e5m2": "fp8", "c10::float8_e4m3fnuz": "fp8",
    "c10::float8_e5m2fnuz": "fp8", "long int": "int64", "long": "int64", "long long": "int64", "int": "int32",
    "short": "int16", "short int": "int16", "signed char": "int8", "unsigned char": "int8", "char": "int8",
    "bool": "bool", "float32": "fp32", "float16": "fp16", "int64": "int64", "int32": "int32", "int8": "int8",
    "uint8": "int8", "float64": "fp64", "unsigned short": "int16", "unsigned int": "int32",
    "unsigned long": "int64", "int16": "int16",
}  # fmt: skip
"""C++ and short names of element types, in lower case, as dtypes."""
