# SPDX-License-Identifier: Apache-2.0
"""The aten functions that fuse, by what they do: free of torch.

FLOPs of fused operations are counted as one an output element for pointwise operations, one an
input element for reductions, 5 an element for softmax (maximum, difference, exponential, sum,
quotient) and 4 for its gradient, 7 for layer norm (mean, variance, scaling, affine) and 4 for batch
norm, twice that for the gradient of a norm (of its input and of its parameters); copies count none.
"""

from __future__ import annotations

EMPTY = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "lift_fresh", "detach",
         "empty_permuted"}  # fmt: skip
VIEWS_IN_PLACE = {"squeeze_", "unsqueeze_", "transpose_", "t_", "swapaxes_", "swapdims_", "as_strided_", "detach_",
                  "set_", "rename_"}  # fmt: skip
FACTORY = {
    "arange", "zeros", "ones", "full", "new_zeros", "new_ones", "new_full", "zeros_like", "ones_like", "full_like",
    "scalar_tensor", "eye", "linspace", "tril_indices", "triu_indices", "fill_", "zero_", "rand", "randn", "rand_like",
    "randn_like", "fill", "uniform_", "normal_", "bernoulli_", "randperm", "randint", "logspace", "new_tensor",
    "randint_like", "exponential_", "cauchy_", "geometric_", "log_normal_", "random_", "range", "zero", "hann_window",
    "hamming_window", "blackman_window", "bartlett_window", "kaiser_window", "fft_fftfreq", "fft_rfftfreq",
}  # fmt: skip
CASTS = {"clone", "_to_copy"}
COPY = {
    *CASTS, "copy_", "copy", "cat", "stack", "constant_pad_nd", "repeat", "flip", "roll", "slice_scatter",
    "select_scatter", "tril", "triu", "repeat_interleave", "reflection_pad2d", "replication_pad2d", "pixel_shuffle",
    "pixel_unshuffle", "channel_shuffle", "im2col", "slice_backward", "select_backward", "diagonal_backward",
    "constant_pad_nd_backward", "reflection_pad1d", "replication_pad1d", "diag_embed", "resize_", "reflection_pad3d",
    "replication_pad3d", "rot90", "block_diag", "masked_select", "unfold", "as_strided_scatter", "diagonal_scatter",
    "resize_as_", "lu_unpack", "masked_scatter", "to_padded_tensor", "narrow_copy", "_conj_copy",
    "affine_grid_generator", "_pack_padded_sequence", "nonzero_static", "_chunk_cat", "_foreach_copy_",
    "_foreach_clone", "_foreach_zero_", "_to_sparse", "_to_sparse_csr", "_to_sparse_csc", "_to_sparse_bsr",
    "_to_sparse_bsc", "_to_dense", "_coalesce", "sparse_mask", "_convert_weight_to_int4pack", "_pack_sequence",
    "_convert_weight_to_int4pack_for_cpu", "_dyn_quant_pack_4bit_weight", "_cslt_compress", "_spdiags",
    "_sparse_semi_structured_tile", "_to_sparse_semi_structured", "_sparse_coo_tensor_with_dims_and_tensors",
    "_convert_indices_from_coo_to_csr", "_convert_indices_from_csr_to_coo", "_padded_dense_to_jagged_forward",
    "_jagged_to_padded_dense_forward", "_nested_from_padded", "_nested_from_padded_tensor",
    "_nested_tensor_from_tensor_list", "_sparse_mask_projection",
}  # fmt: skip
GATHER = {"embedding", "index", "index_select", "gather", "take", "_unsafe_index"}
ACCUMULATE = {"index_add_", "scatter_add_", "scatter_reduce_", "index_reduce_"}
"""They read what they add to."""
SCATTER = {
    *ACCUMULATE, "masked_scatter_", "put_", "index_fill_", "index_copy_", "index_put_", "scatter_", "index_copy",
    "index_put", "scatter", "_index_put_impl_", "_unsafe_index_put", "index_fill", "put",
}  # fmt: skip
REDUCTION = {
    "sum", "mean", "amax", "amin", "max", "min", "prod", "var", "std", "var_mean", "std_mean", "argmax", "argmin",
    "any", "all", "cumsum", "cumprod", "norm", "linalg_vector_norm", "logsumexp", "topk", "sort", "max_pool2d",
    "max_pool2d_with_indices", "avg_pool2d", "_adaptive_avg_pool2d", "adaptive_avg_pool2d", "glu",
    "index_add", "scatter_add", "upsample_nearest2d", "upsample_bilinear2d", "bincount", "histc",
    "one_hot", "rsub", "max_pool1d", "adaptive_max_pool2d", "scatter_reduce", "index_reduce", "aminmax",
    "nll_loss_forward", "nll_loss2d_forward", "mse_loss", "smooth_l1_loss", "huber_loss",
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "col2im",
    "embedding_dense_backward", "nonzero", "searchsorted", "bucketize",
    "kthvalue", "median", "upsample_nearest1d", "upsample_bicubic2d", "cummax", "count_nonzero",
    "equal", "is_nonzero", "logcumsumexp", "cummin", "mode", "nanmedian", "trace", "dist", "multinomial", "_aminmax",
    "linalg_cross", "_embedding_bag_backward", "_embedding_bag_dense_backward",
    "_embedding_bag_per_sample_weights_backward", "_sparse_sum", "_sparse_csr_sum", "_sparse_csr_prod",
    "_sparse_sum_backward", "_is_any_true", "_is_all_true", "hash_tensor",
}  # fmt: skip
POINTWISE = {
    "native_dropout", "_fused_dropout", "hardtanh_backward", "elu_backward", "leaky_relu_backward", "softplus_backward",
    "hardswish_backward", "hardsigmoid_backward", "log_sigmoid_backward", "log_sigmoid_forward", "glu_backward",
    "mse_loss_backward", "smooth_l1_loss_backward", "huber_loss_backward", "binary_cross_entropy_backward",
    "nll_loss_backward", "nll_loss2d_backward", "_prelu_kernel", "_prelu_kernel_backward", "softshrink_backward",
    "hardshrink_backward", "quantize_per_tensor", "quantize_per_tensor_dynamic", "quantize_per_channel", "dequantize",
    "fake_quantize_per_tensor_affine_cachemask", "fake_quantize_per_channel_affine_cachemask", "int_repr",
    "_fake_quantize_per_tensor_affine_cachemask_tensor_qparams", "quantize_per_tensor_tensor_qparams",
    "rrelu_with_noise", "complex", "polar", "_local_scalar_dense", "masked_fill", "hardswish", "mish", "heaviside",
    "floor_divide", "bernoulli", "poisson", "normal", "binomial", "_standard_gamma", "_dirichlet_grad", "addr", "isin",
    "renorm", "_add_relu", "_masked_scale", "soft_margin_loss", "multi_margin_loss", "multilabel_margin_loss_forward",
    "multilabel_margin_loss", "_fake_quantize_learnable_per_tensor_affine",
    "_fake_quantize_learnable_per_channel_affine", "_fused_moving_avg_obs_fq_helper", "glu_jvp", "gelu", "threshold",
    "_transform_bias_rescale_qkv", "copysign", "xlogy", "gcd", "lcm", "_standard_gamma_grad", "_sample_dirichlet",
}  # fmt: skip
POOLING_GRADIENTS = {
    f"{name}_backward"
    for axes in (1, 2, 3)
    for name in (
        f"max_pool{axes}d_with_indices", f"avg_pool{axes}d", f"_adaptive_avg_pool{axes}d", f"adaptive_max_pool{axes}d",
        f"fractional_max_pool{axes}d", f"adaptive_avg_pool{axes}d",
    )
}  # fmt: skip
"""They take the forward input for its shape alone, and read the gradient (and indexes)."""
RESAMPLING = ("upsample_", "_upsample_", "avg_pool", "max_pool", "adaptive_", "_adaptive_", "fractional_max_pool",
              "max_unpool", "grid_sampler", "_grid_sampler", "_unique", "unique_", "_cdist_backward", "_pdist_backward",
              "_ctc_loss", "segment_reduce", "_segment_reduce", "histogram", "_histogram", "_foreach_norm",
              "quantized_max_pool", "mkldnn_max_pool", "mkldnn_adaptive")  # fmt: skip
"""How functions begin that are counted as reductions: one operation an input element."""
CHOICES = {"topk", "argmax", "max", "sort", "argsort", "multinomial"}
"""Functions that may choose experts."""
ROWWISE = {
    "_softmax", "_log_softmax", "native_layer_norm", "_fused_rms_norm", "_softmax_backward_data",
    "_log_softmax_backward_data", "native_layer_norm_backward", "_fused_rms_norm_backward", "topk", "sort", "cumsum",
}  # fmt: skip
"""Functions that work on each row of the last dimension as a whole."""
FLOPS_PER_INPUT = {
    "_softmax": 5, "_log_softmax": 5, "native_layer_norm": 7, "native_group_norm": 7, "native_batch_norm": 4,
    "_native_batch_norm_legit_no_training": 4, "_native_batch_norm_legit": 7, "_fused_rms_norm": 4,
    "_softmax_backward_data": 4, "_log_softmax_backward_data": 4, "native_layer_norm_backward": 14,
    "native_group_norm_backward": 14, "native_batch_norm_backward": 8, "_fused_rms_norm_backward": 8,
    "_weight_norm_interface": 4, "_batch_norm_with_update": 7, "_safe_softmax": 5, "_masked_softmax": 5,
    "_masked_softmax_backward": 4, "_sparse_softmax": 5, "_sparse_log_softmax": 5, "cudnn_batch_norm": 7,
    "_sparse_softmax_backward_data": 4, "_sparse_log_softmax_backward_data": 4, "cudnn_batch_norm_backward": 8,
    "dot": 2, "vdot": 2, "_weight_norm_interface_backward": 8,
}  # fmt: skip
