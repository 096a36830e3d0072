# SPDX-License-Identifier: Apache-2.0
"""From a trace and a system to work in time: machine, command graph, run, account, energy."""
