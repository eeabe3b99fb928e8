// Convolution of LANES samples side by side: outputs, input gradients and weight gradients.
//
// Values are [channel][row][column][LANES]. A tile of OT output channels by PX neighbouring columns is held in
// registers while the sum over input channels and kernel runs; weights are broadcast one by one.
#pragma once

#include <algorithm>

#include "simd.h"

namespace paribus {

struct Window {  // A kernel, its steps and the border of zeros around the input.
  int height, width, down, right, above, left;
};

// What is done to `count` values from `x` to `y`, which may be the same.
typedef void (*Finish)(const float* x, float* y, long count);

struct Maps {
  int channels, height, width;
  long pixels() const { return long(height) * width; }
  long size() const { return channels * pixels(); }
};

constexpr int TILE_CHANNELS = REGISTERS == 32 || PARTS <= 2 ? 6 : 3;
constexpr int TILE_COLUMNS = REGISTERS == 32 && PARTS == 1 ? 4 : 1;

inline int tiles_of(int channels, int tile) { return (channels + tile - 1) / tile; }
// The first channel of a tile, when channels are spread evenly over the tiles.
inline int first_of(int index, int tiles, int channels) { return int(long(channels) * index / tiles); }

// Kernels as the loops below read them: for each tile of outputs [input][row][column][channels of the tile].
// `place(output, input)` is where a kernel begins in `weights`, -1 for none; `flip` turns kernels by 180 degrees.
template <typename Place>
void pack_kernels(const float* weights, float* packed, int outputs, int inputs, int area, bool flip, Place place) {
  const int tiles = tiles_of(outputs, TILE_CHANNELS);
  for (int tile = 0; tile < tiles; ++tile) {
    const int begin = first_of(tile, tiles, outputs), end = first_of(tile + 1, tiles, outputs);
    for (int input = 0; input < inputs; ++input)
      for (int k = 0; k < area; ++k)
        for (int output = begin; output < end; ++output) {
          const long at = place(output, input);
          *packed++ = at < 0 ? 0.0f : weights[at + (flip ? area - 1 - k : k)];
        }
  }
}

// KT is the number of kernel columns, from `from` on, 0 for `count` of them: a number known here is unrolled.
template <int OT, int PX, int KT>
ALWAYS_INLINE void correlate_tile(const Maps& in, const Maps& out, const Window& k, const float* __restrict x,
                                  const float* __restrict packed, const float* bias, float* __restrict y, int row,
                                  int column, int top, int bottom, int from, int count) {
  V acc[OT][PX][PARTS];
#pragma GCC unroll 8
  for (int o = 0; o < OT; ++o)
#pragma GCC unroll 8
    for (int p = 0; p < PX; ++p)
#pragma GCC unroll 8
      for (int v = 0; v < PARTS; ++v) acc[o][p][v] = all(bias ? bias[o] : 0.0f);
  const long step = long(k.right) * LANES;
  for (int c = 0; c < in.channels; ++c)
    for (int ky = top; ky < bottom; ++ky) {
      const long first = (long(c) * in.height + row * k.down - k.above + ky) * in.width + column * k.right - k.left;
      const float* value = x + (first + from) * LANES;
      const float* weight = packed + ((long(c) * k.height + ky) * k.width + from) * OT;
      const int columns = KT ? KT : count;
#pragma GCC unroll 5
      for (int kx = 0; kx < columns; ++kx, value += LANES, weight += OT) {
        V seen[PX][PARTS];
#pragma GCC unroll 8
        for (int p = 0; p < PX; ++p)
#pragma GCC unroll 8
          for (int v = 0; v < PARTS; ++v) seen[p][v] = load(value + p * step + v * WIDTH);
#pragma GCC unroll 8
        for (int o = 0; o < OT; ++o) {
          const V w = all(weight[o]);
#pragma GCC unroll 8
          for (int p = 0; p < PX; ++p)
#pragma GCC unroll 8
            for (int v = 0; v < PARTS; ++v) acc[o][p][v] += w * seen[p][v];
        }
      }
    }
#pragma GCC unroll 8
  for (int o = 0; o < OT; ++o)
#pragma GCC unroll 8
    for (int p = 0; p < PX; ++p)
#pragma GCC unroll 8
      for (int v = 0; v < PARTS; ++v)
        store(y + ((o * long(out.height) + row) * out.width + column + p) * LANES + v * WIDTH, acc[o][p][v]);
}

template <int OT, int PX>
ALWAYS_INLINE void correlate_columns(const Maps& in, const Maps& out, const Window& k, const float* x, const float* packed,
                                     const float* bias, float* y, int row, int column, int top, int bottom, int from, int count) {
  switch (count) {
    case 1: return correlate_tile<OT, PX, 1>(in, out, k, x, packed, bias, y, row, column, top, bottom, from, count);
    case 2: return correlate_tile<OT, PX, 2>(in, out, k, x, packed, bias, y, row, column, top, bottom, from, count);
    case 3: return correlate_tile<OT, PX, 3>(in, out, k, x, packed, bias, y, row, column, top, bottom, from, count);
    case 4: return correlate_tile<OT, PX, 4>(in, out, k, x, packed, bias, y, row, column, top, bottom, from, count);
    case 5: return correlate_tile<OT, PX, 5>(in, out, k, x, packed, bias, y, row, column, top, bottom, from, count);
    default: return correlate_tile<OT, PX, 0>(in, out, k, x, packed, bias, y, row, column, top, bottom, from, count);
  }
}

template <int OT>
void correlate_rows(const Maps& in, const Maps& out, const Window& k, const float* x, const float* packed,
                    const float* bias, float* y, Finish finish) {
  const int inner = std::min(out.width, (k.left + k.right - 1) / k.right);
  const int reach = in.width - k.width + k.left;  // The last column where the whole kernel is inside, times `right`.
  const int outer = std::max(inner, std::min(out.width, reach < 0 ? 0 : reach / k.right + 1));
  const int strips = tiles_of(outer - inner, TILE_COLUMNS);
  for (int row = 0; row < out.height; ++row) {
    const int above = row * k.down - k.above;
    const int top = std::max(0, -above), bottom = std::min(k.height, in.height - above);
    auto border = [&](int column) {
      const int before = column * k.right - k.left;
      const int from = std::max(0, -before), to = std::min(k.width, in.width - before);
      correlate_columns<OT, 1>(in, out, k, x, packed, bias, y, row, column, top, bottom, from, std::max(0, to - from));
    };
    for (int column = 0; column < inner; ++column) border(column);
    for (int strip = 0; strip < strips; ++strip) {
      const int column = inner + first_of(strip, strips, outer - inner);
      switch (inner + first_of(strip + 1, strips, outer - inner) - column) {
        case 1: correlate_columns<OT, 1>(in, out, k, x, packed, bias, y, row, column, top, bottom, 0, k.width); break;
        case 2: correlate_columns<OT, std::min(2, TILE_COLUMNS)>(in, out, k, x, packed, bias, y, row, column, top, bottom, 0, k.width); break;
        case 3: correlate_columns<OT, std::min(3, TILE_COLUMNS)>(in, out, k, x, packed, bias, y, row, column, top, bottom, 0, k.width); break;
        default: correlate_columns<OT, TILE_COLUMNS>(in, out, k, x, packed, bias, y, row, column, top, bottom, 0, k.width);
      }
    }
    for (int column = outer; column < out.width; ++column) border(column);
    for (int o = 0; finish && o < OT; ++o) {
      float* done = y + (o * long(out.height) + row) * out.width * LANES;
      finish(done, done, long(out.width) * LANES);
    }
  }
}

// y = bias + packed kernels over x, each row finished while it is near. `bias` and `finish` may be null.
inline void correlate(const Maps& in, const Maps& out, const Window& k, const float* x, const float* packed,
                      const float* bias, float* y, Finish finish = nullptr) {
  const int tiles = tiles_of(out.channels, TILE_CHANNELS);
  for (int tile = 0; tile < tiles; ++tile) {
    const int begin = first_of(tile, tiles, out.channels), count = first_of(tile + 1, tiles, out.channels) - begin;
    const float* weights = packed + long(begin) * in.channels * k.height * k.width;
    const float* biases = bias ? bias + begin : nullptr;
    float* to = y + begin * out.pixels() * LANES;
    switch (count) {
      case 1: correlate_rows<1>(in, out, k, x, weights, biases, to, finish); break;
      case 2: correlate_rows<2>(in, out, k, x, weights, biases, to, finish); break;
      case 3: correlate_rows<3>(in, out, k, x, weights, biases, to, finish); break;
      case 4: correlate_rows<4>(in, out, k, x, weights, biases, to, finish); break;
      case 5: correlate_rows<5>(in, out, k, x, weights, biases, to, finish); break;
      default: correlate_rows<6>(in, out, k, x, weights, biases, to, finish);
    }
  }
}

// The input gradient where steps are above 1: every input pixel gathers from the outputs that saw it.
// `packed` holds, for each tile of input channels, [output][row][column][channels of the tile], not flipped.
template <int OT>
void gather_rows(const Maps& in, const Maps& out, const Window& k, const float* dy, const float* packed, float* dx) {
  for (int row = 0; row < in.height; ++row)
    for (int column = 0; column < in.width; ++column) {
      V acc[OT][PARTS] = {};
      for (int ky = (row + k.above) % k.down; ky < k.height; ky += k.down) {
        const int from_row = (row + k.above - ky) / k.down;
        if (row + k.above < ky || from_row >= out.height) continue;
        for (int kx = (column + k.left) % k.right; kx < k.width; kx += k.right) {
          const int from_column = (column + k.left - kx) / k.right;
          if (column + k.left < kx || from_column >= out.width) continue;
          const float* value = dy + (long(from_row) * out.width + from_column) * LANES;
          const float* weight = packed + (long(ky) * k.width + kx) * OT;
          for (int o = 0; o < out.channels; ++o) {
            for (int v = 0; v < PARTS; ++v) {
              const V seen = load(value + v * WIDTH);
#pragma GCC unroll 8
              for (int c = 0; c < OT; ++c) acc[c][v] += seen * weight[c];
            }
            value += out.pixels() * LANES;
            weight += long(k.height) * k.width * OT;
          }
        }
      }
      for (int c = 0; c < OT; ++c)
        for (int v = 0; v < PARTS; ++v)
          store(dx + ((c * long(in.height) + row) * in.width + column) * LANES + v * WIDTH, acc[c][v]);
    }
}

inline void gather_gradient(const Maps& in, const Maps& out, const Window& k, const float* dy, const float* packed,
                            float* dx) {
  const int tiles = tiles_of(in.channels, TILE_CHANNELS);
  for (int tile = 0; tile < tiles; ++tile) {
    const int begin = first_of(tile, tiles, in.channels), count = first_of(tile + 1, tiles, in.channels) - begin;
    const float* weights = packed + long(begin) * out.channels * k.height * k.width;
    float* to = dx + begin * in.pixels() * LANES;
    switch (count) {
      case 1: gather_rows<1>(in, out, k, dy, weights, to); break;
      case 2: gather_rows<2>(in, out, k, dy, weights, to); break;
      case 3: gather_rows<3>(in, out, k, dy, weights, to); break;
      case 4: gather_rows<4>(in, out, k, dy, weights, to); break;
      case 5: gather_rows<5>(in, out, k, dy, weights, to); break;
      default: gather_rows<6>(in, out, k, dy, weights, to);
    }
  }
}

constexpr int GRADIENT_TAPS = 5;                            // Neighbouring places of a kernel held in registers at once.
constexpr int GRADIENT_CHANNELS = REGISTERS == 32 ? 4 : 2;  // Output channels held in registers at once.

// Adds to lanes[OT][input][row][column][WIDTH] the products of KT places of a kernel over some rows of dy: neighbours in a row, or,
// where the kernel is one column wide, in its column. If BIASED, adds the errors to bias_lanes[OT][WIDTH] as well.
template <int OT, int KT, bool NARROW, bool BIASED>
ALWAYS_INLINE void weight_tile(const Maps& in, const Maps& out, const Window& k, const float* __restrict x,
                               const float* __restrict dy, float* __restrict lanes, float* __restrict bias_lanes, int row, int end) {
  const long next = NARROW ? long(in.width) * LANES : LANES;
  const long area = long(k.height) * k.width, next_kernel = in.channels * area * WIDTH, next_map = out.pixels() * LANES;
  V acc[OT][KT], total[OT];
#pragma GCC unroll 8
  for (int o = 0; o < OT; ++o) total[o] = BIASED ? load(bias_lanes + o * WIDTH) : V{};
#pragma GCC unroll 8
  for (int o = 0; o < OT; ++o)
#pragma GCC unroll 8
    for (int i = 0; i < KT; ++i) acc[o][i] = load(lanes + o * next_kernel + i * WIDTH);
  for (; row < end; ++row) {
    const float* value = x + long(row) * k.down * in.width * LANES;
    const float* error = dy + long(row) * out.width * LANES;
    for (int column = 0; column < out.width; ++column, error += LANES, value += k.right * LANES)
#pragma GCC unroll 8
      for (int v = 0; v < PARTS; ++v) {
        V d[OT];
#pragma GCC unroll 8
        for (int o = 0; o < OT; ++o) d[o] = load(error + o * next_map + v * WIDTH);
#pragma GCC unroll 8
        for (int o = 0; BIASED && o < OT; ++o) total[o] += d[o];
#pragma GCC unroll 8
        for (int i = 0; i < KT; ++i) {
          const V seen = held(value + i * next + v * WIDTH);
#pragma GCC unroll 8
          for (int o = 0; o < OT; ++o) acc[o][i] += d[o] * seen;
        }
      }
  }
#pragma GCC unroll 8
  for (int o = 0; o < OT; ++o)
#pragma GCC unroll 8
    for (int i = 0; i < KT; ++i) store(lanes + o * next_kernel + i * WIDTH, acc[o][i]);
#pragma GCC unroll 8
  for (int o = 0; BIASED && o < OT; ++o) store(bias_lanes + o * WIDTH, total[o]);
}

template <int OT, int KT, bool NARROW>
ALWAYS_INLINE void weight_taps(const Maps& in, const Maps& out, const Window& k, const float* x, const float* dy, float* lanes,
                               float* bias_lanes, int row, int end) {
  if (bias_lanes) weight_tile<OT, KT, NARROW, true>(in, out, k, x, dy, lanes, bias_lanes, row, end);
  else weight_tile<OT, KT, NARROW, false>(in, out, k, x, dy, lanes, bias_lanes, row, end);
}

template <int OT, bool NARROW>
void weight_rows(const Maps& in, const Maps& out, const Window& k, const float* x, const float* dy, float* lanes,
                 float* bias_lanes, int row, int end) {
  const int lines = NARROW ? 1 : k.height, taps = NARROW ? k.height : k.width, tiles = tiles_of(taps, GRADIENT_TAPS);
  for (int c = 0; c < in.channels; ++c)
    for (int ky = 0; ky < lines; ++ky)
      for (int tile = 0; tile < tiles; ++tile) {
        const int begin = first_of(tile, tiles, taps);
        const int down = NARROW ? begin : ky, right = NARROW ? 0 : begin;
        const float* from = x + ((long(c) * in.height + down) * in.width + right) * LANES;
        float* to = lanes + ((long(c) * lines + ky) * taps + begin) * WIDTH;
        float* biases = c + ky + tile == 0 ? bias_lanes : nullptr;
        switch (first_of(tile + 1, tiles, taps) - begin) {
          case 1: weight_taps<OT, 1, NARROW>(in, out, k, from, dy, to, biases, row, end); break;
          case 2: weight_taps<OT, 2, NARROW>(in, out, k, from, dy, to, biases, row, end); break;
          case 3: weight_taps<OT, 3, NARROW>(in, out, k, from, dy, to, biases, row, end); break;
          case 4: weight_taps<OT, 4, NARROW>(in, out, k, from, dy, to, biases, row, end); break;
          default: weight_taps<OT, 5, NARROW>(in, out, k, from, dy, to, biases, row, end);
        }
      }
}

// Adds the kernels' gradients to lanes[output][input][row][column][WIDTH], whose WIDTH partial sums are still apart,
// and, unless null, the biases' to bias_lanes[output][WIDTH]. `x` has its border of zeros around it already (`in` counts it).
template <bool NARROW>
void weight_gradient(const Maps& in, const Maps& out, const Window& k, const float* x, const float* dy, float* lanes,
                     float* bias_lanes) {
  const int tiles = tiles_of(out.channels, GRADIENT_CHANNELS);
  const int rows = std::max(1, int(32768 / (long(out.width) * LANES * 4 * GRADIENT_CHANNELS)));  // They stay in L1.
  for (int tile = 0; tile < tiles; ++tile) {
    const int begin = first_of(tile, tiles, out.channels), count = first_of(tile + 1, tiles, out.channels) - begin;
    const float* error = dy + begin * out.pixels() * LANES;
    float* to = lanes + long(begin) * in.channels * k.height * k.width * WIDTH;
    float* biases = bias_lanes ? bias_lanes + begin * WIDTH : nullptr;
    for (int row = 0; row < out.height; row += rows) {
      const int end = std::min(out.height, row + rows);
      switch (count) {
        case 1: weight_rows<1, NARROW>(in, out, k, x, error, to, biases, row, end); break;
        case 2: weight_rows<2, NARROW>(in, out, k, x, error, to, biases, row, end); break;
        case 3: weight_rows<3, NARROW>(in, out, k, x, error, to, biases, row, end); break;
        default: weight_rows<4, NARROW>(in, out, k, x, error, to, biases, row, end);
      }
    }
  }
}

}  // namespace paribus
