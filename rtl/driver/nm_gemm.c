/* SPDX-License-Identifier: Apache-2.0 */
#include "nm_gemm.h"

static uint32_t get(const struct nm_gemm_bus *bus, uint32_t address) { return bus->read(bus->context, address); }

static void put(const struct nm_gemm_bus *bus, uint32_t address, uint32_t value) {
    bus->write(bus->context, address, value);
}

enum nm_gemm_result nm_gemm_probe(const struct nm_gemm_bus *bus, struct nm_gemm_shape *shape) {
    uint32_t built;
    if (get(bus, NM_GEMM_ID) != NM_GEMM_IDENTITY || get(bus, NM_GEMM_VERSION) >> 16 != NM_GEMM_MAJOR)
        return NM_GEMM_NO_ENGINE;
    built = get(bus, NM_GEMM_SHAPE);
    shape->rows = built & 0xff;
    shape->cols = built >> 8 & 0xff;
    shape->n = built >> 16 & 0xff;
    shape->m = built >> 24;
    return NM_GEMM_OK;
}

void nm_gemm_timeout(const struct nm_gemm_bus *bus, uint32_t cycles) { put(bus, NM_GEMM_TIMEOUT, cycles); }

enum nm_gemm_result nm_gemm_start(const struct nm_gemm_bus *bus, const struct nm_gemm_job *job) {
    uint32_t mode = 0, output = (uint8_t)job->zero_point;
    if (job->dense) mode |= NM_GEMM_MODE_DENSE;
    if (job->serial) mode |= NM_GEMM_MODE_SERIAL;
    if (job->skip) mode |= NM_GEMM_MODE_SKIP;
    if (job->relu) output |= NM_GEMM_OUTPUT_RELU;
    if (job->requantise) output |= NM_GEMM_OUTPUT_REQUANTISE;
    if (get(bus, NM_GEMM_STATUS) & NM_GEMM_STATUS_BUSY) return NM_GEMM_REFUSED;
    /* A register keeps 16 bits: a larger size would start another GEMM than was asked for. */
    if (job->tokens > 0xffff || job->k_folds > 0xffff || job->n_tiles > 0xffff || job->kept > 0xff)
        return NM_GEMM_REFUSED;
    put(bus, NM_GEMM_ERRORS, 0);
    put(bus, NM_GEMM_TOKENS, job->tokens);
    put(bus, NM_GEMM_K_FOLDS, job->k_folds);
    put(bus, NM_GEMM_N_TILES, job->n_tiles);
    put(bus, NM_GEMM_MODE, mode);
    put(bus, NM_GEMM_KEPT, job->kept ? job->kept : get(bus, NM_GEMM_SHAPE) >> 16 & 0xff);
    put(bus, NM_GEMM_OUTPUT, output);
    put(bus, NM_GEMM_CONTROL, NM_GEMM_CONTROL_START);
    return get(bus, NM_GEMM_ERRORS) & NM_GEMM_ERRORS_SIZES ? NM_GEMM_REFUSED : NM_GEMM_OK;
}

enum nm_gemm_result nm_gemm_poll(const struct nm_gemm_bus *bus) {
    const uint32_t status = get(bus, NM_GEMM_STATUS);
    if (status & NM_GEMM_STATUS_DONE) return status & NM_GEMM_STATUS_ERROR ? NM_GEMM_BAD_STREAM : NM_GEMM_OK;
    if (!(status & NM_GEMM_STATUS_BUSY)) return NM_GEMM_GONE;
    if (!(status & NM_GEMM_STATUS_TIMED_OUT)) return NM_GEMM_RUNNING;
    nm_gemm_abort(bus);
    return NM_GEMM_STANDSTILL;
}

void nm_gemm_abort(const struct nm_gemm_bus *bus) { put(bus, NM_GEMM_CONTROL, NM_GEMM_CONTROL_ABORT); }

uint32_t nm_gemm_cycles(const struct nm_gemm_bus *bus) { return get(bus, NM_GEMM_CYCLES); }
