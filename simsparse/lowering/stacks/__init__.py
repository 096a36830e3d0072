# SPDX-License-Identifier: Apache-2.0
"""Software stacks: what a framework launches for the operators of a trace."""

from simsparse.lowering.stacks.base import DEFAULT_STACK, STACKS, Stack, launched_by, stack_of

__all__ = ["DEFAULT_STACK", "STACKS", "Stack", "launched_by", "stack_of"]
