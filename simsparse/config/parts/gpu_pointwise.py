# SPDX-License-Identifier: Apache-2.0
"""Parameters of the kernels that are no GEMM and no attention, by class of kernel.

Seconds are latencies of a launch or of a wait. Operations are lane operations per element, of which a
streaming multiprocessor (SM) issues 128 per cycle. Cycles are those of the card's ``compute.clock``.
So the numbers carry over to another card of the same architecture.
"""

from __future__ import annotations

from simsparse.config.quantity import Frozen, Ratio, Seconds, Share


class GpuStreamKernels(Frozen):
    """Elementwise kernels (simsparse.devices.gpu_stream).

    ``start``: seconds beyond an empty kernel; ``functions``, ``addresses``, ``pieces``: further seconds of a
    kernel that computes a function, of one that computes addresses or casts, and of a concatenation.
    ``strided``, ``widening``, ``concatenated``, ``compiled``, ``silu``, ``gelu``: operations per element.
    ``overlap``: power with which operations and bytes add up.
    """

    start: Seconds
    functions: Seconds
    addresses: Seconds
    pieces: Seconds
    strided: Ratio
    widening: Ratio
    concatenated: Ratio
    compiled: Ratio
    silu: Ratio
    gelu: Ratio
    overlap: Ratio


class GpuReduceKernels(Frozen):
    """Reductions (simsparse.devices.gpu_reduce).

    ``start``: seconds beyond an empty kernel; ``level``: of one level of a tree through shared memory;
    ``shared``: of resetting and joining where blocks share an output. ``cache_latency``,
    ``memory_latency``: of a step whose values lie in L2 or in memory. ``sum``, ``max``, ``argmax``:
    operations per value; ``thread``: operations of a thread apart from its values. ``port``,
    ``vector_port``: bytes per cycle that an SM loads one by one, and by vectors.
    """

    start: Seconds
    level: Seconds
    shared: Seconds
    cache_latency: Seconds
    memory_latency: Seconds
    sum: Ratio
    max: Ratio
    argmax: Ratio
    thread: Ratio
    port: Ratio
    vector_port: Ratio


class GpuNormKernels(Frozen):
    """Fused norms (simsparse.devices.gpu_norm).

    ``start``: seconds beyond an empty kernel; ``row_latency``: of a row apart from its steps;
    ``cache_latency``, ``memory_latency``: of a step; ``rms_chain``, ``layer_chain``: further seconds of
    a step, of dependent operations. ``rms``, ``layer``: operations per value; ``row``: cycles of an SM
    per row.
    """

    start: Seconds
    row_latency: Seconds
    cache_latency: Seconds
    memory_latency: Seconds
    rms_chain: Seconds
    layer_chain: Seconds
    rms: Ratio
    layer: Ratio
    row: Ratio


class GpuSoftmaxKernels(Frozen):
    """Softmax (simsparse.devices.gpu_softmax).

    ``start``: seconds beyond an empty kernel; ``row_latency``: of one row of a block; ``step_latency``: of one
    load of a block; ``warp_latency``: of one row of a warp, ``lane_latency``: of each of a lane's values in it.
    Operations: ``warp`` and ``warp_row`` per value and row of a row held by a warp, and
    ``warp_width`` per value and column; ``registers``, ``passes`` per value of a row held by a block's
    registers, and of one read three times.
    """

    start: Seconds
    row_latency: Seconds
    step_latency: Seconds
    warp_latency: Seconds
    lane_latency: Seconds
    warp: Ratio
    warp_row: Ratio
    warp_width: Ratio
    registers: Ratio
    passes: Ratio


class GpuGatherKernels(Frozen):
    """Kernels by index (simsparse.devices.gpu_gather).

    ``start``: seconds beyond an empty kernel; ``cache_latency``, ``memory_latency``: of a load;
    ``row_latency``: of a row where threads walk through all rows. ``block``: cycles of an SM per thread
    block; ``addition``: cycles of an SM per element added. ``random``: share of a stream's bandwidth
    that random rows reach.
    """

    start: Seconds
    cache_latency: Seconds
    memory_latency: Seconds
    row_latency: Seconds
    block: Ratio
    addition: Ratio
    random: Share


class GpuTopkKernels(Frozen):
    """Top-k and sorts (simsparse.devices.gpu_topk).

    Selection by one block per row: ``block``, its seconds; ``drawn``, share by which the slowest of 64 rows
    takes longer; ``warp``, seconds of an SM per warp. By several blocks per row: ``multi_launch``, all their
    launches; ``passes``, share of the memory's peak in passes; ``sort_unit``, seconds to sort 1,024. Sorts:
    ``sort``, seconds of up to 32 columns, ``block_sort`` of up to 4,096; ``sort_pass``, of a pass over more.
    """

    block: Seconds
    drawn: Ratio
    warp: Seconds
    multi_launch: Seconds
    passes: Share
    sort_unit: Seconds
    sort: Seconds
    block_sort: Seconds
    sort_pass: Seconds


class GpuConvKernels(Frozen):
    """Convolutions (simsparse.devices.gpu_conv).

    ``launch``, ``dense_launch``: seconds beyond an empty kernel, of a convolution and of one that is a
    plain product. ``tensor``, ``sustained``: share of the tensor peak in a step, and that all SMs hold;
    ``unaligned``: share of the peak without aligned loads. ``port``, ``store``: bytes per cycle that an
    SM reads for a step and writes of a tile; ``step``: least cycles of a step; ``tile``: cycles of a
    tile apart from its steps. ``spread``: how far from the fastest tile, relatively, the choice strays.
    ``depthwise_launch``, ``depthwise_latency``: seconds beyond an empty kernel, and more where the data
    lies in memory; ``depthwise_output``, ``depthwise_tap``: operations per output, and per tap of it.
    """

    launch: Seconds
    dense_launch: Seconds
    tensor: Ratio
    sustained: Ratio
    unaligned: Ratio
    port: Ratio
    store: Ratio
    step: Ratio
    tile: Ratio
    spread: Ratio
    depthwise_launch: Seconds
    depthwise_latency: Seconds
    depthwise_output: Ratio
    depthwise_tap: Ratio


class GpuCsrKernels(Frozen):
    """CSR products (simsparse.devices.gpu_spmm).

    ``dispatch``: least seconds of a call, of the host; ``launch``: seconds of the kernels apart from
    their products. ``rate``: products per cycle of an SM; ``row``: non-zeros that a row costs more;
    ``half_piece``: cost of up to 64 inputs over that of 128.
    """

    dispatch: Seconds
    launch: Seconds
    rate: Ratio
    row: Ratio
    half_piece: Ratio


class GpuBsrKernels(Frozen):
    """BSR products (simsparse.devices.gpu_spmm).

    ``dispatch``: least seconds of an eager call, of the host; ``launch``: seconds beyond an empty kernel.
    By block size: ``step_S``, cycles of an SM per block and ``start_S``, per program, where programs
    crowd; ``wait_S``, cycles of a block where a program is alone, and ``alone``, of the program.
    ``spilled``: flop per cycle of an SM where m is no multiple of the block size.
    """

    dispatch: Seconds
    launch: Seconds
    step_16: Ratio
    step_32: Ratio
    step_64: Ratio
    step_128: Ratio
    start_16: Ratio
    start_32: Ratio
    start_64: Ratio
    start_128: Ratio
    wait_32: Ratio
    wait_64: Ratio
    alone: Ratio
    spilled: Ratio


class GpuZeroCopyKernels(Frozen):
    """Reads of host memory by kernels (simsparse.devices.gpu_zerocopy).

    ``row``: least seconds of a random row with all SMs at work; ``link``: share of the link's bandwidth.
    """

    row: Seconds
    link: Share
