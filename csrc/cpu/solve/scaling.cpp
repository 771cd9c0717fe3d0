#include "cpu/solve/scaling.h"

#include "cpu/solve/stored_scaling.h"

namespace wbm {

template <typename T, typename S>
std::unique_ptr<Scaling> make_scaling(const View<T>& view, Team& team) {
  if (view.n * view.m * static_cast<std::int64_t>(sizeof(S)) > kLargest) return nullptr;
  return std::make_unique<StoredScaling<T, S>>(view, team);
}

template std::unique_ptr<Scaling> make_scaling<float, float>(const View<float>&, Team&);
template std::unique_ptr<Scaling> make_scaling<float, double>(const View<float>&, Team&);
template std::unique_ptr<Scaling> make_scaling<double, float>(const View<double>&, Team&);
template std::unique_ptr<Scaling> make_scaling<double, double>(const View<double>&, Team&);

}  // namespace wbm
