// SPDX-License-Identifier: Apache-2.0
// nm_gemm_top as a system takes it: AXI4-Lite registers, AXI4-Streams with byte lanes, requantised results.
//
// s_axil: the registers of nm_gemm_top, register r at byte address 4 r; addresses beyond 15 read zero. A write of less
// than a whole word changes nothing and is answered SLVERR. One access at a time, writes first. irq_o: interrupt_o.
// s_axis_weight, s_axis_activation: as in nm_gemm_top; a beat whose tkeep is not all ones is taken as if it were.
// s_axis_channel: with OUTPUT bit 9 a beat a tile, before its results: for each column bias (low 32 bits) and fp32
// scale. m_axis_result: sums of AccWidth bits, or with OUTPUT bit 9 a byte a column in the low lanes, as nm_requantise
// makes it, and tkeep on those lanes alone. Results of a GEMM leave before those of the next one.
//
// With Spill = 1 every stream goes through a skid_buffer: no path runs from port to port, and each stream is a cycle
// later; while idle none is taken, and what an aborted GEMM left in the buffers of the streams in is dropped. DONE rises when the last sum leaves the array's memory: tlast of m_axis_result follows, at most six cycles
// later when nothing stalls. It reads and writes no memory by itself and keeps no queue of GEMMs.
`default_nettype none

module nm_gemm_axi #(
    parameter  int Rows        = 4,
    parameter  int Cols        = 4,
    parameter  int N           = 2,
    parameter  int M           = 4,
    parameter  int DataWidth   = 8,
    parameter  int AccWidth    = 32,
    parameter  int MaxTokens   = 64,
    parameter  int WeightWidth = DataWidth,
    parameter  int PipeStages  = 0,
    parameter  bit Spill       = 1'b1,
    localparam int IndexWidth  = $clog2(M),
    localparam int WeightBytes = (Cols * N * (WeightWidth + IndexWidth) + 7) / 8,
    localparam int ActBytes    = (Rows * M * DataWidth + 7) / 8,
    localparam int ResultBytes = (Cols * AccWidth + 7) / 8
) (
    input  wire                     clk_i,
    input  wire                     rst_ni,
    output wire                     irq_o,
    input  wire                     s_axil_awvalid_i,
    output wire                     s_axil_awready_o,
    input  wire [              7:0] s_axil_awaddr_i,
    input  wire                     s_axil_wvalid_i,
    output wire                     s_axil_wready_o,
    input  wire [             31:0] s_axil_wdata_i,
    input  wire [              3:0] s_axil_wstrb_i,
    output wire                     s_axil_bvalid_o,
    input  wire                     s_axil_bready_i,
    output wire [              1:0] s_axil_bresp_o,
    input  wire                     s_axil_arvalid_i,
    output wire                     s_axil_arready_o,
    input  wire [              7:0] s_axil_araddr_i,
    output wire                     s_axil_rvalid_o,
    input  wire                     s_axil_rready_i,
    output wire [             31:0] s_axil_rdata_o,
    output wire [              1:0] s_axil_rresp_o,
    input  wire                     s_axis_weight_tvalid_i,
    output wire                     s_axis_weight_tready_o,
    input  wire [8*WeightBytes-1:0] s_axis_weight_tdata_i,
    input  wire [  WeightBytes-1:0] s_axis_weight_tkeep_i,
    input  wire                     s_axis_weight_tlast_i,
    input  wire                     s_axis_activation_tvalid_i,
    output wire                     s_axis_activation_tready_o,
    input  wire [   8*ActBytes-1:0] s_axis_activation_tdata_i,
    input  wire [     ActBytes-1:0] s_axis_activation_tkeep_i,
    input  wire                     s_axis_activation_tlast_i,
    input  wire                     s_axis_channel_tvalid_i,
    output wire                     s_axis_channel_tready_o,
    input  wire [      64*Cols-1:0] s_axis_channel_tdata_i,
    output wire                     m_axis_result_tvalid_o,
    input  wire                     m_axis_result_tready_i,
    output wire [8*ResultBytes-1:0] m_axis_result_tdata_o,
    output wire [  ResultBytes-1:0] m_axis_result_tkeep_o,
    output wire                     m_axis_result_tlast_o
);
`ifndef __ICARUS__
  if (AccWidth < 8 || AccWidth > 32) begin : gen_illegal_acc_width
    $fatal(1, "nm_gemm_axi: AccWidth must be in 8..32");
  end
`endif

  wire unused = &{1'b0, s_axis_weight_tkeep_i, s_axis_activation_tkeep_i, s_axil_awaddr_i[1:0], s_axil_araddr_i[1:0]};

  // Registers: a write is taken with its data when its answer has a place; a read when no write is.
  logic write_answered_q, write_failed_q, far_q;
  wire reg_ready, response_valid;
  wire [31:0] response;
  wire write_offered = s_axil_awvalid_i & s_axil_wvalid_i & ~(write_answered_q & ~s_axil_bready_i);
  wire whole = &s_axil_wstrb_i & s_axil_awaddr_i[7:6] == '0;
  wire write_taken = write_offered & reg_ready;
  wire read_taken = s_axil_arvalid_i & ~write_offered & reg_ready;

  assign s_axil_awready_o = write_taken;
  assign s_axil_wready_o  = write_taken;
  assign s_axil_arready_o = read_taken;
  assign s_axil_bvalid_o  = write_answered_q;
  assign s_axil_bresp_o   = {write_failed_q, 1'b0};
  assign s_axil_rvalid_o  = response_valid;
  assign s_axil_rdata_o   = far_q ? '0 : response;
  assign s_axil_rresp_o   = '0;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) write_answered_q <= 1'b0;
    else write_answered_q <= write_taken | (write_answered_q & ~s_axil_bready_i);
  end

  always_ff @(posedge clk_i) begin
    if (write_taken) write_failed_q <= ~(&s_axil_wstrb_i);
    if (read_taken) far_q <= s_axil_araddr_i[7:6] != '0;
  end

  // Streams in.
  wire weight_valid, weight_ready, weight_last, act_valid, act_ready, act_last, channel_valid, channel_ready;
  wire [8*WeightBytes-1:0] weight;
  wire [8*ActBytes-1:0] act;
  wire [64*Cols-1:0] channel;

  // Results between the engine and the port.
  wire sum_valid, sum_ready, sum_last, sum_closes, busy;
  wire [8*ResultBytes-1:0] sums;
  wire [9:0] settings;
  wire result_valid, result_ready, result_last;
  wire [8*ResultBytes-1:0] result;
  wire [ResultBytes-1:0] result_keep;

  wire abort;

  if (Spill) begin : gen_spill
    logic drop_q;
    wire weight_spill_ready, act_spill_ready, channel_spill_ready;
    wire weight_spilled, act_spilled, channel_spilled;
    wire open = busy & ~drop_q;
    assign s_axis_weight_tready_o = weight_spill_ready & open;
    assign s_axis_activation_tready_o = act_spill_ready & open;
    assign s_axis_channel_tready_o = channel_spill_ready & open;
    assign weight_valid = weight_spilled & ~drop_q;
    assign act_valid = act_spilled & ~drop_q;
    assign channel_valid = channel_spilled & ~drop_q;
    always_ff @(posedge clk_i or negedge rst_ni) begin
      if (!rst_ni) drop_q <= 1'b0;
      else drop_q <= abort | (drop_q & (weight_spilled | act_spilled | channel_spilled));
    end
    skid_buffer #(
        .Width(8 * WeightBytes + 1)
    ) u_weight (
        .clk_i,
        .rst_ni,
        .valid_i(s_axis_weight_tvalid_i & open),
        .ready_o(weight_spill_ready),
        .data_i ({s_axis_weight_tlast_i, s_axis_weight_tdata_i}),
        .valid_o(weight_spilled),
        .ready_i(weight_ready | drop_q),
        .data_o ({weight_last, weight})
    );
    skid_buffer #(
        .Width(8 * ActBytes + 1)
    ) u_activation (
        .clk_i,
        .rst_ni,
        .valid_i(s_axis_activation_tvalid_i & open),
        .ready_o(act_spill_ready),
        .data_i ({s_axis_activation_tlast_i, s_axis_activation_tdata_i}),
        .valid_o(act_spilled),
        .ready_i(act_ready | drop_q),
        .data_o ({act_last, act})
    );
    skid_buffer #(
        .Width(64 * Cols)
    ) u_channel (
        .clk_i,
        .rst_ni,
        .valid_i(s_axis_channel_tvalid_i & open),
        .ready_o(channel_spill_ready),
        .data_i (s_axis_channel_tdata_i),
        .valid_o(channel_spilled),
        .ready_i(channel_ready | drop_q),
        .data_o (channel)
    );
    skid_buffer #(
        .Width(9 * ResultBytes + 1)
    ) u_result (
        .clk_i,
        .rst_ni,
        .valid_i(result_valid),
        .ready_o(result_ready),
        .data_i ({result_last, result_keep, result}),
        .valid_o(m_axis_result_tvalid_o),
        .ready_i(m_axis_result_tready_i),
        .data_o ({m_axis_result_tlast_o, m_axis_result_tkeep_o, m_axis_result_tdata_o})
    );
  end else begin : gen_wires
    assign {weight_valid, weight_last, weight} = {s_axis_weight_tvalid_i, s_axis_weight_tlast_i, s_axis_weight_tdata_i};
    assign s_axis_weight_tready_o = weight_ready;
    assign {act_valid, act_last, act} = {
      s_axis_activation_tvalid_i, s_axis_activation_tlast_i, s_axis_activation_tdata_i
    };
    assign s_axis_activation_tready_o = act_ready;
    assign {channel_valid, channel} = {s_axis_channel_tvalid_i, s_axis_channel_tdata_i};
    assign s_axis_channel_tready_o = channel_ready;
    assign {m_axis_result_tvalid_o, m_axis_result_tlast_o} = {result_valid, result_last};
    assign {m_axis_result_tkeep_o, m_axis_result_tdata_o} = {result_keep, result};
    assign result_ready = m_axis_result_tready_i;
    wire unused_abort = &{1'b0, abort};
  end

  nm_gemm_top #(
      .Rows(Rows),
      .Cols(Cols),
      .N(N),
      .M(M),
      .DataWidth(DataWidth),
      .AccWidth(AccWidth),
      .MaxTokens(MaxTokens),
      .WeightWidth(WeightWidth),
      .PipeStages(PipeStages)
  ) u_gemm (
      .clk_i,
      .rst_ni,
      .reg_valid_i((write_offered & whole) | (s_axil_arvalid_i & ~write_offered)),
      .reg_ready_o(reg_ready),
      .reg_write_i(write_offered),
      .reg_address_i(write_offered ? s_axil_awaddr_i[5:2] : s_axil_araddr_i[5:2]),
      .reg_data_i(s_axil_wdata_i),
      .response_valid_o(response_valid),
      .response_ready_i(s_axil_rready_i),
      .response_data_o(response),
      .interrupt_o(irq_o),
      .busy_o(busy),
      .abort_o(abort),
      .output_o(settings),
      .s_axis_weight_tvalid_i(weight_valid),
      .s_axis_weight_tready_o(weight_ready),
      .s_axis_weight_tdata_i(weight),
      .s_axis_weight_tlast_i(weight_last),
      .s_axis_activation_tvalid_i(act_valid),
      .s_axis_activation_tready_o(act_ready),
      .s_axis_activation_tdata_i(act),
      .s_axis_activation_tlast_i(act_last),
      .m_axis_result_tvalid_o(sum_valid),
      .m_axis_result_tready_i(sum_ready),
      .m_axis_result_tdata_o(sums),
      .m_axis_result_tlast_o(sum_last),
      .m_axis_result_tuser_o(sum_closes)
  );

  // Bias and scale of the tile whose results leave.
  logic channel_valid_q;
  logic [64*Cols-1:0] channel_q;
  logic [2:0] inside_q;
  wire requantise = settings[9];
  wire scaled_valid, scaled_ready, scaled_last, in_ready;
  wire [8*Cols-1:0] scaled;
  wire [32*Cols-1:0] bias, scale;
  wire enter = sum_valid & requantise & channel_valid_q & in_ready;
  wire leave = scaled_valid & scaled_ready;
  // Sums pass by when none is being requantised.
  wire pass = sum_valid & ~requantise & inside_q == '0;

  assign channel_ready = busy & requantise & ~channel_valid_q;
  assign sum_ready = requantise ? channel_valid_q & in_ready : inside_q == '0 & result_ready;
  assign scaled_ready = result_ready;
  assign result_valid = scaled_valid | pass;
  assign result_last = scaled_valid ? scaled_last : sum_last;
  assign result = scaled_valid ? (8 * ResultBytes)'(scaled) : sums;
  assign result_keep = scaled_valid ? ResultBytes'({Cols{1'b1}}) : '1;

  for (genvar c = 0; c < Cols; c++) begin : gen_channel
    assign bias[c*32+:32]  = channel_q[c*64+:32];
    assign scale[c*32+:32] = channel_q[c*64+32+:32];
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      channel_valid_q <= 1'b0;
      inside_q <= '0;
    end else begin
      if (channel_valid & channel_ready) channel_valid_q <= 1'b1;
      else if ((enter & sum_closes) | (~busy & ~sum_valid)) channel_valid_q <= 1'b0;
      inside_q <= inside_q + 3'(enter) - 3'(leave);
    end
  end

  always_ff @(posedge clk_i) begin
    if (channel_valid & channel_ready) channel_q <= channel;
  end

  nm_requantise #(
      .Lanes(Cols),
      .AccWidth(AccWidth),
      .OutWidth(8)
  ) u_requantise (
      .clk_i,
      .rst_ni,
      .valid_i(sum_valid & requantise & channel_valid_q),
      .ready_o(in_ready),
      .last_i (sum_last),
      .sum_i  (sums[0+:Cols*AccWidth]),
      .bias_i (bias),
      .scale_i(scale),
      .zero_i (settings[7:0]),
      .relu_i (settings[8]),
      .valid_o(scaled_valid),
      .ready_i(scaled_ready),
      .last_o (scaled_last),
      .value_o(scaled)
  );
endmodule

`default_nettype wire
