"""Sparsity: how an operand's zeros are arranged, masks that follow it, and storage formats."""
