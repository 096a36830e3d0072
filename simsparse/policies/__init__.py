# SPDX-License-Identifier: Apache-2.0
"""Policies: what goes where and when, composed of one part per decision."""

from simsparse.policies.base import POLICIES, Policy, option_names, policy_of

__all__ = ["POLICIES", "Policy", "option_names", "policy_of"]
