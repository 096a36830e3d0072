// SPDX-License-Identifier: Apache-2.0
// Inner join of two bitmaps: where both have a bit, the places of the two values in their compressed streams.
//
// A tile is one beat in: bit i of bitmap_a_i says that operand A keeps element i, and the values it keeps lie one
// behind the other, so element i is value number "bits below i". Each beat out carries up to Matches elements that
// both keep, in ascending order, low lanes first: match_o marks the lanes in use, offset_a_o and offset_b_o number the
// values; lanes not in use hold zero. last_o marks a tile's last beat. A tile without a match gives one beat with
// match_o zero. A tile of k matches holds the join for max(1, ceil(k / Matches)) cycles; its first beat is offered two
// cycles after it was taken. It does not add up offsets over tiles, and it fetches no values.
`default_nettype none

module bitmap_intersect #(
    parameter  int Width       = 32,
    parameter  int Matches     = 1,
    localparam int OffsetWidth = $clog2(Width)
) (
    input  wire                           clk_i,
    input  wire                           rst_ni,
    input  wire                           valid_i,
    output wire                           ready_o,
    input  wire [              Width-1:0] bitmap_a_i,
    input  wire [              Width-1:0] bitmap_b_i,
    output wire                           valid_o,
    input  wire                           ready_i,
    output wire [            Matches-1:0] match_o,
    output wire [Matches*OffsetWidth-1:0] offset_a_o,
    output wire [Matches*OffsetWidth-1:0] offset_b_o,
    output wire                           last_o
);
`ifndef __ICARUS__
  if (Width < 2) begin : gen_illegal_width
    $fatal(1, "bitmap_intersect: Width must be at least 2");
  end
  if (Matches < 1 || Matches > Width) begin : gen_illegal_matches
    $fatal(1, "bitmap_intersect: Matches must be in 1..Width");
  end
`endif

  // Prefix sums of logarithmic depth: for every element, the bits below it.
  function automatic [Width*OffsetWidth-1:0] ranks(input [Width-1:0] bits);
    ranks = '0;
    for (int i = 1; i < Width; i++) ranks[i*OffsetWidth] = bits[i-1];
    for (int distance = 1; distance < Width; distance = 2 * distance) begin
      for (int i = Width - 1; i > distance; i--) begin
        ranks[i*OffsetWidth+:OffsetWidth] =
            ranks[i*OffsetWidth+:OffsetWidth] + ranks[(i-distance)*OffsetWidth+:OffsetWidth];
      end
    end
  endfunction

  logic busy_q;
  logic [Width-1:0] bitmap_a_q, bitmap_b_q, pending_q;

  wire [Width*OffsetWidth-1:0] rank_a = ranks(bitmap_a_q);
  wire [Width*OffsetWidth-1:0] rank_b = ranks(bitmap_b_q);
  wire [Width*OffsetWidth-1:0] rank_pending = ranks(pending_q);

  logic [Matches-1:0] match;
  logic [Matches*OffsetWidth-1:0] offset_a, offset_b;
  logic [Width-1:0] rest;

  always_comb begin
    match = '0;
    offset_a = '0;
    offset_b = '0;
    rest = pending_q;
    for (int lane = 0; lane < Matches; lane++) begin
      for (int i = 0; i < Width; i++) begin
        if (pending_q[i] && rank_pending[i*OffsetWidth+:OffsetWidth] == OffsetWidth'(lane)) begin
          match[lane] = 1'b1;
          offset_a[lane*OffsetWidth+:OffsetWidth] = rank_a[i*OffsetWidth+:OffsetWidth];
          offset_b[lane*OffsetWidth+:OffsetWidth] = rank_b[i*OffsetWidth+:OffsetWidth];
          rest[i] = 1'b0;
        end
      end
    end
  end

  wire out_ready;
  wire last = rest == '0;
  wire take = valid_i & ready_o;
  wire done = out_ready & last;

  assign ready_o = ~busy_q | done;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) busy_q <= 1'b0;
    else busy_q <= take | (busy_q & ~done);
  end

  always_ff @(posedge clk_i) begin
    if (take) begin
      bitmap_a_q <= bitmap_a_i;
      bitmap_b_q <= bitmap_b_i;
      pending_q  <= bitmap_a_i & bitmap_b_i;
    end else if (out_ready) begin
      pending_q <= rest;
    end
  end

  stream_register #(
      .Width(Matches * (2 * OffsetWidth + 1) + 1)
  ) u_register (
      .clk_i,
      .rst_ni,
      .valid_i(busy_q),
      .ready_o(out_ready),
      .data_i ({last, match, offset_a, offset_b}),
      .valid_o,
      .ready_i,
      .data_o ({last_o, match_o, offset_a_o, offset_b_o})
  );

`ifdef PROVE_JOIN
  // Whatever tiles come and however both sides stall, matches out and tiles ended are those that came in.
  function automatic [7:0] ones(input [Width-1:0] bits);
    ones = '0;
    for (int i = 0; i < Width; i++) ones = ones + 8'(bits[i]);
  endfunction

  reg started = 1'b0;
  reg [7:0] matches_q, tiles_q;
  wire give = valid_o & ready_i;
  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      matches_q <= '0;
      tiles_q   <= '0;
    end else begin
      matches_q <= matches_q + (take ? ones(bitmap_a_i & bitmap_b_i) : '0) - (give ? ones(Width'(match_o)) : '0);
      tiles_q   <= tiles_q + 8'(take) - 8'(give & last_o);
    end
  end
  always_ff @(posedge clk_i) begin
    started <= 1'b1;
    assume (started || !rst_ni);
    if (started && rst_ni) begin
      assert (matches_q == (busy_q ? ones(pending_q) : '0) + (valid_o ? ones(Width'(match_o)) : '0));
      assert (tiles_q == 8'(busy_q) + 8'(valid_o & last_o));
      if (busy_q) assert (pending_q != '0 || (bitmap_a_q & bitmap_b_q) == '0);
      if (busy_q) assert ((pending_q & ~(bitmap_a_q & bitmap_b_q)) == '0);
      if (valid_o && match_o == '0) assert (last_o);
    end
  end
`endif
endmodule

`default_nettype wire
