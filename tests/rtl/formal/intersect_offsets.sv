// SPDX-License-Identifier: Apache-2.0
// One tile through bitmap_intersect, however the sink stalls: beat after beat the lowest match not yet seen, with the
// number of A's and of B's bits below it, and the last one marked.
module intersect_offsets #(
    parameter int Width = 8
) (
    input wire clk_i,
    input wire [Width-1:0] bitmap_a_i,
    input wire [Width-1:0] bitmap_b_i,
    input wire ready_i
);
  localparam int OffsetWidth = $clog2(Width);
  reg reset_done = 1'b0, sent = 1'b0, ended = 1'b0;
  reg [Width-1:0] bitmap_a_q, bitmap_b_q, unseen_q;
  wire ready, valid, match, last;
  wire [OffsetWidth-1:0] offset_a, offset_b;

  bitmap_intersect #(
      .Width  (Width),
      .Matches(1)
  ) u_intersect (
      .clk_i,
      .rst_ni(reset_done),
      .valid_i(reset_done && !sent),
      .ready_o(ready),
      .bitmap_a_i,
      .bitmap_b_i,
      .valid_o(valid),
      .ready_i,
      .match_o(match),
      .offset_a_o(offset_a),
      .offset_b_o(offset_b),
      .last_o(last)
  );

  wire [Width-1:0] lowest = unseen_q & (~unseen_q + 1'b1);
  reg [OffsetWidth:0] below_a, below_b;
  integer i;
  always @* begin
    below_a = '0;
    below_b = '0;
    for (i = 0; i < Width; i = i + 1) begin
      if (lowest > (1 << i)) begin
        below_a = below_a + bitmap_a_q[i];
        below_b = below_b + bitmap_b_q[i];
      end
    end
  end

  always @(posedge clk_i) begin
    reset_done <= 1'b1;
    if (reset_done && !sent) begin
      assert (ready);
      sent <= 1'b1;
      bitmap_a_q <= bitmap_a_i;
      bitmap_b_q <= bitmap_b_i;
      unseen_q <= bitmap_a_i & bitmap_b_i;
    end
    if (sent && valid) begin
      assert (!ended);
      assert (match == (unseen_q != '0));
      assert (last == (unseen_q == lowest));
      assert ({1'b0, offset_a} == (match ? below_a : '0));
      assert ({1'b0, offset_b} == (match ? below_b : '0));
      if (ready_i) begin
        unseen_q <= unseen_q & ~lowest;
        ended <= last;
      end
    end
  end
endmodule
