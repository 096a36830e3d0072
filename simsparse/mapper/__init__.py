# SPDX-License-Identifier: Apache-2.0
"""Mapper: tiling, loop order, split over the array and bypass of a layer on a hierarchy of memories."""

from simsparse.mapper.cost import MappingCosts, evaluate
from simsparse.mapper.layer import LoopNest, gemm, layers_of
from simsparse.mapper.machine import SpatialMachine
from simsparse.mapper.mapping import Mapping
from simsparse.mapper.nest import TiledNest

__all__ = ["LoopNest", "SpatialMachine", "Mapping", "MappingCosts", "TiledNest", "evaluate", "gemm", "layers_of"]
