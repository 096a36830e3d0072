/* SPDX-License-Identifier: Apache-2.0 */
/* Registers of nm_gemm_axi, made from simsparse/rtl/regmap.py. */
#ifndef NM_GEMM_REGS_H
#define NM_GEMM_REGS_H

/* what to do */
#define NM_GEMM_CONTROL 0x00u
#define NM_GEMM_CONTROL_START 0x00000001u /* start with the sizes as they are now */
#define NM_GEMM_CONTROL_ABORT 0x00000002u /* stop; START of the same write is ignored */
/* what goes on */
#define NM_GEMM_STATUS 0x04u
#define NM_GEMM_STATUS_BUSY 0x00000001u /* a GEMM runs */
#define NM_GEMM_STATUS_DONE 0x00000002u /* the last start ran to its end */
#define NM_GEMM_STATUS_ERROR 0x00000004u /* any bit of ERRORS is set */
#define NM_GEMM_STATUS_ABORTED 0x00000008u /* the last start was aborted */
#define NM_GEMM_STATUS_TIMED_OUT 0x00000010u /* bit TIMEOUT of ERRORS is set */
#define NM_GEMM_STATUS_LACKS_WEIGHT 0x00000100u /* now: a weight word is missing */
#define NM_GEMM_STATUS_LACKS_ACTIVATION 0x00000200u /* now: an activation beat is missing */
#define NM_GEMM_STATUS_RESULT_WAITS 0x00000400u /* now: a result is not taken */
/* tokens, 1 to MaxTokens */
#define NM_GEMM_TOKENS 0x08u
/* folds of a tile, 1 to 65535; not used with SKIP */
#define NM_GEMM_K_FOLDS 0x0cu
/* tiles, 1 to 65535; with SKIP those that are sent */
#define NM_GEMM_N_TILES 0x10u
/* how it runs */
#define NM_GEMM_MODE 0x14u
#define NM_GEMM_MODE_DENSE 0x00000001u /* dense weights: the first N activations of a group meet the N weights, indexes are ignored */
#define NM_GEMM_MODE_SERIAL 0x00000002u /* no fold's weights are taken before the results of the one before it left */
#define NM_GEMM_MODE_SKIP 0x00000004u /* a tile has the folds that are sent for it; tlast of weights ends a tile */
/* cycles from the one after the start to the last result or the abort */
#define NM_GEMM_CYCLES 0x18u
/* what went wrong since it was written; any write clears all */
#define NM_GEMM_ERRORS 0x1cu
#define NM_GEMM_ERRORS_SIZES 0x00000001u /* start with sizes out of range, not done */
#define NM_GEMM_ERRORS_WEIGHT_TLAST 0x00000002u /* tlast of weights elsewhere than the sizes say; the sizes hold */
#define NM_GEMM_ERRORS_ACTIVATION_TLAST 0x00000004u /* tlast of activations elsewhere than the sizes say; the sizes hold */
#define NM_GEMM_ERRORS_METADATA 0x00000008u /* indexes that do not ascend; used as they are */
#define NM_GEMM_ERRORS_BUSY_START 0x00000010u /* start while busy, not done */
#define NM_GEMM_ERRORS_TIMEOUT 0x00000020u /* nothing moved for TIMEOUT cycles while busy; the GEMM goes on */
/* what the engine was built for */
#define NM_GEMM_SHAPE 0x20u
#define NM_GEMM_SHAPE_ROWS 0x000000ffu /* array rows */
#define NM_GEMM_SHAPE_ROWS_SHIFT 0
#define NM_GEMM_SHAPE_COLS 0x0000ff00u /* array columns */
#define NM_GEMM_SHAPE_COLS_SHIFT 8
#define NM_GEMM_SHAPE_N 0x00ff0000u /* multipliers of a PE */
#define NM_GEMM_SHAPE_N_SHIFT 16
#define NM_GEMM_SHAPE_M 0xff000000u /* activations of a group */
#define NM_GEMM_SHAPE_M_SHIFT 24
/* cycles of a standstill that is told, once each; 0 (reset): never */
#define NM_GEMM_TIMEOUT 0x24u
/* weights of a group that count when not dense, 1 to N; N after reset */
#define NM_GEMM_KEPT 0x28u
/* when the interrupt is high */
#define NM_GEMM_INTERRUPT 0x2cu
#define NM_GEMM_INTERRUPT_DONE 0x00000001u /* while DONE is */
#define NM_GEMM_INTERRUPT_ERROR 0x00000002u /* while ERROR is */
/* 0x4e4d4754, the letters NMGT */
#define NM_GEMM_ID 0x30u
/* version of these registers */
#define NM_GEMM_VERSION 0x34u
#define NM_GEMM_VERSION_MINOR 0x0000ffffu /* grows with what is added */
#define NM_GEMM_VERSION_MINOR_SHIFT 0
#define NM_GEMM_VERSION_MAJOR 0xffff0000u /* grows with what changes */
#define NM_GEMM_VERSION_MAJOR_SHIFT 16
/* what nm_gemm_axi makes of sums */
#define NM_GEMM_OUTPUT 0x38u
#define NM_GEMM_OUTPUT_ZERO_POINT 0x000000ffu /* signed zero point */
#define NM_GEMM_OUTPUT_ZERO_POINT_SHIFT 0
#define NM_GEMM_OUTPUT_RELU 0x00000100u /* nothing below the zero point */
#define NM_GEMM_OUTPUT_REQUANTISE 0x00000200u /* bias, scale and 8 bits a column; else the sums */

#define NM_GEMM_IDENTITY 0x4e4d4754u
#define NM_GEMM_MAJOR 2u

#endif
