# SPDX-License-Identifier: Apache-2.0
"""DRAM at command level: a controller and its channels, command by command, under a standard's constraints."""

from simsparse.dram.device import DramDevice
from simsparse.dram.parts import device_of
from simsparse.dram.policy import ControllerPolicy
from simsparse.dram.stream import DramRun, dram_stream

__all__ = ["ControllerPolicy", "DramDevice", "DramRun", "device_of", "dram_stream"]
