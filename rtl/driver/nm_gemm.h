/* SPDX-License-Identifier: Apache-2.0 */
/* Driver of nm_gemm_axi: starts GEMMs and says how they ended. The streams are the DMA's: queue them before a start. */
#ifndef NM_GEMM_H
#define NM_GEMM_H

#include <stdint.h>

#include "nm_gemm_regs.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How registers are reached: a word at a byte address. */
struct nm_gemm_bus {
    uint32_t (*read)(void *context, uint32_t address);
    void (*write)(void *context, uint32_t address, uint32_t value);
    void *context;
};

struct nm_gemm_shape {
    unsigned rows, cols, n, m;
};

struct nm_gemm_job {
    uint32_t tokens, k_folds, n_tiles;
    int dense, serial, skip;
    uint32_t kept; /* 0: all N */
    int requantise, relu;
    int8_t zero_point;
};

enum nm_gemm_result {
    NM_GEMM_OK = 0,
    NM_GEMM_RUNNING,
    NM_GEMM_NO_ENGINE,  /* another identity or major version */
    NM_GEMM_REFUSED,    /* sizes out of range, or busy */
    NM_GEMM_STANDSTILL, /* nothing moved for the cycles of nm_gemm_timeout; aborted */
    NM_GEMM_BAD_STREAM, /* done, with wrong tlast or metadata: see ERRORS */
    NM_GEMM_GONE        /* neither running nor done: aborted or reset */
};

enum nm_gemm_result nm_gemm_probe(const struct nm_gemm_bus *bus, struct nm_gemm_shape *shape);
void nm_gemm_timeout(const struct nm_gemm_bus *bus, uint32_t cycles);
enum nm_gemm_result nm_gemm_start(const struct nm_gemm_bus *bus, const struct nm_gemm_job *job);
enum nm_gemm_result nm_gemm_poll(const struct nm_gemm_bus *bus);
void nm_gemm_abort(const struct nm_gemm_bus *bus);
uint32_t nm_gemm_cycles(const struct nm_gemm_bus *bus);

#ifdef __cplusplus
}
#endif

#endif
