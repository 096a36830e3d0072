// SPDX-License-Identifier: Apache-2.0
// Scratchpad hash of row-wise sparse products: adds up the values of equal keys, then drains the row's pairs.
//
// A beat in brings a pair when insert_i is high, and ends the row when last_i is high (a beat may do either, both or
// neither). The key's low bits name its first slot; taken slots are passed by one a cycle, wrapping (linear probing),
// until the key or a free slot is found. A hit adds the signed value to the slot's sum, which wraps modulo
// 2**AccWidth. A pair that finds neither in Depth probes is lost and raises overflow_o with all beats of its row.
// The row drains in ascending slots, one pair a cycle, last_o with the last of them, and leaves the table empty; a row
// that brought no pair gives one beat with entry_o low and key and sum zero. While a row drains, one beat of the next
// waits. The table is read and written in the same cycle (registers, not a block memory). It does not grow, does not
// sort by key, and a lost pair cannot be had back.
`default_nettype none

module spad_hash_accumulate #(
    parameter int Depth      = 16,
    parameter int KeyWidth   = 8,
    parameter int ValueWidth = 8,
    parameter int AccWidth   = 32
) (
    input  wire                  clk_i,
    input  wire                  rst_ni,
    input  wire                  valid_i,
    output wire                  ready_o,
    input  wire                  insert_i,
    input  wire                  last_i,
    input  wire [  KeyWidth-1:0] key_i,
    input  wire [ValueWidth-1:0] value_i,
    output wire                  valid_o,
    input  wire                  ready_i,
    output wire                  entry_o,
    output wire                  last_o,
    output wire                  overflow_o,
    output wire [  KeyWidth-1:0] key_o,
    output wire [  AccWidth-1:0] sum_o
);
  localparam int SlotWidth = $clog2(Depth);

`ifndef __ICARUS__
  if (Depth < 2 || Depth != 1 << $clog2(Depth)) begin : gen_illegal_depth
    $fatal(1, "spad_hash_accumulate: Depth must be a power of two, 2 or more");
  end
  if (KeyWidth < $clog2(Depth)) begin : gen_illegal_key_width
    $fatal(1, "spad_hash_accumulate: KeyWidth must name every slot");
  end
  if (AccWidth < ValueWidth) begin : gen_illegal_acc_width
    $fatal(1, "spad_hash_accumulate: AccWidth must hold a value");
  end
`endif

  // The pair in hand.
  logic pair_valid_q, insert_q, last_q;
  logic [KeyWidth-1:0] key_q;
  logic [ValueWidth-1:0] value_q;

  // The table.
  logic [Depth-1:0] used_q;
  logic [KeyWidth-1:0] keys[Depth];
  logic [AccWidth-1:0] sums[Depth];
  logic draining_q, overflow_q;

  // Probing.
  logic [SlotWidth-1:0] probe_q;
  wire [SlotWidth-1:0] slot = key_q[SlotWidth-1:0] + probe_q;
  wire used = used_q[slot];
  wire found = ~used | (keys[slot] == key_q);
  wire probing = pair_valid_q & ~draining_q;
  wire store = probing & insert_q & found;
  wire lost = probing & insert_q & ~found & (&probe_q);
  wire done = probing & (~insert_q | found | (&probe_q));
  wire take = valid_i & ready_o;
  wire signed [AccWidth-1:0] base = used ? sums[slot] : '0;
  wire signed [AccWidth-1:0] total = base + AccWidth'($signed(value_q));

  assign ready_o = ~pair_valid_q | done;

  // Draining: the lowest slot in use.
  wire out_ready;
  wire [Depth-1:0] lowest = used_q & (~used_q + 1'b1);
  wire [Depth-1:0] rest = used_q & ~lowest;
  wire entry = used_q != '0;
  wire last = rest == '0;
  wire drain = draining_q & out_ready;
  logic [SlotWidth-1:0] drained;

  always_comb begin
    drained = '0;
    for (int i = 0; i < Depth; i++) if (lowest[i]) drained = drained | SlotWidth'(i);
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      pair_valid_q <= 1'b0;
      probe_q      <= '0;
      used_q       <= '0;
      draining_q   <= 1'b0;
      overflow_q   <= 1'b0;
    end else begin
      pair_valid_q <= take | (pair_valid_q & ~done);
      if (probing) probe_q <= done ? '0 : probe_q + 1'b1;
      if (store) used_q[slot] <= 1'b1;
      if (lost) overflow_q <= 1'b1;
      if (done && last_q) draining_q <= 1'b1;
      if (drain) begin
        used_q <= rest;
        if (last) begin
          draining_q <= 1'b0;
          overflow_q <= 1'b0;
        end
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (take) begin
      insert_q <= insert_i;
      last_q   <= last_i;
      key_q    <= key_i;
      value_q  <= value_i;
    end
    if (store) begin
      keys[slot] <= key_q;
      sums[slot] <= total;
    end
  end

  stream_register #(
      .Width(KeyWidth + AccWidth + 3)
  ) u_register (
      .clk_i,
      .rst_ni,
      .valid_i(draining_q),
      .ready_o(out_ready),
      .data_i({
        entry, last, overflow_q, entry ? keys[drained] : {KeyWidth{1'b0}}, entry ? sums[drained] : {AccWidth{1'b0}}
      }),
      .valid_o,
      .ready_i,
      .data_o({entry_o, last_o, overflow_o, key_o, sum_o})
  );
endmodule

`default_nettype wire
