// The optimisers' updates, as torch.optim defines them, over all parameters at once.
#pragma once

#include <cmath>
#include <cstdint>

namespace paribus {

struct Optimizer {
  int32_t kind;  // 0 sgd, 1 adam, 2 adamw, 3 rmsprop, 4 adagrad
  int32_t nesterov;
  double momentum, weight_decay, beta1, beta2, alpha, epsilon;
};

// Step `step` counts from 1. `first` and `second` are the running averages, zero before the first step: momentum and
// squares. Gradients are changed only where weight decay is added to them, and not in place.
inline void update(const Optimizer& o, double lr, int64_t step, long count, float* __restrict w, const float* __restrict gradients,
                   float* __restrict first, float* __restrict second) {
  const float rate = float(lr), decay = float(o.weight_decay), momentum = float(o.momentum), epsilon = float(o.epsilon);
  if (o.kind == 0) {
    for (long i = 0; i < count; ++i) {
      const float g = gradients[i] + decay * w[i];
      const float velocity = momentum * first[i] + g;
      first[i] = velocity;
      w[i] -= rate * (momentum == 0.0f ? g : o.nesterov ? g + momentum * velocity : velocity);
    }
  } else if (o.kind == 1 || o.kind == 2) {
    const float beta1 = float(o.beta1), beta2 = float(o.beta2);
    const float rest1 = float(1 - o.beta1), rest2 = float(1 - o.beta2);
    const float size = float(lr / (1 - std::pow(o.beta1, double(step))));
    const float root = float(std::sqrt(1 - std::pow(o.beta2, double(step))));
    const float added = o.kind == 1 ? decay : 0.0f, kept = o.kind == 2 ? float(1 - lr * o.weight_decay) : 1.0f;
    for (long i = 0; i < count; ++i) {
      const float g = gradients[i] + added * w[i];
      first[i] = beta1 * first[i] + rest1 * g;
      second[i] = beta2 * second[i] + rest2 * g * g;
      w[i] = kept * w[i] - size * first[i] / (std::sqrt(second[i]) / root + epsilon);
    }
  } else if (o.kind == 3) {
    const float alpha = float(o.alpha), rest = float(1 - o.alpha);
    for (long i = 0; i < count; ++i) {
      const float g = gradients[i] + decay * w[i];
      second[i] = alpha * second[i] + rest * g * g;
      first[i] = momentum * first[i] + g / (std::sqrt(second[i]) + epsilon);
      w[i] -= rate * first[i];
    }
  } else {
    for (long i = 0; i < count; ++i) {
      const float g = gradients[i] + decay * w[i];
      second[i] += g * g;
      w[i] -= rate * g / (std::sqrt(second[i]) + epsilon);
    }
  }
}

}  // namespace paribus
