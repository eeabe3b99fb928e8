// Vectors of floats, and the functions on them that networks need.
//
// Every value of a network is held for LANES samples side by side, so that all arithmetic is on whole vectors and no
// kernel cares about rows, borders or odd sizes. A group of LANES values is PARTS registers of WIDTH floats.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX512F__)
#define PARIBUS_WIDTH 16
#elif defined(__AVX2__)
#define PARIBUS_WIDTH 8
#else
#define PARIBUS_WIDTH 4
#endif
#define ALWAYS_INLINE inline __attribute__((always_inline))

namespace paribus {

constexpr int WIDTH = PARIBUS_WIDTH;
constexpr int LANES = 16;
constexpr int PARTS = LANES / WIDTH;
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int REGISTERS = 32;
#else
constexpr int REGISTERS = 16;
#endif

typedef float V __attribute__((vector_size(WIDTH * 4), may_alias));
typedef int32_t I __attribute__((vector_size(WIDTH * 4), may_alias));

ALWAYS_INLINE V load(const float* from) { return *reinterpret_cast<const V*>(from); }
// A load whose value stays in a register. Compilers that may read it again at each use do, and loads are what is scarce.
ALWAYS_INLINE V held(const float* from) {
  V value = load(from);
#if defined(__x86_64__)
  asm("" : "+v"(value));
#elif defined(__aarch64__)
  asm("" : "+w"(value));
#endif
  return value;
}
ALWAYS_INLINE void store(float* to, V value) { *reinterpret_cast<V*>(to) = value; }
// Subtracting a zero is no work for any value; adding one would be, as it turns -0 into 0.
ALWAYS_INLINE V all(float value) { return value - V{}; }
ALWAYS_INLINE V where(I mask, V yes, V no) { return mask ? yes : no; }
// In both, a NaN in `value` stays one.
ALWAYS_INLINE V at_most(V value, float bound) { return where(value > all(bound), all(bound), value); }
ALWAYS_INLINE V at_least(V value, float bound) { return where(value < all(bound), all(bound), value); }

// The coefficients below are fitted by benchmarks/engine/approximations.py, which prints the relative errors.

// c[0] t^(N-1) + ... + c[N-1].
template <int N>
ALWAYS_INLINE V polynomial(V t, const float (&c)[N]) {
  V value = all(c[0]);
#pragma GCC unroll 8
  for (int i = 1; i < N; ++i) value = value * t + c[i];
  return value;
}

// e^x. Below -87 it gives about 1e-38 instead of less; above 88 infinity is not reached, nor needed.
ALWAYS_INLINE V exponential(V x) {
  x = at_least(at_most(x, 88.0f), -87.0f);
  const V rounder = all(12582912.0f);  // 1.5 * 2^23: adding and subtracting it rounds to the nearest integer.
  V whole = (x * 1.44269504088896341f + rounder) - rounder;
  V rest = (x - whole * 0.693145751953125f) - whole * 1.428606765330187e-06f;
  constexpr float POWER[] = {0.00015345806605182588f, 0.0013399930903688073f, 0.009618489071726799f, 0.05550328642129898f,
                             0.24022646248340607f,    0.6931471824645996f,    1.0f};
  I exponent = (__builtin_convertvector(whole, I) + 127) << 23;
  return polynomial(rest * 1.44269504088896341f, POWER) * reinterpret_cast<V>(exponent);
}

// tanh(x) = x P(x^2) / Q(x^2), to 2e-8 before rounding, for |x| up to 9.02, beyond which it rounds to 1.
ALWAYS_INLINE V hyperbolic_tangent(V x) {
  x = at_least(at_most(x, 9.02f), -9.02f);
  constexpr float P[] = {1.3319321645610671e-08f, 2.0583702280418947e-05f, 0.0034940498881042004f, 0.1337973177433014f, 1.0f};
  constexpr float Q[] = {7.762133122923842e-07f, 0.0003283116384409368f, 0.02587113343179226f, 0.46713048219680786f, 1.0f};
  return x * polynomial(x * x, P) / polynomial(x * x, Q);
}

// erf(x) = x P(x^2) / Q(x^2), to 2e-8 before rounding, for |x| up to 3.93, beyond which it rounds to 1.
ALWAYS_INLINE V error_function(V x) {
  x = at_least(at_most(x, 3.93f), -3.93f);
  constexpr float P[] = {2.041909965555533e-06f, 0.0002847996656782925f, 0.0037794841919094324f,
                         0.052789900451898575f,  0.19078175723552704f,   1.1283791065216064f};
  constexpr float Q[] = {3.800297054112889e-05f, 0.0011651705717667937f, 0.014997199177742004f,
                         0.11425656080245972f,   0.5024086236953735f,    1.0f};
  return x * polynomial(x * x, P) / polynomial(x * x, Q);
}

// The sum of a vector's elements, in a fixed order.
ALWAYS_INLINE float sum(V value) {
  float parts[WIDTH];
  std::memcpy(parts, &value, sizeof(parts));
  for (int step = WIDTH / 2; step > 0; step /= 2)
    for (int i = 0; i < step; ++i) parts[i] += parts[i + step];
  return parts[0];
}

}  // namespace paribus
