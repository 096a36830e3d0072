# SPDX-License-Identifier: Apache-2.0
"""Exported files read by the tools they are for, where those are installed; continuous integration skips them.

``pip install --no-deps mlc-chakra==1.0.0 scalesim==3.0.0`` and ``pip install accelforge==1.0.467`` (Python 3.12)
bring the parsers. scalesim's parser alone runs with any NumPy; its simulator needs NumPy 1.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from simsparse.core import OpKind, Trace
from simsparse.trace import load_trace
from simsparse.trace.interchange import export_trace
from simsparse.trace.interchange.base import Notes
from simsparse.trace.interchange.products import TraceGemm, products

pytestmark = pytest.mark.validation
TRACES = Path(__file__).resolve().parents[2] / "traces"
NAMES = ("cnn-small", "minilm-2-4", "llama2-7b-prefill", "mixtral-8x7b-decode-b8")


def committed(name: str) -> Trace:
    return load_trace(TRACES / f"{name}.trace")


def found_products(trace: Trace) -> list[TraceGemm]:
    return products(trace, Notes())


@pytest.mark.parametrize("name", NAMES)
def test_chakras_own_classes_read_every_node(tmp_path: Path, name: str) -> None:
    et_def = pytest.importorskip("chakra.schema.protobuf.et_def_pb2")
    protolib = pytest.importorskip("chakra.src.third_party.utils.protolib")
    trace = committed(name)
    export_trace(trace, tmp_path / "a.et")
    with protolib.openFileRd(str(tmp_path / "a.et")) as file:
        metadata = et_def.GlobalMetadata()
        assert protolib.decodeMessage(file, metadata) and metadata.version == "1.0.0"
        nodes: list[Any] = []
        while protolib.decodeMessage(file, node := et_def.Node()):
            nodes.append(node)
    index = {op.name: i for i, op in enumerate(trace.ops)}
    assert [(node.id, node.name, list(node.data_deps)) for node in nodes] == [
        (i, op.name, [index[dep] for dep in op.deps]) for i, op in enumerate(trace.ops)
    ]
    for node, op in zip(nodes, trace.ops, strict=True):
        attrs = {attr.name: attr for attr in node.attr}
        assert (attrs["num_ops"].int64_val, attrs["tensor_size"].uint64_val) == (max(1, op.flops), op.min_bytes)
        assert not attrs["is_cpu_op"].bool_val


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # its parser leaves the file open
@pytest.mark.parametrize("name", NAMES)
def test_scale_sims_own_parser_sees_the_same_products(tmp_path: Path, name: str) -> None:
    topology_utils = pytest.importorskip("scalesim.topology_utils")
    trace = committed(name)
    export_trace(trace, tmp_path / "a.csv")
    topology = topology_utils.topologies()
    topology.load_arrays(str(tmp_path / "a.csv"), mnk_inputs=not any(op.kind == OpKind.CONV2D for op in trace.ops))
    topology.topo_calc_hyperparams()
    read = []
    for i in range(topology.get_num_layers()):
        filters = topology.get_layer_num_filters(i)
        sizes = (topology.get_layer_num_ofmap_px(i) // filters, filters, topology.get_layer_window_size(i))
        read.append((*sizes, topology.get_layer_sparsity_ratio(i)))
    assert read == [
        (each.m, each.n, each.k, [each.sparsity.n or 1, each.sparsity.m or 1]) for each in found_products(trace)
    ]


@pytest.mark.parametrize("name", NAMES)
def test_accelforge_counts_the_same_computes(tmp_path: Path, name: str) -> None:
    accelforge = pytest.importorskip("accelforge")
    trace = committed(name)
    export_trace(trace, tmp_path / "a.accelforge.yaml")
    workload = accelforge.Spec.from_yaml(str(tmp_path / "a.accelforge.yaml"))._spec_eval_expressions().workload
    total = sum(workload.n_computes(einsum.name) * einsum.n_instances for einsum in workload.einsums)
    assert total == sum(each.macs for each in found_products(trace))
