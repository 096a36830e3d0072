# SPDX-License-Identifier: Apache-2.0
"""What aten's names mean in an execution trace, which has no tags or overloads to ask.

FLOPs as simsparse.trace.capture.aten counts them: one an output element of a pointwise operation, one an
input element of a reduction, 5 an element of a softmax, 7 of a layer norm, 4 of an RMS or batch norm,
none of a copy.
"""

from __future__ import annotations

SPACES = {"aten", "mkldnn", "quantized", "onednn", "torchao", "flash_attn"}
"""Namespaces of operators whose names below mean what they mean in aten."""

LINEAR = {"linear", "mkldnn_linear", "_linear_pointwise", "_weight_int8pack_mm_linear"}
MATRIX = {"mm", "addmm", "mv", "addmv", "_int_mm", "_scaled_mm", "_addmm_activation", "_sparse_semi_structured_mm",
          "_sparse_semi_structured_addmm"}  # fmt: skip
ADDED = {"addmm", "_addmm_activation", "_scaled_mm"}
"""Those of MATRIX that may add a bias."""

SPARSE_24 = {"_cslt_sparse_mm", "_sparse_semi_structured_linear", "_sparse_semi_structured_mm",
             "_sparse_semi_structured_addmm"}  # fmt: skip
PACKED = {"_weight_int4pack_mm", "_weight_int4pack_mm_for_cpu", "_weight_int8pack_mm", "_dyn_quant_matmul_4bit",
          "_cslt_sparse_mm", "_sparse_semi_structured_linear", "linear_dynamic", "linear_relu", "linear_relu_dynamic",
          "qlinear_pointwise", "linear_dynamic_fp16", "linear_prepacked"}  # fmt: skip
BATCHED = {"bmm", "baddbmm", "addbmm", "_foreach_bmm"}
CONVOLUTION = {
    "conv1d", "conv2d", "conv3d", "convolution", "_convolution", "_convolution_mode", "convolution_overrideable",
    "cudnn_convolution", "cudnn_convolution_relu", "mkldnn_convolution", "miopen_convolution", "_convolution_pointwise",
    "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "cudnn_convolution_transpose",
    "miopen_convolution_transpose", "_convolution_transpose_pointwise", "thnn_conv2d", "_slow_conv2d_forward",
    "slow_conv3d", "slow_conv3d_forward", "conv_depthwise3d", "_conv_depthwise2d", "slow_conv_transpose2d",
    "slow_conv_transpose3d", "slow_conv_dilated2d", "slow_conv_dilated3d", "miopen_depthwise_convolution",
    "xnnpack_conv2d",
}  # fmt: skip
LENGTH_FIRST = {"_flash_attention_forward", "_efficient_attention_forward", "_flash_attn_forward",
                "_flash_attention_backward", "_efficient_attention_backward"}  # fmt: skip
"""Attention whose operands are (batch, length, heads, size)."""

_FUSED_ATTENTION = {
    "_scaled_dot_product_flash_attention", "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_fused_attention_overrideable",
}  # fmt: skip
ATTENTION = {"scaled_dot_product_attention", *LENGTH_FIRST, *_FUSED_ATTENTION,
             *(f"{name}_backward" for name in _FUSED_ATTENTION)}  # fmt: skip
RECURRENT = {"lstm", "gru", "rnn_tanh", "rnn_relu"}
ARGUMENTS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(LINEAR, ("input", "weight", "bias")),
    **dict.fromkeys(CONVOLUTION, ("input", "weight", "bias")),
    "convolution": ("input", "weight", "bias", "stride", "padding", "dilation", "transposed"),
    "mm": ("self", "mat2"),
    "bmm": ("self", "mat2"),
    "addmm": ("self", "mat1", "mat2"),
    "baddbmm": ("self", "batch1", "batch2"),
    "mv": ("self", "vec"),
    "addmv": ("self", "mat", "vec"),
    "convolution_backward": ("grad_output", "input", "weight"),
}
"""Arguments of operators in files without schemas, as far as they matter."""

GATHER = {"embedding", "index_select", "gather", "index", "take", "embedding_bag", "_embedding_bag",
          "_unsafe_index"}  # fmt: skip
EMBEDDING = {"embedding", "embedding_bag", "_embedding_bag", "index_select"}
EMPTY = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "resize", "detach", "alias",
         "resolve_conj", "resolve_neg", "_unsafe_view", "item", "_local_scalar_dense", "is_nonzero", "set",
         "lift_fresh", "result_type", "size", "stride", "record_stream", "as_strided", "t", "transpose",
         "squeeze", "unsqueeze", "view", "permute"}  # fmt: skip
COPY = {"im2col", "col2im", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "diag_embed", "copy",
        "clone", "_to_copy", "cat", "stack", "fill", "zero", "zeros", "ones", "full", "arange", "zeros_like",
        "ones_like", "full_like", "new_zeros", "new_ones", "new_full", "scalar_tensor", "constant_pad_nd", "pad",
        "repeat", "flip", "roll", "tril", "triu", "repeat_interleave", "index_copy", "index_put", "scatter", "one_hot",
        "_index_put_impl", "slice_scatter", "select_scatter", "masked_select", "nonzero", "eye",
        "linspace", "_reshape_copy", "_reshape_alias_copy", "normal", "uniform", "bernoulli", "random"}  # fmt: skip
REDUCTION = {"sum", "dot", "vdot", "mean", "amax", "amin", "max", "min", "prod", "var", "std", "var_mean", "std_mean",
             "argmax", "argmin", "any", "all", "cumsum", "cumprod", "norm", "linalg_vector_norm", "logsumexp", "topk",
             "sort", "max_pool1d", "max_pool2d", "max_pool2d_with_indices", "avg_pool2d", "adaptive_avg_pool2d",
             "argsort",
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
    "gelu_backward", "_transform_bias_rescale_qkv", "complex", "polar", "conj_physical", "real", "imag",
    "angle", "view_as_real_copy", "silu_backward", "threshold_backward", "sigmoid_backward", "tanh_backward",
    "_foreach_add",
    "_softmax_backward_data", "_log_softmax_backward_data", "native_layer_norm_backward", "logical_xor",
    "native_batch_norm_backward", "max_pool2d_with_indices_backward", "relu_backward", "hardtanh_backward",
}  # fmt: skip
RESAMPLING = ("upsample_", "_upsample_", "avg_pool", "max_pool", "adaptive_", "_adaptive_", "fractional_max_pool",
              "_unique", "unique_", "_fft_", "_cdist", "_pdist", "grid_sampler", "_ctc_loss", "_trilinear")  # fmt: skip
"""How operators begin that are counted as reductions: one operation an input element; FFTs 5 log2 of their length."""
FUSED = COPY | REDUCTION | POINTWISE | set(FLOPS_PER_INPUT) | GATHER
COLLECTIVES = {
    "allreduce": "all_reduce", "all_reduce": "all_reduce", "allgather": "all_gather", "all_gather": "all_gather",
    "_allgather_base": "all_gather", "allgather_into_tensor": "all_gather", "alltoall": "all_to_all",
    "all_to_all": "all_to_all", "alltoall_base": "all_to_all", "all_to_allv": "all_to_all",
    "reduce_scatter": "reduce_scatter", "_reduce_scatter_base": "reduce_scatter",
    "reduce_scatter_tensor": "reduce_scatter", "send": "send_recv", "recv": "send_recv", "isend": "send_recv",
    "irecv": "send_recv", "_broadcast_oop": "broadcast", "broadcastuniquencclid": "init", "_reduce_oop": "reduce",
    "broadcast": "broadcast", "reduce": "reduce", "gather": "gather",
    "scatter": "scatter", "barrier": "barrier", "wait": "wait",
    "allreduce_coalesced": "all_reduce", "allgather_into_tensor_coalesced": "all_gather",
    "reduce_scatter_tensor_coalesced": "reduce_scatter", "all_to_all_single": "all_to_all",
}  # fmt: skip
"""Names of torch's record_param_comms nodes, ``collective_name``, as kinds of collective."""

DTYPES = {
    "float": "fp32", "double": "fp64", "half": "fp16",
    "bfloat16": "bf16", "float8_e4m3fn": "fp8", "float8_e5m2": "fp8", "float8_e4m3fnuz": "fp8",
    "float8_e5m2fnuz": "fp8", "long int": "int64", "long": "int64", "long long": "int64", "int": "int32",
    "short": "int16", "short int": "int16", "signed char": "int8", "unsigned char": "int8", "char": "int8",
    "bool": "bool", "float32": "fp32", "float16": "fp16", "int64": "int64", "int32": "int32", "int8": "int8",
    "uint8": "int8", "float64": "fp64", "unsigned short": "int16", "unsigned int": "int32",
    "unsigned long": "int64", "int16": "int16", "qint8": "int8", "quint8": "int8", "qint32": "int32",
    "quint4x2": "int4", "float8_e8m0fnu": "fp8",
}  # fmt: skip
"""C++ and short names of element types, in lower case and without c10::, as dtypes."""
