// The rows of one jet, scaled once for all their edges, and the gradient of them.

#ifndef UCLUSTER_TUNE_SCALED_JET_H_
#define UCLUSTER_TUNE_SCALED_JET_H_

#include <vector>

#include "rows.h"

namespace ucluster_tune {

// scale x for the rows of one jet: some 25 kB in the published network, which stay in the cache.
template <typename T>
class ScaledJet {
 public:
  ScaledJet(const T* values, const T* scale, int64_t begin, int64_t end, int64_t n_channels)
      : begin_(begin), n_(n_channels), scaled_((end - begin) * n_channels) {
    for (int64_t row = begin; row < end; ++row) {
      const T* value = values + row * n_;
      T* scaled = scaled_.data() + (row - begin) * n_;
#pragma omp simd
      for (int64_t c = 0; c < n_; ++c) scaled[c] = value[c] * scale[c];
    }
  }

  const T* Row(int64_t row) const { return scaled_.data() + (row - begin_) * n_; }

  // Writes the row plus `shift` into `result` and returns that.
  const T* ShiftedRow(int64_t row, const T* shift, T* result) const {
    const T* scaled = Row(row);
#pragma omp simd
    for (int64_t c = 0; c < n_; ++c) result[c] = scaled[c] + shift[c];
    return result;
  }

 private:
  int64_t begin_, n_;
  std::vector<T> scaled_;
};

// The gradient of the scaled rows of one jet, added up edge by edge.
template <typename T>
class JetGradient {
 public:
  JetGradient(int64_t begin, int64_t end, int64_t n_channels)
      : begin_(begin), end_(end), n_(n_channels), d_scaled_((end - begin) * n_channels, T(0)) {}

  T* Row(int64_t row) { return d_scaled_.data() + (row - begin_) * n_; }

  // Writes the gradient of the rows before they were scaled, and adds that of the scale.
  void ToValues(const T* values, const T* scale, T* d_values, T* d_scale) {
    for (int64_t row = begin_; row < end_; ++row) {
      const T* value = values + row * n_;
      const T* d_scaled = Row(row);
      T* d_value = d_values + row * n_;
#pragma omp simd
      for (int64_t c = 0; c < n_; ++c) {
        d_value[c] = scale[c] * d_scaled[c];
        d_scale[c] += value[c] * d_scaled[c];
      }
    }
  }

 private:
  int64_t begin_, end_, n_;
  std::vector<T> d_scaled_;
};

}  // namespace ucluster_tune

#endif  // UCLUSTER_TUNE_SCALED_JET_H_
