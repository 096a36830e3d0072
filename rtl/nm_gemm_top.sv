// A whole GEMM on nm_systolic_array, weight-stationary: y[m, n] = x[m, k] w[n, k]^T from memory images on AXI streams.
//
// The output is cut into N_TILES tiles of Cols outputs, the reduction into K_FOLDS folds of Rows * M elements (Rows * N
// when dense); short tiles and folds are filled up with zeros. Tile by tile and fold by fold, s_axis_weight brings Rows
// words, one an array row, each with the weights of all columns in the low bits and their indexes above; and
// s_axis_activation TOKENS beats of the fold's activations, the first row's lowest. Sums over folds are kept in here;
// m_axis_result gives TOKENS beats a tile, Cols sums each. tlast: the last word or beat of each fold in; the last beat
// of the GEMM out.
//
// Registers by word address; sizes take the low 16 bits of what is written:
//   0 CONTROL  w   bit 0: start
//   1 STATUS   r   bit 0: busy, bit 1: done since the last start
//   2 TOKENS   rw  1 to MaxTokens
//   3 K_FOLDS  rw  1 to 65535
//   4 N_TILES  rw  1 to 65535
//   5 MODE     rw  bit 0: dense; bit 1: serial, no fold's weights are taken before the results of the one before it left
//   6 CYCLES   r   cycles from the one after the start to the last result, its own left out
//   7 ERRORS   r   bit 0: start with sizes out of range, not done; bits 1, 2: tlast of weights, of activations elsewhere
//                  than the sizes say (the sizes hold); bit 3: indexes that do not ascend (used as they are); a write
//                  clears all
//   8 SHAPE    r   Rows, Cols, N, M from the lowest byte
// Every read is answered on response_*; writes are not. A write waits until the array is idle. Other addresses read 0.
//
// It has no output-stationary mode, no addresses of its own (the streams come from a DMA) and no interrupt.
`default_nettype none

module nm_gemm_top #(
    parameter  int Rows        = 4,
    parameter  int Cols        = 4,
    parameter  int N           = 2,
    parameter  int M           = 4,
    parameter  int DataWidth   = 8,
    parameter  int AccWidth    = 32,
    parameter  int MaxTokens   = 64,
    localparam int IndexWidth  = $clog2(M),
    localparam int WeightBytes = (Cols * N * (DataWidth + IndexWidth) + 7) / 8
) (
    input  wire                        clk_i,
    input  wire                        rst_ni,
    input  wire                        reg_valid_i,
    output wire                        reg_ready_o,
    input  wire                        reg_write_i,
    input  wire [                 3:0] reg_address_i,
    input  wire [                31:0] reg_data_i,
    output wire                        response_valid_o,
    input  wire                        response_ready_i,
    output wire [                31:0] response_data_o,
    input  wire                        s_axis_weight_tvalid_i,
    output wire                        s_axis_weight_tready_o,
    input  wire [   8*WeightBytes-1:0] s_axis_weight_tdata_i,
    input  wire                        s_axis_weight_tlast_i,
    input  wire                        s_axis_activation_tvalid_i,
    output wire                        s_axis_activation_tready_o,
    input  wire [Rows*M*DataWidth-1:0] s_axis_activation_tdata_i,
    input  wire                        s_axis_activation_tlast_i,
    output wire                        m_axis_result_tvalid_o,
    input  wire                        m_axis_result_tready_i,
    output wire [   Cols*AccWidth-1:0] m_axis_result_tdata_o,
    output wire                        m_axis_result_tlast_o
);
  localparam int SizeWidth = 16;
  localparam int RowWidth = $clog2(Rows + 1);
  localparam int PlaceWidth = MaxTokens > 1 ? $clog2(MaxTokens) : 1;
  localparam int Lanes = Cols * N;

`ifndef __ICARUS__
  if (MaxTokens < 1 || MaxTokens >= 1 << SizeWidth) begin : gen_illegal_tokens
    $fatal(1, "nm_gemm_top: MaxTokens must be in 1..65535");
  end
  if (Rows > 255 || Cols > 255 || M > 128) begin : gen_illegal_shape
    $fatal(1, "nm_gemm_top: Rows, Cols and M must fit in a byte");
  end
`endif

  // Registers.
  logic busy_q, done_q, dense_q, serial_q;
  logic [SizeWidth-1:0] tokens_q, k_folds_q, n_tiles_q;
  logic [31:0] cycles_q;
  logic [3:0] errors_q;
  logic response_valid_q;
  logic [31:0] response_q, value;

  wire unused = &{1'b0, reg_data_i, s_axis_weight_tdata_i};
  wire write = reg_valid_i & reg_ready_o & reg_write_i;
  wire read = reg_valid_i & reg_ready_o & ~reg_write_i;
  wire in_range = tokens_q != '0 && tokens_q <= SizeWidth'(MaxTokens) && k_folds_q != '0 && n_tiles_q != '0;
  wire start = write && reg_address_i == 4'd0 && reg_data_i[0];
  wire go = start & in_range;
  wire finish;
  wire [3:0] errors;

  assign reg_ready_o = reg_write_i ? ~busy_q : ~response_valid_q | response_ready_i;
  assign response_valid_o = response_valid_q;
  assign response_data_o = response_q;

  always_comb begin
    case (reg_address_i)
      4'd1: value = {30'd0, done_q, busy_q};
      4'd2: value = {{32 - SizeWidth{1'b0}}, tokens_q};
      4'd3: value = {{32 - SizeWidth{1'b0}}, k_folds_q};
      4'd4: value = {{32 - SizeWidth{1'b0}}, n_tiles_q};
      4'd5: value = {30'd0, serial_q, dense_q};
      4'd6: value = cycles_q;
      4'd7: value = {28'd0, errors_q};
      4'd8: value = {8'(M), 8'(N), 8'(Cols), 8'(Rows)};
      default: value = '0;
    endcase
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      busy_q <= 1'b0;
      done_q <= 1'b0;
      tokens_q <= '0;
      k_folds_q <= '0;
      n_tiles_q <= '0;
      dense_q <= 1'b0;
      serial_q <= 1'b0;
      cycles_q <= '0;
      errors_q <= '0;
      response_valid_q <= 1'b0;
    end else begin
      busy_q <= go | (busy_q & ~finish);
      done_q <= finish | (done_q & ~go);
      if (go) cycles_q <= '0;
      else if (busy_q && !finish) cycles_q <= cycles_q + 1'b1;
      if (write && reg_address_i == 4'd2) tokens_q <= reg_data_i[SizeWidth-1:0];
      if (write && reg_address_i == 4'd3) k_folds_q <= reg_data_i[SizeWidth-1:0];
      if (write && reg_address_i == 4'd4) n_tiles_q <= reg_data_i[SizeWidth-1:0];
      if (write && reg_address_i == 4'd5) {serial_q, dense_q} <= reg_data_i[1:0];
      errors_q <= (write && reg_address_i == 4'd7 ? '0 : errors_q) | errors;
      response_valid_q <= read | (response_valid_q & ~response_ready_i);
    end
  end

  always_ff @(posedge clk_i) begin
    if (read) response_q <= value;
  end

  // Weights in.
  logic [31:0] weight_folds_q;
  logic [RowWidth-1:0] row_q;
  logic pending_q;
  wire fold_done;
  wire weight_open = busy_q && weight_folds_q != '0 && (!serial_q || !pending_q || fold_done);
  wire weight_ready;
  wire take_weight = s_axis_weight_tvalid_i & s_axis_weight_tready_o;
  wire row_last = row_q == RowWidth'(Rows - 1);
  logic descends;

  assign s_axis_weight_tready_o = weight_open & weight_ready;

  always_comb begin
    descends = 1'b0;
    for (int c = 0; c < Cols; c++) begin
      for (int j = 1; j < N; j++) begin
        if (s_axis_weight_tdata_i[Lanes*DataWidth+(c*N+j)*IndexWidth+:IndexWidth] <=
            s_axis_weight_tdata_i[Lanes*DataWidth+(c*N+j-1)*IndexWidth+:IndexWidth])
          descends = 1'b1;
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (go) begin
      weight_folds_q <= 32'(k_folds_q) * 32'(n_tiles_q);
      row_q <= '0;
      pending_q <= 1'b0;
    end else begin
      pending_q <= (take_weight & row_last) | (pending_q & ~fold_done);
      if (take_weight) row_q <= row_last ? '0 : row_q + 1'b1;
      if (take_weight && row_last) weight_folds_q <= weight_folds_q - 1'b1;
    end
  end

  // Activations in.
  logic [31:0] folds_q;
  logic [SizeWidth-1:0] token_q;
  wire open = busy_q && folds_q != '0;
  wire ready;
  wire take = s_axis_activation_tvalid_i & s_axis_activation_tready_o;
  wire token_last = token_q == tokens_q - 1'b1;

  assign s_axis_activation_tready_o = open & ready;

  always_ff @(posedge clk_i) begin
    if (go) begin
      folds_q <= 32'(k_folds_q) * 32'(n_tiles_q);
      token_q <= '0;
    end else if (take) begin
      token_q <= token_last ? '0 : token_q + 1'b1;
      if (token_last) folds_q <= folds_q - 1'b1;
    end
  end

  assign errors = {
    take_weight & ~dense_q & descends,
    take & (s_axis_activation_tlast_i != token_last),
    take_weight & (s_axis_weight_tlast_i != row_last),
    start & ~in_range
  };

  wire valid, sums_ready, sums_last;
  wire [Cols*AccWidth-1:0] sums;

  nm_systolic_array #(
      .Rows(Rows),
      .Cols(Cols),
      .N(N),
      .M(M),
      .DataWidth(DataWidth),
      .AccWidth(AccWidth),
      .OutputStationary(1'b0)
  ) u_array (
      .clk_i,
      .rst_ni,
      .weight_valid_i(s_axis_weight_tvalid_i & weight_open),
      .weight_ready_o(weight_ready),
      .dense_i(dense_q),
      .weight_i(s_axis_weight_tdata_i[0+:Lanes*DataWidth]),
      .index_i(s_axis_weight_tdata_i[Lanes*DataWidth+:Lanes*IndexWidth]),
      .valid_i(s_axis_activation_tvalid_i & open),
      .ready_o(ready),
      .last_i(token_last),
      .activation_i(s_axis_activation_tdata_i),
      .valid_o(valid),
      .ready_i(sums_ready),
      .last_o(sums_last),
      .sum_o(sums)
  );

  // Sums over folds, and results out.
  logic [Cols*AccWidth-1:0] memory[MaxTokens];
  logic [Cols*AccWidth-1:0] total;
  logic [PlaceWidth-1:0] place_q;
  logic [SizeWidth-1:0] k_fold_q, n_tile_q;
  wire [Cols*AccWidth-1:0] kept = memory[place_q];
  wire final_fold = k_fold_q == k_folds_q - 1'b1;
  wire final_tile = n_tile_q == n_tiles_q - 1'b1;
  wire give = valid & sums_ready;

  assign sums_ready = ~final_fold | m_axis_result_tready_i;
  assign fold_done = give & sums_last;
  assign finish = fold_done & final_fold & final_tile;
  assign m_axis_result_tvalid_o = valid & final_fold;
  assign m_axis_result_tdata_o = total;
  assign m_axis_result_tlast_o = sums_last & final_tile;

  always_comb begin
    for (int c = 0; c < Cols; c++) begin
      total[c*AccWidth+:AccWidth] = sums[c*AccWidth+:AccWidth] + (k_fold_q == '0 ? '0 : kept[c*AccWidth+:AccWidth]);
    end
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      place_q  <= '0;
      k_fold_q <= '0;
      n_tile_q <= '0;
    end else begin
      if (give) place_q <= sums_last ? '0 : place_q + 1'b1;
      if (fold_done) k_fold_q <= final_fold ? '0 : k_fold_q + 1'b1;
      if (fold_done && final_fold) n_tile_q <= final_tile ? '0 : n_tile_q + 1'b1;
    end
  end

  always_ff @(posedge clk_i) begin
    if (give && !final_fold) memory[place_q] <= total;
  end
endmodule

`default_nettype wire
