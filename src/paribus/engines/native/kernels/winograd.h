// Convolution with fewer products: Winograd's minimal filtering along rows (Lavin and Gray 2016, in one dimension).
//
// A kernel row w of K weights and six neighbouring inputs d give SPAN = 7 - K outputs by six products, where the sum
// itself takes SPAN * K: y = join((Gw) * spread(d)), with polynomials evaluated at 0, 1, -1, 2, -2 and infinity. What is
// left at each of the six points is a convolution with a kernel one column wide, which correlate() computes.
// The backward passes are the exact transposes and share the transformed inputs and errors.
//
// Transformed maps are [point][channel][row][tile][LANES]; tile t stands for the outputs from column t * SPAN on.
#pragma once

#include "convolution.h"

namespace paribus {

constexpr int POINTS = 6;
constexpr double POINT[POINTS] = {0, 1, -1, 2, -2, 0};     // The last is infinity: only the highest power counts.
constexpr double DIVISOR[POINTS] = {4, -6, -6, 24, 24, 1};  // The product of a point's distances to the others.

// What weight `k` of `width` counts at a point: an entry of G.
inline double share_of(int point, int k, int width) {
  if (point == POINTS - 1) return k == width - 1;
  double power = 1;
  for (int i = 0; i < k; ++i) power *= POINT[point];
  return power / DIVISOR[point];
}

// The errors or outputs of a tile hold PARTS registers per column; the functions below are on one register of each.

ALWAYS_INLINE void spread(const V (&d)[POINTS], V (&t)[POINTS]) {
  const V even = d[4] - 4.0f * d[2], odd = d[3] - 4.0f * d[1];
  const V far_even = d[4] - d[2], far_odd = 2.0f * (d[3] - d[1]);
  t[0] = 4.0f * d[0] - 5.0f * d[2] + d[4];
  t[1] = even + odd;
  t[2] = even - odd;
  t[3] = far_even + far_odd;
  t[4] = far_even - far_odd;
  t[5] = 4.0f * d[1] - 5.0f * d[3] + d[5];
}

// The transpose of `spread`.
ALWAYS_INLINE void spread_back(const V (&t)[POINTS], V (&d)[POINTS]) {
  const V near_sum = t[1] + t[2], near_difference = t[1] - t[2], far_sum = t[3] + t[4], far_difference = 2.0f * (t[3] - t[4]);
  d[0] = 4.0f * t[0];
  d[1] = 4.0f * (t[5] - near_difference) - far_difference;
  d[2] = -5.0f * t[0] - 4.0f * near_sum - far_sum;
  d[3] = near_difference + far_difference - 5.0f * t[5];
  d[4] = t[0] + near_sum + far_sum;
  d[5] = t[5];
}

template <int SPAN>
ALWAYS_INLINE void join(const V (&s)[POINTS], V (&y)[SPAN]) {
  const V near_sum = s[1] + s[2], near_difference = s[1] - s[2], far_sum = s[3] + s[4], far_difference = s[3] - s[4];
#pragma GCC unroll 8
  for (int i = 0; i < SPAN; ++i) y[i] = (i % 2 ? near_difference : near_sum) + (i % 2 ? far_difference : far_sum) * float(1 << i);
  y[0] += s[0];
  y[SPAN - 1] += s[5];
}

// The transpose of `join`, at one point.
template <int SPAN, int POINT_INDEX>
ALWAYS_INLINE V join_back(const V (&g)[SPAN]) {
  if (POINT_INDEX == 0) return g[0];
  if (POINT_INDEX == POINTS - 1) return g[SPAN - 1];
  V even = g[0], odd = g[1] * float(POINT_INDEX > 2 ? 2 : 1);
#pragma GCC unroll 8
  for (int i = 2; i < SPAN; ++i) (i % 2 ? odd : even) += g[i] * float(POINT_INDEX > 2 ? 1 << i : 1);
  return POINT_INDEX % 2 ? even + odd : even - odd;
}

// One register of each of COUNT neighbouring columns of a row, zero for those beyond its ends.
template <int COUNT>
ALWAYS_INLINE void load_columns(const float* row, int first, int width, V (&to)[COUNT]) {
  const float* from = row + long(first) * LANES;
  if (first >= 0 && first + COUNT <= width) {
#pragma GCC unroll 8
    for (int i = 0; i < COUNT; ++i) to[i] = load(from + i * LANES);
  } else {
#pragma GCC unroll 8
    for (int i = 0; i < COUNT; ++i) to[i] = first + i >= 0 && first + i < width ? load(from + i * LANES) : V{};
  }
}

// Transforms `rows` rows of inputs of `width` columns, with `left` columns of zeros before the first. The points lie
// `plane` apart.
template <int SPAN>
void spread_rows(long rows, int width, int left, int tiles, const float* x, float* transformed, long plane) {
  for (long row = 0; row < rows; ++row, x += long(width) * LANES)
    for (int tile = 0; tile < tiles; ++tile) {
      const int first = tile * SPAN - left;
      float* to = transformed + (row * tiles + tile) * LANES;
      for (int v = 0; v < PARTS; ++v) {
        V d[POINTS], t[POINTS];
        load_columns(x + v * WIDTH, first, width, d);
        spread(d, t);
#pragma GCC unroll 8
        for (int i = 0; i < POINTS; ++i) store(to + i * plane + v * WIDTH, t[i]);
      }
    }
}

// The transpose of `spread_rows`.
template <int SPAN>
void spread_rows_back(long rows, int width, int left, int tiles, const float* transformed, long plane, float* dx) {
  std::memset(dx, 0, size_t(rows) * size_t(width) * LANES * 4);
  for (long row = 0; row < rows; ++row, dx += long(width) * LANES)
    for (int tile = 0; tile < tiles; ++tile) {
      const int first = tile * SPAN - left;
      const float* from = transformed + (row * tiles + tile) * LANES;
      for (int v = 0; v < PARTS; ++v) {
        V d[POINTS], t[POINTS];
#pragma GCC unroll 8
        for (int i = 0; i < POINTS; ++i) t[i] = load(from + i * plane + v * WIDTH);
        spread_back(t, d);
#pragma GCC unroll 8
        for (int i = 0; i < POINTS; ++i) {
          float* to = dx + (first + i) * LANES + v * WIDTH;
          if (first + i >= 0 && first + i < width) store(to, load(to) + d[i]);
        }
      }
    }
}

// One row of outputs of one channel from its sums [tile][LANES] at the six points.
template <int SPAN>
void join_row(int width, int tiles, const float* sums, long plane, float bias, float* y) {
  for (int tile = 0; tile < tiles; ++tile, sums += LANES, y += SPAN * LANES)
    for (int v = 0; v < PARTS; ++v) {
      V s[POINTS], outputs[SPAN];
#pragma GCC unroll 8
      for (int i = 0; i < POINTS; ++i) s[i] = load(sums + i * plane + v * WIDTH);
      join<SPAN>(s, outputs);
      const int inside = std::min(SPAN, width - tile * SPAN);
#pragma GCC unroll 8
      for (int i = 0; i < SPAN; ++i)
        if (i < inside) store(y + i * LANES + v * WIDTH, outputs[i] + bias);
    }
}

// Transforms `rows` rows of errors of `width` columns at one point.
template <int SPAN, int POINT_INDEX>
void join_rows_back(long rows, int width, int tiles, const float* dy, float* transformed) {
  for (long row = 0; row < rows; ++row, dy += long(width) * LANES)
    for (int tile = 0; tile < tiles; ++tile, transformed += LANES)
      for (int v = 0; v < PARTS; ++v) {
        V g[SPAN];
        load_columns(dy + v * WIDTH, tile * SPAN, width, g);
        store(transformed + v * WIDTH, join_back<SPAN, POINT_INDEX>(g));
      }
}

template <int SPAN>
void join_rows_back(int point, long rows, int width, int tiles, const float* dy, float* transformed) {
  switch (point) {
    case 0: return join_rows_back<SPAN, 0>(rows, width, tiles, dy, transformed);
    case 1: return join_rows_back<SPAN, 1>(rows, width, tiles, dy, transformed);
    case 2: return join_rows_back<SPAN, 2>(rows, width, tiles, dy, transformed);
    case 3: return join_rows_back<SPAN, 3>(rows, width, tiles, dy, transformed);
    case 4: return join_rows_back<SPAN, 4>(rows, width, tiles, dy, transformed);
    default: return join_rows_back<SPAN, 5>(rows, width, tiles, dy, transformed);
  }
}

}  // namespace paribus
