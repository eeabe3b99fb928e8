// Linear layers of LANES samples side by side. Values are [unit][LANES], weights [output][input] as torch has them.
#pragma once

#include <algorithm>

#include "simd.h"

namespace paribus {

constexpr int DENSE_TILE = REGISTERS == 32 && PARTS == 1 ? 12 : REGISTERS / 2 / PARTS - 2 > 0 ? 6 : 2;

// y[o] = bias[o] + sum over i of w[o, i] x[i], for OT outputs whose rows of weights lie `row` apart, with inputs whose
// weights lie `next` apart. With rows and columns exchanged it is also the input gradient.
template <int OT>
ALWAYS_INLINE void dense_tile(long inputs, const float* __restrict x, const float* __restrict weights, long row, long next,
                              const float* bias, float* __restrict y) {
  V acc[OT][PARTS];
#pragma GCC unroll 16
  for (int o = 0; o < OT; ++o)
#pragma GCC unroll 8
    for (int v = 0; v < PARTS; ++v) acc[o][v] = all(bias ? bias[o] : 0.0f);
  for (long i = 0; i < inputs; ++i, x += LANES, weights += next) {
    V seen[PARTS];
#pragma GCC unroll 8
    for (int v = 0; v < PARTS; ++v) seen[v] = load(x + v * WIDTH);
#pragma GCC unroll 16
    for (int o = 0; o < OT; ++o) {
      const V w = all(weights[o * row]);
#pragma GCC unroll 8
      for (int v = 0; v < PARTS; ++v) acc[o][v] += w * seen[v];
    }
  }
#pragma GCC unroll 16
  for (int o = 0; o < OT; ++o)
#pragma GCC unroll 8
    for (int v = 0; v < PARTS; ++v) store(y + o * LANES + v * WIDTH, acc[o][v]);
}

inline void dense(long inputs, long outputs, const float* x, const float* weights, long row, long next, const float* bias,
                  float* y) {
  long o = 0;
  for (; o + DENSE_TILE <= outputs; o += DENSE_TILE)
    dense_tile<DENSE_TILE>(inputs, x, weights + o * row, row, next, bias ? bias + o : nullptr, y + o * LANES);
  for (; o + 4 <= outputs; o += 4) dense_tile<4>(inputs, x, weights + o * row, row, next, bias ? bias + o : nullptr, y + o * LANES);
  for (; o < outputs; ++o) dense_tile<1>(inputs, x, weights + o * row, row, next, bias ? bias + o : nullptr, y + o * LANES);
}

inline long padded(long inputs) { return (inputs + LANES - 1) / LANES * LANES; }

// turned[sample][input], rows of padded(inputs) floats, from x[input][sample].
inline void turn(long inputs, const float* x, float* turned) {
  const long row = padded(inputs);
  for (long begin = 0; begin < inputs; begin += LANES) {
    const long end = std::min(inputs, begin + LANES);
    for (int s = 0; s < LANES; ++s)
      for (long i = begin; i < end; ++i) turned[s * row + i] = x[i * LANES + s];
  }
}

constexpr int OUTER_ROWS = REGISTERS == 32 ? 6 : 4, OUTER_VECTORS = REGISTERS == 32 ? 4 : 2;

template <int OT, int VT>
ALWAYS_INLINE void outer_tile(long row, const float* __restrict turned, const float* __restrict dy, float* __restrict gradient) {
  V acc[OT][VT];
#pragma GCC unroll 8
  for (int o = 0; o < OT; ++o)
#pragma GCC unroll 8
    for (int v = 0; v < VT; ++v) acc[o][v] = load(gradient + o * row + v * WIDTH);
  for (int s = 0; s < LANES; ++s) {
    V seen[VT];
#pragma GCC unroll 8
    for (int v = 0; v < VT; ++v) seen[v] = load(turned + s * row + v * WIDTH);
#pragma GCC unroll 8
    for (int o = 0; o < OT; ++o) {
      const V d = all(dy[o * LANES + s]);
#pragma GCC unroll 8
      for (int v = 0; v < VT; ++v) acc[o][v] += d * seen[v];
    }
  }
#pragma GCC unroll 8
  for (int o = 0; o < OT; ++o)
#pragma GCC unroll 8
    for (int v = 0; v < VT; ++v) store(gradient + o * row + v * WIDTH, acc[o][v]);
}

template <int OT>
void outer_rows(long row, const float* turned, const float* dy, float* gradient) {
  long i = 0;
  for (; i + OUTER_VECTORS * WIDTH <= row; i += OUTER_VECTORS * WIDTH)
    outer_tile<OT, OUTER_VECTORS>(row, turned + i, dy, gradient + i);
  for (; i < row; i += WIDTH) outer_tile<OT, 1>(row, turned + i, dy, gradient + i);
}

// gradient[o, i] += sum over samples of dy[o] x[i]; the gradient's rows are padded(inputs) apart, as those of `turned`.
inline void dense_weight_gradient(long inputs, long outputs, const float* turned, const float* dy, float* gradient) {
  const long row = padded(inputs);
  long o = 0;
  for (; o + OUTER_ROWS <= outputs; o += OUTER_ROWS) outer_rows<OUTER_ROWS>(row, turned, dy + o * LANES, gradient + o * row);
  for (; o + 2 <= outputs; o += 2) outer_rows<2>(row, turned, dy + o * LANES, gradient + o * row);
  for (; o < outputs; ++o) outer_rows<1>(row, turned, dy + o * LANES, gradient + o * row);
}

}  // namespace paribus
