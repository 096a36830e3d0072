// SPDX-License-Identifier: Apache-2.0
// Ready/valid FIFO of Depth beats, any Depth >= 1.
//
// A beat taken in cycle t is offered from cycle t + 1 on, behind those before it. ready_o is registered: a full FIFO
// that gives a beat takes the next one a cycle later, so Depth 1 moves a beat every other cycle. It has no
// fall-through and no fill level output.
`default_nettype none

module stream_fifo #(
    parameter int Width = 8,
    parameter int Depth = 4
) (
    input  wire             clk_i,
    input  wire             rst_ni,
    input  wire             valid_i,
    output wire             ready_o,
    input  wire [Width-1:0] data_i,
    output wire             valid_o,
    input  wire             ready_i,
    output wire [Width-1:0] data_o
);
  localparam int PointerWidth = Depth > 1 ? $clog2(Depth) : 1;
  localparam int CountWidth = $clog2(Depth + 1);
  localparam logic [PointerWidth-1:0] Last = PointerWidth'(Depth - 1);

`ifndef __ICARUS__
  if (Depth < 1) begin : gen_illegal_depth
    $fatal(1, "stream_fifo: Depth must be at least 1");
  end
`endif

  logic [Width-1:0] memory[Depth];
  logic [PointerWidth-1:0] write_q, read_q;
  logic [CountWidth-1:0] count_q;
  wire take = valid_i & ready_o;
  wire give = valid_o & ready_i;

  assign ready_o = count_q != CountWidth'(Depth);
  assign valid_o = count_q != '0;
  assign data_o  = memory[read_q];

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      write_q <= '0;
      read_q  <= '0;
      count_q <= '0;
    end else begin
      if (take) write_q <= write_q == Last ? '0 : write_q + 1'b1;
      if (give) read_q <= read_q == Last ? '0 : read_q + 1'b1;
      if (take && !give) count_q <= count_q + 1'b1;
      if (give && !take) count_q <= count_q - 1'b1;
    end
  end

  always_ff @(posedge clk_i) begin
    if (take) memory[write_q] <= data_i;
  end

`ifdef PROVE_ORDER
  // The environment sends 0, 1, 2, ...; the order of what comes out is what was lost, doubled or swapped.
  reg started = 1'b0;
  reg [Width-1:0] sent_q, received_q;
  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      sent_q     <= '0;
      received_q <= '0;
    end else begin
      if (take) sent_q <= sent_q + 1'b1;
      if (give) received_q <= received_q + 1'b1;
    end
  end
  wire [Width-1:0] load = sent_q - received_q;
  wire [PointerWidth:0] unwrapped = {1'b0, read_q} + (PointerWidth + 1)'(count_q);
  always_ff @(posedge clk_i) begin
    started <= 1'b1;
    assume (started || !rst_ni);
    assume (data_i == sent_q);
    if (started && rst_ni) begin
      assert (count_q <= CountWidth'(Depth));
      assert (load == Width'(count_q));
      assert (read_q <= Last && write_q <= Last);
      assert ({1'b0, write_q} == (unwrapped > {1'b0, Last} ? unwrapped - (PointerWidth + 1)'(Depth) : unwrapped));
      if (valid_o) assert (data_o == received_q);
    end
  end
  for (genvar i = 0; i < Depth; i++) begin : gen_slot
    wire [PointerWidth:0] age = {1'b0, PointerWidth'(i)} + (i < read_q ? (PointerWidth + 1)'(Depth) : '0) - {1'b0, read_q};
    always_ff @(posedge clk_i) begin
      if (started && rst_ni && age < (PointerWidth + 1)'(count_q)) assert (memory[i] == received_q + Width'(age));
    end
  end
`endif
endmodule

`default_nettype wire
