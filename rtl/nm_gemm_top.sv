// SPDX-License-Identifier: Apache-2.0
// A whole GEMM on nm_systolic_array, weight-stationary: y[m, n] = x[m, k] w[n, k]^T from memory images on AXI streams.
//
// The output is cut into N_TILES tiles of Cols outputs, the reduction into K_FOLDS folds of Rows * M elements (Rows * N
// when dense); short tiles and folds are filled up with zeros. Tile by tile and fold by fold, s_axis_weight brings Rows
// words, one an array row, each with the weights of all columns in the low bits and their indexes above; and
// s_axis_activation TOKENS beats of the fold's activations, the first row's lowest. Sums over folds are kept in here;
// m_axis_result gives TOKENS beats a tile, Cols sums each. tlast: the last word or beat of each fold in; the last beat
// of the GEMM out; tuser: the last beat of each tile out. Streams are whole bytes: bits above the last number are
// ignored, or zero in results.
//
// With MODE bit 2, skip, a tile has only the folds that are sent for it, one at least: those without a kept weight need
// not be. tlast of the weights then marks the last word of a tile, and K_FOLDS is not used.
//
// Registers by word address (made from simsparse/rtl/regmap.py); sizes take the low 16 bits of what is written:
//   0 CONTROL    w   what to do. bit 0 START: start with the sizes as they are now; bit 1 ABORT: stop; START of the
//                    same write is ignored
//   1 STATUS     r   what goes on. bit 0 BUSY: a GEMM runs; bit 1 DONE: the last start ran to its end; bit 2 ERROR: any
//                    bit of ERRORS is set; bit 3 ABORTED: the last start was aborted; bit 4 TIMED_OUT: bit TIMEOUT of
//                    ERRORS is set; bit 8 LACKS_WEIGHT: now: a weight word is missing; bit 9 LACKS_ACTIVATION: now: an
//                    activation beat is missing; bit 10 RESULT_WAITS: now: a result is not taken
//   2 TOKENS     rw  tokens, 1 to MaxTokens
//   3 K_FOLDS    rw  folds of a tile, 1 to 65535; not used with SKIP
//   4 N_TILES    rw  tiles, 1 to 65535; with SKIP those that are sent
//   5 MODE       rw  how it runs. bit 0 DENSE: dense weights: the first N activations of a group meet the N weights,
//                    indexes are ignored; bit 1 SERIAL: no fold's weights are taken before the results of the one
//                    before it left; bit 2 SKIP: a tile has the folds that are sent for it; tlast of weights ends a
//                    tile
//   6 CYCLES     r   cycles from the one after the start to the last result or the abort
//   7 ERRORS     rw  what went wrong since it was written; any write clears all. bit 0 SIZES: start with sizes out of
//                    range, not done; bit 1 WEIGHT_TLAST: tlast of weights elsewhere than the sizes say; the sizes
//                    hold; bit 2 ACTIVATION_TLAST: tlast of activations elsewhere than the sizes say; the sizes hold;
//                    bit 3 METADATA: indexes that do not ascend; used as they are; bit 4 BUSY_START: start while busy,
//                    not done; bit 5 TIMEOUT: nothing moved for TIMEOUT cycles while busy; the GEMM goes on
//   8 SHAPE      r   what the engine was built for. bits 0 to 7 ROWS: array rows; bits 8 to 15 COLS: array columns;
//                    bits 16 to 23 N: multipliers of a PE; bits 24 to 31 M: activations of a group
//   9 TIMEOUT    rw  cycles of a standstill that is told, once each; 0 (reset): never
//  10 KEPT       rw  weights of a group that count when not dense, 1 to N; N after reset
//  11 INTERRUPT  rw  when the interrupt is high. bit 0 DONE: while DONE is; bit 1 ERROR: while ERROR is
//  12 ID         r   0x4e4d4754, the letters NMGT
//  13 VERSION    r   version of these registers. bits 0 to 15 MINOR: grows with what is added; bits 16 to 31 MAJOR:
//                    grows with what changes
//  14 OUTPUT     rw  what nm_gemm_axi makes of sums. bits 0 to 7 ZERO_POINT: signed zero point; bit 8 RELU: nothing
//                    below the zero point; bit 9 REQUANTISE: bias, scale and 8 bits a column; else the sums
// (end of registers)
// Every read is answered on response_*, a cycle after it was taken; writes are not. No request waits for anything but
// an answer that was not taken; writes while busy hold from the next start on. A start that is refused clears DONE.
// After an abort the engine is idle in the next cycle. A result that was offered then still leaves, before those of the
// next start; beats of the aborted GEMM that were not taken are left to their sources.
//
// It has no output-stationary mode and no addresses of its own (the streams come from a DMA).
`default_nettype none

module nm_gemm_top #(
    parameter  int Rows        = 4,
    parameter  int Cols        = 4,
    parameter  int N           = 2,
    parameter  int M           = 4,
    parameter  int DataWidth   = 8,
    parameter  int AccWidth    = 32,
    parameter  int MaxTokens   = 64,
    parameter  int WeightWidth = DataWidth,
    parameter  int PipeStages  = 0,
    localparam int IndexWidth  = $clog2(M),
    localparam int WeightBytes = (Cols * N * (WeightWidth + IndexWidth) + 7) / 8,
    localparam int ActBytes    = (Rows * M * DataWidth + 7) / 8,
    localparam int ResultBytes = (Cols * AccWidth + 7) / 8
) (
    input  wire                     clk_i,
    input  wire                     rst_ni,
    input  wire                     reg_valid_i,
    output wire                     reg_ready_o,
    input  wire                     reg_write_i,
    input  wire [              3:0] reg_address_i,
    input  wire [             31:0] reg_data_i,
    output wire                     response_valid_o,
    input  wire                     response_ready_i,
    output wire [             31:0] response_data_o,
    output wire                     interrupt_o,
    output wire                     busy_o,
    output wire                     abort_o,
    output wire [              9:0] output_o,
    input  wire                     s_axis_weight_tvalid_i,
    output wire                     s_axis_weight_tready_o,
    input  wire [8*WeightBytes-1:0] s_axis_weight_tdata_i,
    input  wire                     s_axis_weight_tlast_i,
    input  wire                     s_axis_activation_tvalid_i,
    output wire                     s_axis_activation_tready_o,
    input  wire [   8*ActBytes-1:0] s_axis_activation_tdata_i,
    input  wire                     s_axis_activation_tlast_i,
    output wire                     m_axis_result_tvalid_o,
    input  wire                     m_axis_result_tready_i,
    output wire [8*ResultBytes-1:0] m_axis_result_tdata_o,
    output wire                     m_axis_result_tlast_o,
    output wire                     m_axis_result_tuser_o
);
  localparam int SizeWidth = 16;
  localparam int RowWidth = $clog2(Rows + 1);
  localparam int KeptWidth = 8;
  localparam int PlaceWidth = MaxTokens > 1 ? $clog2(MaxTokens) : 1;
  localparam int Lanes = Cols * N;
  localparam int SumsWidth = Cols * AccWidth;
  // Addresses (made from simsparse/rtl/regmap.py).
  localparam logic [3:0] RegControl = 4'd0;
  localparam logic [3:0] RegStatus = 4'd1;
  localparam logic [3:0] RegTokens = 4'd2;
  localparam logic [3:0] RegKFolds = 4'd3;
  localparam logic [3:0] RegNTiles = 4'd4;
  localparam logic [3:0] RegMode = 4'd5;
  localparam logic [3:0] RegCycles = 4'd6;
  localparam logic [3:0] RegErrors = 4'd7;
  localparam logic [3:0] RegShape = 4'd8;
  localparam logic [3:0] RegTimeout = 4'd9;
  localparam logic [3:0] RegKept = 4'd10;
  localparam logic [3:0] RegInterrupt = 4'd11;
  localparam logic [3:0] RegId = 4'd12;
  localparam logic [3:0] RegVersion = 4'd13;
  localparam logic [3:0] RegOutput = 4'd14;
  localparam logic [31:0] Identity = 32'h4e4d4754;
  localparam logic [31:0] Version = 32'h00020000;
  // (end of addresses)
  // Folds between their last weight word and their last result: loaded, running, and one a step of the array.
  localparam int FlagDepth = Rows + Cols + PipeStages + 1;
  localparam int FlagWidth = $clog2(FlagDepth);

`ifndef __ICARUS__
  if (MaxTokens < 1 || MaxTokens >= 1 << SizeWidth) begin : gen_illegal_tokens
    $fatal(1, "nm_gemm_top: MaxTokens must be in 1..65535");
  end
  if (Rows > 255 || Cols > 255 || M > 128) begin : gen_illegal_shape
    $fatal(1, "nm_gemm_top: Rows, Cols and M must fit in a byte");
  end
`endif

  // Registers.
  logic busy_q, done_q, aborted_q, dense_q, serial_q, skip_q;
  logic [SizeWidth-1:0] tokens_q, k_folds_q, n_tiles_q;
  logic [KeptWidth-1:0] kept_q;
  logic [31:0] cycles_q, timeout_q, quiet_q;
  logic [5:0] errors_q;
  logic [1:0] interrupt_q;
  logic [9:0] output_q, job_output_q;
  logic response_valid_q;
  logic [31:0] response_q, value;

  // What the running GEMM was started with.
  logic job_dense_q, job_serial_q, job_skip_q;
  logic [SizeWidth-1:0] job_tokens_q, job_k_folds_q, job_n_tiles_q;
  logic [KeptWidth-1:0] job_kept_q;

  wire unused = &{1'b0, reg_data_i, s_axis_weight_tdata_i, s_axis_activation_tdata_i};
  wire request = reg_valid_i & reg_ready_o;
  wire write = request & reg_write_i;
  wire read = request & ~reg_write_i;
  wire tokens_fit = tokens_q - 1'b1 < SizeWidth'(MaxTokens);  // 0 is the largest then
  wire kept_fits = kept_q - 1'b1 < KeptWidth'(N);
  wire in_range = tokens_fit & kept_fits & (k_folds_q != '0 | skip_q) & n_tiles_q != '0;
  wire control = write && reg_address_i == RegControl;
  wire start = control & reg_data_i[0] & ~reg_data_i[1];
  wire go = start & in_range & ~busy_q;
  wire finish, moved;
  wire stop = control & reg_data_i[1] & busy_q & ~finish;
  wire [2:0] stream_errors;
  wire lacks_weight, lacks_activation;

  assign reg_ready_o = ~response_valid_q | response_ready_i;
  assign response_valid_o = response_valid_q;
  assign response_data_o = response_q;
  assign busy_o = busy_q;
  assign abort_o = stop;
  assign output_o = job_output_q;
  assign interrupt_o = (interrupt_q[0] & done_q) | (interrupt_q[1] & (errors_q != '0));

  wire waits = m_axis_result_tvalid_o & ~m_axis_result_tready_i;
  wire [10:0] status = {
    waits, lacks_activation, lacks_weight, 3'd0, errors_q[5], aborted_q, errors_q != '0, done_q, busy_q
  };
  always_comb begin
    case (reg_address_i)
      RegStatus: value = {21'd0, status};
      RegTokens: value = {{32 - SizeWidth{1'b0}}, tokens_q};
      RegKFolds: value = {{32 - SizeWidth{1'b0}}, k_folds_q};
      RegNTiles: value = {{32 - SizeWidth{1'b0}}, n_tiles_q};
      RegMode: value = {29'd0, skip_q, serial_q, dense_q};
      RegCycles: value = cycles_q;
      RegErrors: value = {26'd0, errors_q};
      RegShape: value = {8'(M), 8'(N), 8'(Cols), 8'(Rows)};
      RegTimeout: value = timeout_q;
      RegKept: value = {{32 - KeptWidth{1'b0}}, kept_q};
      RegInterrupt: value = {30'd0, interrupt_q};
      RegId: value = Identity;
      RegVersion: value = Version;
      RegOutput: value = {22'd0, output_q};
      default: value = '0;
    endcase
  end

  // A standstill is told once, when it has lasted TIMEOUT cycles.
  wire quiet = busy_q & ~moved;
  wire timed_out = quiet && timeout_q != '0 && quiet_q == timeout_q - 1'b1;
  wire [5:0] errors = {timed_out, start & busy_q, stream_errors, start & ~busy_q & ~in_range};
  wire clear_errors = write && reg_address_i == RegErrors;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      busy_q <= 1'b0;
      done_q <= 1'b0;
      aborted_q <= 1'b0;
      tokens_q <= '0;
      k_folds_q <= '0;
      n_tiles_q <= '0;
      dense_q <= 1'b0;
      serial_q <= 1'b0;
      skip_q <= 1'b0;
      timeout_q <= '0;
      quiet_q <= '0;
      kept_q <= KeptWidth'(N);
      interrupt_q <= '0;
      output_q <= '0;
      cycles_q <= '0;
      errors_q <= '0;
      response_valid_q <= 1'b0;
    end else begin
      busy_q <= go | (busy_q & ~finish & ~stop);
      done_q <= finish | (done_q & ~start);
      aborted_q <= stop | (aborted_q & ~start);
      if (go) cycles_q <= '0;
      else if (busy_q && !finish && !stop) cycles_q <= cycles_q + 1'b1;
      quiet_q <= quiet ? quiet_q + 1'b1 : '0;
      if (write && reg_address_i == RegTokens) tokens_q <= reg_data_i[SizeWidth-1:0];
      if (write && reg_address_i == RegKFolds) k_folds_q <= reg_data_i[SizeWidth-1:0];
      if (write && reg_address_i == RegNTiles) n_tiles_q <= reg_data_i[SizeWidth-1:0];
      if (write && reg_address_i == RegMode) {skip_q, serial_q, dense_q} <= reg_data_i[2:0];
      if (write && reg_address_i == RegTimeout) timeout_q <= reg_data_i;
      if (write && reg_address_i == RegKept) kept_q <= reg_data_i[KeptWidth-1:0];
      if (write && reg_address_i == RegInterrupt) interrupt_q <= reg_data_i[1:0];
      if (write && reg_address_i == RegOutput) output_q <= reg_data_i[9:0];
      errors_q <= (clear_errors ? '0 : errors_q) | errors;
      response_valid_q <= read | (response_valid_q & ~response_ready_i);
    end
  end

  always_ff @(posedge clk_i) begin
    if (read) response_q <= value;
    if (go) begin
      {job_skip_q, job_serial_q, job_dense_q} <= {skip_q, serial_q, dense_q};
      job_tokens_q <= tokens_q;
      job_k_folds_q <= k_folds_q;
      job_n_tiles_q <= n_tiles_q;
      job_kept_q <= kept_q;
      job_output_q <= output_q;
    end
  end

  // Weights in.
  logic weights_done_q, pending_q;
  logic [RowWidth-1:0] row_q;
  logic [SizeWidth-1:0] fold_q, tile_q;
  wire fold_done;
  wire weight_open = busy_q && !weights_done_q && (!job_serial_q || !pending_q || fold_done);
  wire weight_ready;
  wire take_weight = s_axis_weight_tvalid_i & s_axis_weight_tready_o;
  wire row_last = row_q == RowWidth'(Rows - 1);
  wire take_fold = take_weight & row_last;
  wire ends_tile = job_skip_q ? s_axis_weight_tlast_i : fold_q == job_k_folds_q - 1'b1;
  wire ends_job = ends_tile && tile_q == job_n_tiles_q - 1'b1;
  logic descends;
  logic [Lanes*WeightWidth-1:0] weights;

  assign s_axis_weight_tready_o = weight_open & weight_ready;
  assign lacks_weight = weight_open & weight_ready & ~s_axis_weight_tvalid_i;

  always_comb begin
    descends = 1'b0;
    weights  = s_axis_weight_tdata_i[0+:Lanes*WeightWidth];
    for (int c = 0; c < Cols; c++) begin
      for (int j = 1; j < N; j++) begin
        if (!job_dense_q && j >= 32'(job_kept_q)) weights[(c*N+j)*WeightWidth+:WeightWidth] = '0;
        else if (s_axis_weight_tdata_i[Lanes*WeightWidth+(c*N+j)*IndexWidth+:IndexWidth] <=
            s_axis_weight_tdata_i[Lanes*WeightWidth+(c*N+j-1)*IndexWidth+:IndexWidth])
          descends = 1'b1;
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (go) begin
      weights_done_q <= 1'b0;
      fold_q <= '0;
      tile_q <= '0;
      row_q <= '0;
      pending_q <= 1'b0;
    end else begin
      pending_q <= take_fold | (pending_q & ~fold_done);
      if (take_weight) row_q <= row_last ? '0 : row_q + 1'b1;
      if (take_fold) begin
        weights_done_q <= ends_job;
        fold_q <= ends_tile ? '0 : fold_q + 1'b1;
        if (ends_tile) tile_q <= tile_q + 1'b1;
      end
    end
  end

  // Which folds end a tile and which the GEMM, from their last weight word to their last result.
  logic [1:0] flags[FlagDepth];
  logic [FlagWidth-1:0] flag_in_q, flag_out_q;
  wire final_fold, final_tile;

  assign {final_tile, final_fold} = flags[flag_out_q];

  always_ff @(posedge clk_i) begin
    if (take_fold) flags[flag_in_q] <= {ends_job, ends_tile};
    if (go) begin
      flag_in_q  <= '0;
      flag_out_q <= '0;
    end else begin
      if (take_fold) flag_in_q <= flag_in_q == FlagWidth'(FlagDepth - 1) ? '0 : flag_in_q + 1'b1;
      if (fold_done) flag_out_q <= flag_out_q == FlagWidth'(FlagDepth - 1) ? '0 : flag_out_q + 1'b1;
    end
  end

  // Activations in: the array takes none but for folds whose weights it has.
  logic [SizeWidth-1:0] token_q;
  wire ready;
  wire take = s_axis_activation_tvalid_i & s_axis_activation_tready_o;
  wire token_last = token_q == job_tokens_q - 1'b1;

  assign s_axis_activation_tready_o = busy_q & ready;
  assign lacks_activation = busy_q & ready & ~s_axis_activation_tvalid_i;

  always_ff @(posedge clk_i) begin
    if (go) token_q <= '0;
    else if (take) token_q <= token_last ? '0 : token_q + 1'b1;
  end

  assign stream_errors = {
    take_weight & ~job_dense_q & descends,
    take & (s_axis_activation_tlast_i != token_last),
    take_weight & (job_skip_q ? s_axis_weight_tlast_i & ~row_last : s_axis_weight_tlast_i != row_last)
  };

  wire valid, sums_ready, sums_last;
  wire [SumsWidth-1:0] sums;

  nm_systolic_array #(
      .Rows(Rows),
      .Cols(Cols),
      .N(N),
      .M(M),
      .DataWidth(DataWidth),
      .AccWidth(AccWidth),
      .OutputStationary(1'b0),
      .WeightWidth(WeightWidth),
      .PipeStages(PipeStages)
  ) u_array (
      .clk_i,
      .rst_ni,
      .clear_i(stop),
      .weight_valid_i(s_axis_weight_tvalid_i & weight_open),
      .weight_ready_o(weight_ready),
      .dense_i(job_dense_q),
      .weight_i(weights),
      .index_i(s_axis_weight_tdata_i[Lanes*WeightWidth+:Lanes*IndexWidth]),
      .valid_i(s_axis_activation_tvalid_i & busy_q),
      .ready_o(ready),
      .last_i(token_last),
      .activation_i(s_axis_activation_tdata_i[0+:Rows*M*DataWidth]),
      .valid_o(valid),
      .ready_i(sums_ready),
      .last_o(sums_last),
      .sum_o(sums)
  );

  // Sums over folds; the sums so far of the next token are read a cycle ahead.
  logic [SumsWidth-1:0] memory[MaxTokens];
  logic [SumsWidth-1:0] total, before_q;
  logic [PlaceWidth-1:0] place_q;
  logic first_q;
  wire give = valid & sums_ready;
  wire [PlaceWidth-1:0] place = ~give ? place_q : sums_last ? '0 : place_q + 1'b1;

  assign fold_done = give & sums_last;
  assign finish = fold_done & final_tile;
  assign moved = take_weight | take | give;

  always_comb begin
    for (int c = 0; c < Cols; c++) begin
      total[c*AccWidth+:AccWidth] = sums[c*AccWidth+:AccWidth] + (first_q ? '0 : before_q[c*AccWidth+:AccWidth]);
    end
  end

  always_ff @(posedge clk_i) begin
    if (give) memory[place_q] <= total;
    before_q <= give && place == place_q ? total : memory[place];
    if (go) begin
      place_q <= '0;
      first_q <= 1'b1;
    end else begin
      place_q <= place;
      if (fold_done) first_q <= final_fold;
    end
  end

  // Results out; one that waits when its GEMM is aborted is kept until it is taken.
  logic left_valid_q, left_last_q, left_user_q;
  logic [SumsWidth-1:0] left_q;
  wire offered = valid & final_fold;

  assign sums_ready = ~final_fold | (m_axis_result_tready_i & ~left_valid_q);
  assign m_axis_result_tvalid_o = left_valid_q | offered;
  assign m_axis_result_tdata_o = (8 * ResultBytes)'(left_valid_q ? left_q : total);
  assign m_axis_result_tuser_o = left_valid_q ? left_user_q : sums_last;
  assign m_axis_result_tlast_o = left_valid_q ? left_last_q : sums_last & final_tile;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) left_valid_q <= 1'b0;
    else left_valid_q <= ~m_axis_result_tready_i & (left_valid_q | (stop & offered));
  end

  always_ff @(posedge clk_i) begin
    if (!left_valid_q) begin
      left_q <= total;
      left_last_q <= sums_last & final_tile;
      left_user_q <= sums_last;
    end
  end
endmodule

`default_nettype wire
