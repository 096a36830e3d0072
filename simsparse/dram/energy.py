# SPDX-License-Identifier: Apache-2.0
"""What commands and standby cost: from the currents of data sheets where a part has them, else from its prices.

A current is measured over a cycle of commands; what standby draws meanwhile is taken off, so that it is paid once:
an activation and its close cost (IDD0 tRC - IDD3N tRAS - IDD2N tRP) V, a burst (IDD4 - IDD3N) V, a refresh
(IDD5 - IDD3N) V tRFC. Source: the definitions of IDD loops in JEDEC JESD79-4, as DRAMsim3 counts them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from simsparse.config.parts.dram import DramCommands, DramCurrents
from simsparse.config.parts.memory import MemoryPart
from simsparse.dram.device import DramDevice
from simsparse.errors import SpecError

_READS, _WRITES = ("RD", "RDA"), ("WR", "WRA")


@dataclass(frozen=True)
class CommandPrices:
    """Joules of an activation with its close, a read, a write, an all-bank and a smaller refresh; watts by state.

    ``active_w`` and ``idle_w`` are of one power state (a rank, a pseudo-channel): some row open, or none.
    """

    activate: float
    read: float
    write: float
    refresh: float
    refresh_part: float
    active_w: float
    idle_w: float


def energy_of(
    part: MemoryPart, device: DramDevice, commands: Mapping[str, int], ticks: int, channels: int, active_share: float
) -> dict[str, float]:
    """Joules of a run by what was paid for; interface parts are taken out of reads and writes where they are known."""
    if part.dram is None:
        return {}
    prices = command_prices(part, device)
    reads, writes = (sum(commands.get(name, 0) for name in names) for names in (_READS, _WRITES))
    states = channels * (device.banks // device.banks_of(device.scope))
    standby = states * ticks * device.tick_s
    whole = commands.get("REFab", 0)
    partial = commands.get("REFpb", 0) + commands.get("REFsb", 0)
    found = {
        "activate": (commands.get("ACT", 0) + commands.get("ACT1", 0)) * prices.activate,
        "read": reads * prices.read,
        "write": writes * prices.write,
        "refresh": whole * prices.refresh + partial * prices.refresh_part,
        "active standby": standby * active_share * prices.active_w,
        "idle standby": standby * (1 - active_share) * prices.idle_w,
    }
    return _with_interface(found, part.dram, reads * device.access_bytes, writes * device.access_bytes)


def _with_interface(found: dict[str, float], dram: DramCommands, read: int, written: int) -> dict[str, float]:
    if dram.interface is None:
        return found
    tsv, io = dram.interface.tsv.si, dram.interface.io.si
    found["read"] -= read * (tsv + io)
    found["write"] -= written * (tsv + io)
    return {**found, "tsv": (read + written) * tsv, "io": (read + written) * io}


def command_prices(part: MemoryPart, device: DramDevice) -> CommandPrices:
    """Prices of the commands of ``part``. Raises SpecError where it has no section dram."""
    if part.dram is None:
        raise SpecError(f"{part.name} has no section dram", key="dram")
    if part.dram.currents is not None:
        return _from_currents(part.dram.currents, part.dram, device)
    channels, energy = part.dram.channels.si, part.energy
    states = channels * (device.banks // device.banks_of(device.scope))
    return CommandPrices(
        energy.activate.si, energy.read_byte.si * device.access_bytes, energy.write_byte.si * device.access_bytes,
        0.0, 0.0, energy.static.si / states, energy.static.si / states,
    )  # fmt: skip


def _from_currents(currents: DramCurrents, dram: DramCommands, device: DramDevice) -> CommandPrices:
    """Of one power state: dies answer together, the states of a channel (pseudo-channels) share their currents."""
    volts = currents.supply.si * currents.dies.si * device.tick_s
    shared = device.sizes.get("PseudoChannel", 1)
    ticks = {name: number.si for name, number in dram.timing.items()}
    idd2n, idd3n = currents.idd2n.si, currents.idd3n.si
    act = currents.idd0.si * ticks["nRC"] - idd3n * ticks["nRAS"] - idd2n * (ticks["nRC"] - ticks["nRAS"])
    refresh = (currents.idd5.si - idd3n) * volts / shared
    watts = currents.supply.si * currents.dies.si / shared
    return CommandPrices(
        act * volts, (currents.idd4r.si - idd3n) * device.burst * volts / shared,
        (currents.idd4w.si - idd3n) * device.burst * volts / shared, refresh * ticks.get("nRFC", 0),
        refresh * ticks.get("nRFCpb", ticks.get("nRFCsb", 0)) / device.banks_of(device.scope),
        idd3n * watts, idd2n * watts,
    )  # fmt: skip
