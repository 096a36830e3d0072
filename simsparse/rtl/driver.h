// SPDX-License-Identifier: Apache-2.0
// Ports of a bench that Verilator made, by address, so that what drives them is compiled once for all benches.
#pragma once

#include <cstdint>

struct Design {
    uint8_t &clk_i, &rst_ni, &valid_i, &ready_o, &valid_o, &ready_i;
    uint32_t *data_i, *data_o;
    void* model;
    void (*settle)(void*);

    void eval() const { settle(model); }
};

// Plays what stdin holds and writes what it saw; see driver.cpp. Returns the exit code.
int drive(const Design& top);
