# SPDX-License-Identifier: Apache-2.0
"""Which patterns of weights devices made use of in a run, where these are others than those of the trace."""

from __future__ import annotations

from collections.abc import Mapping

from simsparse.core import Op
from simsparse.lowering.command_graph import Cause
from simsparse.lowering.machine import Machine
from simsparse.lowering.records import Records


def patterns_used(records: Records, machine: Machine) -> dict[str, dict[str, str]]:
    """By device and sparsity the pattern that the device makes use of, where any op's is another one."""
    used: dict[str, dict[str, dict[str, None]]] = {}
    for device, op in _special(records):
        if op.definition.prunable and not op.weight_sparsity.is_dense and not op.weight_sparsity.is_factored:
            text = str(machine.devices[device].model.used_sparsity(op))
            used.setdefault(device, {}).setdefault(str(op.weight_sparsity), {})[text] = None
    return {
        device: {stated: " or ".join(texts) for stated, texts in own.items() if [*texts] != [stated]}
        for device, own in used.items() if any([*texts] != [stated] for stated, texts in own.items())
    }  # fmt: skip


def _special(records: Records) -> list[tuple[str, Op]]:
    """Distinct ops with sparse weights or formats of their own, with the devices that ran them."""
    ran = [(device, op) for device, ops in records.graph.special_by_device.items() for op in ops]
    return ran + [(each.command.device, each.op) for each in records.issued if each.op]


def unpacked_free(records: Records, runs_as: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Notes on weights that are copied in the pattern of the trace to devices that use them as another one.

    ``runs_as``: as ``patterns_used`` gives it.
    """
    if not runs_as:
        return []
    copied = {each.dst for each in records.commands if each.cause in (Cause.WEIGHTS, Cause.CONTROL)}
    return [
        f"{device}: copies of {stated} weights move the bytes of {stated}; making {used} of them takes no time here"
        for device, own in runs_as.items() if device in copied for stated, used in own.items()
    ]  # fmt: skip
