"""Policies: what goes where and when."""

from simsparse.policies.base import POLICIES, Policy

__all__ = ["POLICIES", "Policy"]
