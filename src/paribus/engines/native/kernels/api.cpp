// What Python calls, through ctypes. paribus/engines/native/library.py declares the same structures and functions.
#include "network.h"
#include "optimizer.h"

#define API extern "C" __attribute__((visibility("default")))

namespace {

struct LayerSpec {
  int32_t kind, height, width, down, right, above, left, outputs, has_bias, in_place;
  float value;
  int32_t unused;
  const int32_t* connections;
};

enum Kind { CONVOLUTION, LINEAR, TANH, SCALED_TANH, RELU, SIGMOID, GELU, AVERAGE, MAXIMUM, TRAINABLE, CROP, DROPOUT };

std::unique_ptr<paribus::Layer> build(const LayerSpec& spec, paribus::Maps in, uint64_t number) {
  using namespace paribus;
  const Window window = {spec.height, spec.width, spec.down, spec.right, spec.above, spec.left};
  switch (spec.kind) {
    case CONVOLUTION: return convolution(in, spec.outputs, window, spec.has_bias, spec.connections);
    case LINEAR: return std::make_unique<Linear>(in, spec.outputs, spec.has_bias);
    case TANH: return activation<Tanh>(in);
    case SCALED_TANH: return activation<ScaledTanh>(in);
    case RELU: return activation<Relu>(in);
    case SIGMOID: return activation<Sigmoid>(in);
    case GELU: return std::make_unique<Gelu>(in);
    case AVERAGE: return std::make_unique<SumPooling>(in, window, false);
    case TRAINABLE: return std::make_unique<SumPooling>(in, window, true);
    case MAXIMUM: return std::make_unique<MaxPooling>(in, window);
    case CROP: return std::make_unique<Crop>(in, spec.height, spec.width);
    case DROPOUT: return std::make_unique<Dropout>(in, spec.value, number);
    default: return nullptr;
  }
}

}  // namespace

// Returns null where there is no memory, or a layer is unknown.
API void* paribus_create(const LayerSpec* specs, int32_t count, int32_t channels, int32_t height, int32_t width, float* weights,
                         float* gradients, int32_t threads) {
  try {
    const paribus::Maps input = {channels, height, width};
    paribus::Maps maps = input;
    std::vector<std::unique_ptr<paribus::Layer>> layers;
    for (int32_t i = 0; i < count; ++i) {
      auto layer = build(specs[i], maps, uint64_t(i));
      if (!layer) return nullptr;
      layer->in_place = specs[i].in_place;
      maps = layer->out;
      layers.push_back(std::move(layer));
    }
    return new paribus::Network(input, std::move(layers), weights, gradients, threads);
  } catch (const std::exception&) {
    return nullptr;
  }
}

API void paribus_destroy(void* network) { delete static_cast<paribus::Network*>(network); }

API int64_t paribus_parameters(const void* network) { return static_cast<const paribus::Network*>(network)->parameters(); }

// The gradients of one batch, and then, where `optimizer` is not null, one update of the weights.
API void paribus_step(void* network, const paribus::Source* source, float label_smoothing, int32_t training, uint64_t key,
                      const paribus::Optimizer* optimizer, double lr, int64_t step, float* weights, const float* gradients,
                      float* first, float* second, paribus::Sums* sums) {
  auto* net = static_cast<paribus::Network*>(network);
  *sums = net->differentiate(*source, label_smoothing, training, key);
  if (optimizer) paribus::update(*optimizer, lr, step, net->parameters(), weights, gradients, first, second);
}

API void paribus_predict(void* network, const paribus::Source* source, float* logits) {
  static_cast<paribus::Network*>(network)->predict(*source, logits);
}

// The best of these kernels that this processor can run: what the file name of a library ends in.
API const char* paribus_best() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("fma"))
    return "avx512";
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return "avx2";
#endif
  return "portable";
}
