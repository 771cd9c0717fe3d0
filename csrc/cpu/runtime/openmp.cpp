#include "cpu/runtime/openmp.h"

#include "cpu/runtime/processors.h"
#include "cpu/runtime/spin_wait.h"

#if defined(__linux__) && !defined(__SANITIZE_THREAD__)  // the sanitizer does not know libgomp's barriers
#define WBM_OPENMP
#include <dlfcn.h>
#include <link.h>

#include <cstdio>
#include <cstring>
#endif

namespace wbm {
namespace {

// libgomp's own entry points: a region is opened with `start`, of which all threads but the caller run `body`, and left with
// `end`, where the caller waits for them.
struct LibGomp {
  void (*start)(void (*body)(void*), void* data, unsigned threads) = nullptr;
  void (*end)() = nullptr;
  int (*max_threads)() = nullptr;
  int (*in_parallel)() = nullptr;
};

#ifdef WBM_OPENMP
// A process that was forked and has not started another program since may have inherited the state of workers that it does
// not have.
bool inherited() {
  constexpr unsigned kForkedNoExec = 0x40;  // PF_FORKNOEXEC of the kernel
  std::FILE* file = std::fopen("/proc/self/stat", "r");
  if (!file) return true;
  char text[512];
  text[std::fread(text, 1, sizeof text - 1, file)] = '\0';
  std::fclose(file);
  const char* after_name = std::strrchr(text, ')');
  unsigned flags;
  if (!after_name || std::sscanf(after_name + 1, " %*c %*d %*d %*d %*d %*d %u", &flags) != 1) return true;
  return flags & kForkedNoExec;
}

void* symbol(void* library, const char* name) {
  void* found = dlsym(RTLD_DEFAULT, name);  // what a global library provides comes first, for torch as for us
  if (!found) found = dlsym(library, name);
  Dl_info info;
  const bool known = found && dladdr(found, &info) && info.dli_fname && std::strstr(info.dli_fname, "libgomp");
  return known ? found : nullptr;
}

// The libgomp that torch is linked with: others may be loaded beside it.
LibGomp find() {
  LibGomp out;
  const char* torch = nullptr;
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* path) {
        if (!std::strstr(info->dlpi_name, "libtorch_cpu.so")) return 0;
        *static_cast<const char**>(path) = info->dlpi_name;
        return 1;
      },
      &torch);
  void* library = torch && !inherited() ? dlopen(torch, RTLD_LAZY | RTLD_NOLOAD) : nullptr;
  if (!library) return out;
  const auto set = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::decay_t<decltype(function)>>(symbol(library, name));
    return function != nullptr;
  };
  const bool complete = set(out.start, "GOMP_parallel_start") && set(out.end, "GOMP_parallel_end") &&
                        set(out.max_threads, "omp_get_max_threads") && set(out.in_parallel, "omp_in_parallel");
  return complete ? out : LibGomp();  // the handle keeps the library loaded
}
#else
LibGomp find() { return {}; }
#endif

const LibGomp& gomp() {
  static const LibGomp found = find();
  return found;
}

}  // namespace

bool OpenMpRegion::available(int threads) {
  return gomp().start && gomp().max_threads() == threads && !gomp().in_parallel() && !forked();
}

OpenMpRegion::OpenMpRegion(int threads) {
  loop_.open(threads - 1);
  const Clock::time_point begun = Clock::now();
  gomp().start(work, this, static_cast<unsigned>(threads));
  note_wait(Clock::now() - begun, {});
}

OpenMpRegion::~OpenMpRegion() {
  closing_.store(true, std::memory_order_relaxed);
  const Clock::time_point begun = Clock::now();
  gomp().end();
  note_wait(Clock::now() - begun, {});
}

void OpenMpRegion::work(void* data) {
  OpenMpRegion& region = *static_cast<OpenMpRegion*>(data);
  const FloatingMode before = FloatingMode::of_this_thread();
  for (SpinWait wait; wait.brief() && !region.closing_.load(std::memory_order_relaxed);) {
    if (region.loop_.take_part(1))
      wait = SpinWait();
    else
      wait.pause();
  }
  region.left_.store(true, std::memory_order_relaxed);
  before.enter();
}

}  // namespace wbm
