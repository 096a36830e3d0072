# SPDX-License-Identifier: Apache-2.0
"""The SystemVerilog of rtl/ under Verilator, compared with the models and cycle cores of this package.

``verify`` runs the comparison, ``block`` says what a streaming block is, ``toolchain`` where the simulators are.
"""
