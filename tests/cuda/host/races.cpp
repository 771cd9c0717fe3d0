#include "races.h"

#include <iterator>
#include <map>
#include <set>
#include <vector>

namespace cuda_on_cpu {
namespace {

struct Cell {
  Stamp written, read[2];
  bool known = false;
};
struct Range {
  std::uintptr_t end;
  std::string name;
  std::vector<Cell> cells;
};

std::map<std::uintptr_t, Range> ranges;  // by the first byte
std::map<std::uintptr_t, Range>::iterator last = ranges.end();
std::set<std::string> seen;
std::string found_faults;
std::int64_t count = 0;
int unwatched = 0;

std::map<std::uintptr_t, Range>::iterator find(std::uintptr_t address) {
  if (last != ranges.end() && address >= last->first && address < last->second.end) return last;
  auto found = ranges.upper_bound(address);
  if (found == ranges.begin()) return ranges.end();
  --found;
  return address < found->second.end ? last = found : ranges.end();
}

bool ordered(const Stamp& before, const Stamp& after) {
  if (before.thread < 0 || before.launch != after.launch) return true;
  if (before.block != after.block) return before.wide_barriers < after.wide_barriers;
  return before.thread == after.thread || before.block_barriers < after.block_barriers;
}

void report(const char* kind, const std::string& name, std::size_t place, const Stamp& one, const Stamp& other) {
  if (!seen.insert(kind + name).second) return;
  const auto who = [](const Stamp& s) { return "block " + std::to_string(s.block) + " thread " + std::to_string(s.thread); };
  found_faults += std::string(kind) + " of " + name + " at byte " + std::to_string(place) + ": " + who(one) + ", " + who(other) + "\n";
}

}  // namespace

void watch(const void* begin, std::size_t bytes, const std::string& name, bool written) {
#ifdef WBM_WATCH_ACCESSES
  constexpr bool watching = true;
#else
  constexpr bool watching = false;
#endif
  const auto first = reinterpret_cast<std::uintptr_t>(begin);
  if (!watching || !bytes) return;
  for (auto range = ranges.begin(); range != ranges.end();)
    range = range->first < first + bytes && first < range->second.end ? ranges.erase(range) : std::next(range);
  last = ranges.end();
  Cell fresh;
  fresh.known = written;
  ranges[first] = {first + bytes, name, std::vector<Cell>(bytes, fresh)};
}

void forget_watched() {
  ranges.clear();
  last = ranges.end();
  seen.clear();
  found_faults.clear();
  count = 0;
}

void touch(const void* begin, std::size_t bytes, bool writes, const Stamp& me) {
  if (unwatched) return;
  const auto address = reinterpret_cast<std::uintptr_t>(begin);
  const auto range = find(address);
  if (range == ranges.end()) return;
  if (me.thread < 0) return;
  ++count;
  const std::size_t first = address - range->first;
  bool known = writes;  // a structure is copied with the gaps between its fields, which nobody writes
  for (std::size_t k = first; k < first + bytes && k < range->second.cells.size(); ++k) {
    Cell& cell = range->second.cells[k];
    const std::string& name = range->second.name;
    if (!ordered(cell.written, me)) report(writes ? "two writes" : "write and read", name, k, cell.written, me);
    known |= cell.known;
    if (writes) {
      for (const Stamp& reader : cell.read)
        if (!ordered(reader, me)) report("read and write", name, k, reader, me);
      cell = {me, {}, true};
    } else if (cell.read[0].thread != me.thread || cell.read[0].block != me.block) {
      cell.read[1] = cell.read[0];
      cell.read[0] = me;
    } else {
      cell.read[0] = me;
    }
  }
  if (!known) report("read of what nobody wrote", range->second.name, first, me, me);
}

std::int64_t accesses() { return count; }
const std::string& faults() { return found_faults; }

Unwatched::Unwatched() { ++unwatched; }
Unwatched::~Unwatched() { --unwatched; }

}  // namespace cuda_on_cpu

// What -fsanitize=thread calls.
extern "C" {

#define WBM_HOOKS(bytes)                                                                          \
  void __tsan_read##bytes(void* at) { cuda_on_cpu::touch(at, bytes, false); }                      \
  void __tsan_write##bytes(void* at) { cuda_on_cpu::touch(at, bytes, true); }                      \
  void __tsan_unaligned_read##bytes(void* at) { cuda_on_cpu::touch(at, bytes, false); }            \
  void __tsan_unaligned_write##bytes(void* at) { cuda_on_cpu::touch(at, bytes, true); }            \
  void __tsan_volatile_read##bytes(void*) {}                                                       \
  void __tsan_volatile_write##bytes(void*) {}
WBM_HOOKS(1)
WBM_HOOKS(2)
WBM_HOOKS(4)
WBM_HOOKS(8)
WBM_HOOKS(16)
void __tsan_read_range(void* at, unsigned long bytes) { cuda_on_cpu::touch(at, bytes, false); }
void __tsan_write_range(void* at, unsigned long bytes) { cuda_on_cpu::touch(at, bytes, true); }
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_init() {}
void __tsan_vptr_update(void*, void*) {}
void __tsan_vptr_read(void*) {}
unsigned char __tsan_atomic8_load(const volatile unsigned char* at, int) { return *at; }

}  // extern "C"
