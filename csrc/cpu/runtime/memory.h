// Aligned working memory that the next solve finds again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

namespace wbm {

// Blocks are 64-byte aligned and not initialised; large ones lie on huge pages where the system grants them (a pass over a
// matrix by small pages waits for address translations). What is given back stays with the thread, up to 64 MiB: the system
// clears each page that it hands out, which takes as long as several passes.
struct Block {
  void* address = nullptr;
  std::size_t bytes = 0;
};
Block take_block(std::size_t bytes);
void give_back(Block block) noexcept;

template <typename S>
class Array {
 public:
  Array() = default;
  explicit Array(std::int64_t count) : block_(take_block(static_cast<std::size_t>(count) * sizeof(S))) {}
  Array(Array&& other) noexcept : block_(std::exchange(other.block_, {})) {}
  Array& operator=(Array&& other) noexcept {
    std::swap(block_, other.block_);
    return *this;
  }
  ~Array() { give_back(block_); }

  S* data() const { return static_cast<S*>(block_.address); }
  S& operator[](std::int64_t k) const { return data()[k]; }

 private:
  Block block_;
};

}  // namespace wbm
