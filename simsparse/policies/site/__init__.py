# SPDX-License-Identifier: Apache-2.0
"""Sites: where the experts run that a device does not hold; one file per rule."""

from simsparse.policies.site.base import SITES, AbsentExperts, Site

__all__ = ["SITES", "Site", "AbsentExperts"]
