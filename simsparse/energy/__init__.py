"""Energy: prices on action counts, and static power over time."""

from simsparse.energy.pricing import op_energy, price

__all__ = ["op_energy", "price"]
