// SPDX-License-Identifier: Apache-2.0
// Streaming N:M sparsifier: of every M signed values, the N of largest magnitude with their indexes.
//
// One value a beat, groups of M back to back from reset on. Of equal magnitudes the earlier value stays. The kept
// values leave in the order they came, so indexes ascend. A result follows the last value of its group by one cycle;
// only that last value is held up by a result that waits. Floating numbers (Floating = 1) are compared without their
// sign: both zeros are equal, infinities exceed all finite numbers and NaN exceeds infinities, as in PyTorch's topk.
// It does not compare scores other than magnitude, and there is no way to end a group early.
`default_nettype none

module nm_prune #(
    parameter  int N          = 2,
    parameter  int M          = 4,
    parameter  int DataWidth  = 8,
    parameter  bit Floating   = 1'b0,
    localparam int IndexWidth = $clog2(M)
) (
    input  wire                    clk_i,
    input  wire                    rst_ni,
    input  wire                    valid_i,
    output wire                    ready_o,
    input  wire [   DataWidth-1:0] value_i,
    output wire                    valid_o,
    input  wire                    ready_i,
    output wire [ N*DataWidth-1:0] value_o,
    output wire [N*IndexWidth-1:0] index_o
);
  localparam int CountWidth = $clog2(M + 1);

`ifndef __ICARUS__
  if (M < 2) begin : gen_illegal_m
    $fatal(1, "nm_prune: M must be at least 2");
  end
  if (N < 1 || N > M) begin : gen_illegal_n
    $fatal(1, "nm_prune: N must be in 1..M");
  end
`endif

  function automatic [DataWidth-1:0] magnitude(input [DataWidth-1:0] value);
    if (Floating) magnitude = value & ~(DataWidth'(1) << (DataWidth - 1));
    else magnitude = value[DataWidth-1] ? -value : value;
  endfunction

  logic valid_q;
  logic [CountWidth-1:0] count_q;
  logic [N*DataWidth-1:0] value_q, result_value_q, value_d;
  logic [N*IndexWidth-1:0] index_q, result_index_q, index_d;

  // The kept value that gives way: the last one of least magnitude.
  logic [CountWidth-1:0] victim;
  logic [ DataWidth-1:0] least;

  always_comb begin
    victim = '0;
    least  = magnitude(value_q[0+:DataWidth]);
    for (int j = 1; j < N; j++) begin
      if (magnitude(value_q[j*DataWidth+:DataWidth]) <= least) begin
        victim = CountWidth'(j);
        least  = magnitude(value_q[j*DataWidth+:DataWidth]);
      end
    end
  end

  // Later ones move up and the new value is the last; while there is room, it takes the next place.
  wire room = count_q < CountWidth'(N);
  wire keep = room | (magnitude(value_i) > least);
  wire [CountWidth-1:0] place = room ? count_q : CountWidth'(N - 1);

  always_comb begin
    value_d = value_q;
    index_d = index_q;
    for (int j = 0; j < N - 1; j++) begin
      if (keep && !room && CountWidth'(j) >= victim) begin
        value_d[j*DataWidth+:DataWidth]   = value_q[(j+1)*DataWidth+:DataWidth];
        index_d[j*IndexWidth+:IndexWidth] = index_q[(j+1)*IndexWidth+:IndexWidth];
      end
    end
    for (int j = 0; j < N; j++) begin
      if (keep && CountWidth'(j) == place) begin
        value_d[j*DataWidth+:DataWidth]   = value_i;
        index_d[j*IndexWidth+:IndexWidth] = count_q[IndexWidth-1:0];
      end
    end
  end

  wire last = count_q == CountWidth'(M - 1);
  wire take = valid_i & ready_o;

  assign ready_o = ~last | ~valid_q | ready_i;
  assign valid_o = valid_q;
  assign value_o = result_value_q;
  assign index_o = result_index_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      valid_q <= 1'b0;
      count_q <= '0;
    end else begin
      valid_q <= (take & last) | (valid_q & ~ready_i);
      if (take) count_q <= last ? '0 : count_q + 1'b1;
    end
  end

  always_ff @(posedge clk_i) begin
    if (take) begin
      value_q <= value_d;
      index_q <= index_d;
    end
    if (take && last) begin
      result_value_q <= value_d;
      result_index_q <= index_d;
    end
  end
endmodule

`default_nettype wire
