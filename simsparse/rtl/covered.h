// SPDX-License-Identifier: Apache-2.0
// Where a program was verilated with coverage: its counts into a file of its own in the folder that the environment's
// SIMSPARSE_RTL_COVERAGE names.
#pragma once

#include "verilated.h"
#if VM_COVERAGE
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "verilated_cov.h"
#endif

inline void write_coverage(VerilatedContext& context) {
#if VM_COVERAGE
    if (const char* folder = std::getenv("SIMSPARSE_RTL_COVERAGE"))
        context.coveragep()->write((std::string(folder) + "/" + std::to_string(getpid()) + ".dat").c_str());
#else
    (void)context;
#endif
}
