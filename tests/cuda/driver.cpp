// A libcuda.so.1 for machines without a GPU: the calls that the CUDA executor makes, with the real kernels run by the emulator. Device
// memory is host memory that starts as NaN. Steered by the environment:
//   SSMOESR_EMULATED       nodevice, stub, old (a driver before 12.0), unknown (a GPU older than every image), turing
//   SSMOESR_EMULATED_FAIL  name:n:code  the n-th call of that name gives that code, 0: each
//   SSMOESR_EMULATED_TRACE file that gets one line per call
//   SSMOESR_EMULATED_LATE  numbers of the streams, in the order in which they were made, that do nothing before somebody waits for it; the
//                          others do everything at once. What is not waited for shows as old values.
#define SSMOESR_EMULATED
#include "kernels.cu"
#include <cstdarg>
#include <chrono>
#include <cstdlib>
#include <deque>
#include <mutex>

namespace {

typedef int Result;
typedef unsigned long long Pointer;
enum : Result { OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, STUB = 34, NO_DEVICE = 100, INVALID_CONTEXT = 201, NOT_FOUND = 500,
                LAUNCH_FAILED = 719, CAPTURING = 900 };

typedef void (*Kernel)(Call);
struct Function {
  const char *name;
  Kernel kernel;
  bool barriers;
};
Function functions[] = {
    {"conv", conv, false},
    {"conv_grouped", conv_grouped, false},
    {"conv_exact", conv_exact, true},
    {"conv_bf16", conv_bf16, true},
    {"conv_f16", conv_f16, true},
    {"group_norm", group_norm, true},
    {"channel_norm", channel_norm, false},
    {"batch_norm", batch_norm, false},
    {"activation", activation, false},
    {"add", add, false},
    {"scale_channels", scale_channels, false},
    {"affine", affine, false},
    {"timestep_embedding", timestep_embedding, false},
    {"codebook_index", codebook_index, false},
    {"codebook_lookup", codebook_lookup, false},
    {"copy_rows", copy_rows, false},
    {"pixel_shuffle", pixel_shuffle, false},
    {"upsample_nearest2", upsample_nearest2, false},
    {"max_pool2", max_pool2, false},
    {"gather_tokens", gather_tokens, false},
    {"scatter_tokens", scatter_tokens, false},
    {"attention", attention, true},
    {"attention_wide", attention_wide, true},
    {"rows_to_spectrum", rows_to_spectrum, false},
    {"turn_columns", turn_columns, false},
    {"filter_hidden", filter_hidden, false},
    {"filter_mask", filter_mask, false},
    {"spectrum_to_rows", spectrum_to_rows, false},
    {"fill", fill, false},
    {"copy_words", copy_words, false},
    {"cut", cut, false},
    {"blend_across", blend_across, false},
    {"blend_down", blend_down, false},
    {"check_finite", check_finite, false},
    {"step_field", step_field, false},
    {"enlarge", enlarge, false},
    {"ranges", ranges, true},
    {"read_codes", read_codes, false},
    {"colours", colours, false},
    {"enlarge_codes", enlarge_codes, false},
    {"write_plane", write_plane, false},
};

struct Launch {
  const Function *function;
  unsigned gx, gy, threads, shared;
  Call call;
};
struct Graph {
  std::vector<Launch> launches;
};
struct Stream {
  int number = 0;
  bool late = false;
  std::unique_ptr<Graph> captured;
  std::deque<std::function<Result()>> tasks;
  size_t queued = 0, done = 0;
};
// A moment of a stream: when so many of its tasks are done.
struct Event {
  Stream *stream = nullptr;
  size_t after = 0;
  double ms = 0;
};

std::recursive_mutex one;
std::map<std::string, int> counts;
Result lost = OK;
int the_context, the_module;
std::vector<Stream *> streams;
// Memory of the host that copies may use later.
std::map<uintptr_t, std::unique_ptr<std::vector<uint32_t>>> pinned;
thread_local void *current = nullptr;
thread_local bool capturing = false;

bool mode(const char *name) {
  const char *m = getenv("SSMOESR_EMULATED");
  return m && !strcmp(m, name);
}

// Counts and notes a call; what it has to answer where it is to fail.
Result call(const char *name, const char *format = "", ...) {
  std::lock_guard<std::recursive_mutex> hold(one);
  const int n = ++counts[name];
  if (const char *path = getenv("SSMOESR_EMULATED_TRACE")) {
    static FILE *file = fopen(path, "a");
    if (file) {
      va_list list;
      va_start(list, format);
      fprintf(file, "%s ", name);
      vfprintf(file, format, list);
      va_end(list);
      fputc('\n', file);
      fflush(file);
    }
  }
  if (const char *fail = getenv("SSMOESR_EMULATED_FAIL")) {
    char wanted[64];
    int number = 0, code = 0;
    if (sscanf(fail, "%63[^:]:%d:%d", wanted, &number, &code) == 3 && !strcmp(wanted, name) && (!number || n == number)) {
      // From 700 to 719, and unknown: the context is gone for good.
      if ((code >= 700 && code <= 719) || code == 999) lost = code;
      return code;
    }
  }
  return lost;
}
// As `call`, for calls that need a context and must not come while this thread captures.
Result plain(const char *name) {
  if (!current) return INVALID_CONTEXT;
  if (capturing) return CAPTURING;
  return call(name);
}

Result execute(const Launch &l) {
  std::lock_guard<std::recursive_mutex> hold(one);
  const std::string fault = emulator::run(l.function->name, l.function->barriers, l.gx, l.gy, l.threads, l.shared,
                                          [&] { l.function->kernel(l.call); });
  if (fault.empty()) return OK;
  fprintf(stderr, "emulated GPU: %s\n", fault.c_str());
  return lost = LAUNCH_FAILED;
}

emulator::Memory *memory_of(Pointer p, size_t bytes) {
  if (!bytes || p % 4 || bytes % 4) return nullptr;
  emulator::Memory *m = emulator::find((const float *)p);
  return m && m->holds((const float *)(p + bytes - 4)) ? m : nullptr;
}

bool is_pinned(const void *p, size_t bytes) {
  auto next = pinned.upper_bound((uintptr_t)p);
  if (next == pinned.begin()) return false;
  const auto &memory = std::prev(next);
  return (uintptr_t)p + bytes <= memory->first + memory->second->size() * 4;
}

// Does what a stream has to do, up to so many tasks.
Result reach(Stream *s, size_t count) {
  Result worst = OK;
  while (s->done < count && !s->tasks.empty()) {
    auto task = std::move(s->tasks.front());
    s->tasks.pop_front();
    s->done++;
    if (Result r = task()) worst = r;
  }
  return worst;
}
Result finish(Stream *s) { return reach(s, s->queued); }
void finish_all() {
  for (Stream *s : streams) finish(s);
}
Result enqueue(Stream *s, std::function<Result()> task) {
  std::lock_guard<std::recursive_mutex> hold(one);
  s->tasks.push_back(std::move(task));
  s->queued++;
  return s->late ? OK : finish(s);
}

}  // namespace

#define API extern "C" __attribute__((visibility("default"))) Result

API cuInit(unsigned) {
  if (mode("stub")) return STUB;
  if (mode("nodevice")) return NO_DEVICE;
  return call("cuInit");
}
API cuDriverGetVersion(int *v) { return *v = mode("old") ? 11040 : 12000, OK; }
API cuDeviceGetCount(int *n) { return *n = 1, call("cuDeviceGetCount"); }
API cuDeviceGet(int *d, int i) { return *d = i, i == 0 ? OK : 101; }
API cuDeviceGetName(char *s, int n, int) { return snprintf(s, n, "emulated GPU"), OK; }
API cuDeviceGetAttribute(int *v, int which, int) {
  // Compute capability.
  if (which == 75) return *v = mode("unknown") ? 2 : mode("turing") ? 7 : 9, OK;
  if (which == 76) return *v = mode("turing") ? 5 : 0, OK;
  return INVALID_VALUE;
}
API cuDevicePrimaryCtxRetain(void **c, int) { return *c = &the_context, call("cuDevicePrimaryCtxRetain"); }
API cuDevicePrimaryCtxRelease_v2(int) {
  std::lock_guard<std::recursive_mutex> hold(one);
  // With its last user all goes that was made in it.
  streams.clear();
  return call("cuDevicePrimaryCtxRelease");
}
API cuCtxSetCurrent(void *c) { return current = c, OK; }
API cuCtxGetCurrent(void **c) { return *c = current, OK; }
API cuMemGetInfo_v2(size_t *free, size_t *total) {
  std::lock_guard<std::recursive_mutex> hold(one);
  *free = *total = (size_t)4 << 30;
  for (auto &a : emulator::allocations) *free -= a.second->values.size() * 4;
  return plain("cuMemGetInfo");
}
API cuStreamCreate(Stream **s, unsigned) {
  if (Result r = plain("cuStreamCreate")) return r;
  std::lock_guard<std::recursive_mutex> hold(one);
  *s = new Stream;
  (*s)->number = (int)streams.size();
  if (const char *late = getenv("SSMOESR_EMULATED_LATE")) (*s)->late = strchr(late, '0' + (*s)->number);
  return streams.push_back(*s), OK;
}
API cuStreamSynchronize(Stream *s) {
  if (!current) return INVALID_CONTEXT;
  if (capturing) return CAPTURING;
  if (Result r = call("cuStreamSynchronize", "of %d", s->number)) return r;
  std::lock_guard<std::recursive_mutex> hold(one);
  finish(s);
  return lost;
}
API cuStreamWaitEvent(Stream *s, Event *e, unsigned) {
  if (!current) return INVALID_CONTEXT;
  if (Result r = call("cuStreamWaitEvent", "%d for %d", s->number, e->stream ? e->stream->number : -1)) return r;
  if (!e->stream) return OK;
  return enqueue(s, [of = e->stream, after = e->after] { return reach(of, after); });
}
API cuEventCreate(Event **e, unsigned) {
  if (Result r = plain("cuEventCreate")) return r;
  return *e = new Event, OK;
}
API cuEventRecord(Event *e, Stream *s) {
  if (!current) return INVALID_CONTEXT;
  if (Result r = call("cuEventRecord", "on %d", s->number)) return r;
  std::lock_guard<std::recursive_mutex> hold(one);
  e->stream = s;
  e->after = s->queued + 1;
  return enqueue(s, [e] {
    e->ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
    return OK;
  });
}
API cuEventSynchronize(Event *e) {
  if (Result r = plain("cuEventSynchronize")) return r;
  std::lock_guard<std::recursive_mutex> hold(one);
  if (e->stream) reach(e->stream, e->after);
  return lost;
}
API cuEventElapsedTime(float *ms, Event *from, Event *to) {
  if (Result r = plain("cuEventElapsedTime")) return r;
  return *ms = (float)(to->ms - from->ms), OK;
}
API cuEventDestroy_v2(Event *e) {
  std::lock_guard<std::recursive_mutex> hold(one);
  if (e->stream) reach(e->stream, e->after);
  return delete e, call("cuEventDestroy");
}
API cuMemHostAlloc(void **p, size_t bytes, unsigned) {
  if (Result r = plain("cuMemHostAlloc")) return r;
  std::lock_guard<std::recursive_mutex> hold(one);
  auto memory = std::make_unique<std::vector<uint32_t>>((bytes + 3) / 4, emulator::POISON);
  *p = memory->data();
  pinned[(uintptr_t)*p] = std::move(memory);
  return OK;
}
API cuMemFreeHost(void *p) {
  std::lock_guard<std::recursive_mutex> hold(one);
  finish_all();
  return pinned.erase((uintptr_t)p) ? call("cuMemFreeHost") : INVALID_VALUE;
}
API cuModuleLoadData(void **m, const void *) { return *m = &the_module, plain("cuModuleLoadData"); }
API cuModuleGetFunction(const Function **f, void *, const char *name) {
  if (Result r = plain("cuModuleGetFunction")) return r;
  for (const Function &known : functions)
    if (!strcmp(known.name, name)) return *f = &known, OK;
  return NOT_FOUND;
}
API cuMemAlloc_v2(Pointer *p, size_t bytes) {
  if (Result r = plain("cuMemAlloc")) return r;
  std::lock_guard<std::recursive_mutex> hold(one);
  auto m = std::make_unique<emulator::Memory>((bytes + 3) / 4);
  *p = (Pointer)m->values.data();
  emulator::allocations[*p] = std::move(m);
  return OK;
}
API cuMemFree_v2(Pointer p) {
  const Result r = plain("cuMemFree");
  std::lock_guard<std::recursive_mutex> hold(one);
  finish_all();
  emulator::last = nullptr;
  return emulator::allocations.erase(p) ? r : INVALID_VALUE;
}
Result copy(const char *name, void *to, const void *from, Pointer there, void *here, size_t n, Stream *s) {
  if (!current) return INVALID_CONTEXT;
  if (capturing) return CAPTURING;
  if (Result r = call(name, "%zu bytes on %d", n, s->number)) return r;
  std::lock_guard<std::recursive_mutex> hold(one);
  if (!memory_of(there, n)) return INVALID_VALUE;
  const Result r = enqueue(s, [=] { return memory_of(there, n) ? memcpy(to, from, n), OK : INVALID_VALUE; });
  // Other memory of the host is copied before the call returns.
  return is_pinned(here, n) ? r : finish(s);
}
API cuMemcpyHtoDAsync_v2(Pointer d, const void *h, size_t n, Stream *s) {
  return copy("cuMemcpyHtoDAsync", (void *)d, h, d, (void *)h, n, s);
}
API cuMemcpyDtoHAsync_v2(void *h, Pointer d, size_t n, Stream *s) { return copy("cuMemcpyDtoHAsync", h, (const void *)d, d, h, n, s); }
API cuLaunchKernel(const Function *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared,
                   Stream *s, void **parameters, void **) {
  if (!current) return INVALID_CONTEXT;
  // What real devices refuse.
  if (!gx || !gy || gz != 1 || gx > 0x7fffffff || gy > 65535 || by != 1 || bz != 1 || !bx || bx > 256 || shared > 48 << 10)
    return INVALID_VALUE;
  if (Result r = call("cuLaunchKernel", "%s %u,%u x %u, %u bytes%s", f->name, gx, gy, bx, shared, s->captured ? ", captured" : ""))
    return r;
  Launch l{f, gx, gy, bx, shared, {}};
  memcpy(&l.call, parameters[0], sizeof(Call));
  if (!s->captured) return enqueue(s, [l] { return execute(l); });
  return s->captured->launches.push_back(l), OK;
}
API cuStreamBeginCapture_v2(Stream *s, int how) {
  // 1: other threads of the process may go on using the driver.
  if (how != 1 || s->captured || s != streams[0]) return INVALID_VALUE;
  if (Result r = plain("cuStreamBeginCapture")) return r;
  s->captured = std::make_unique<Graph>();
  return capturing = true, OK;
}
API cuStreamEndCapture(Stream *s, Graph **g) {
  if (!s->captured) return INVALID_VALUE;
  capturing = false;
  if (Result r = plain("cuStreamEndCapture")) return s->captured.reset(), *g = nullptr, r;
  return *g = s->captured.release(), OK;
}
API cuGraphInstantiateWithFlags(Graph **e, Graph *g, unsigned long long) {
  if (Result r = plain("cuGraphInstantiate")) return r;
  return *e = new Graph(*g), OK;
}
API cuGraphLaunch(Graph *g, Stream *s) {
  if (Result r = plain("cuGraphLaunch")) return r;
  for (const Launch &l : g->launches)
    if (Result r = enqueue(s, [l] { return execute(l); })) return r;
  return OK;
}
API cuGraphExecDestroy(Graph *g) { return delete g, call("cuGraphExecDestroy"); }
API cuGraphDestroy(Graph *g) { return delete g, call("cuGraphDestroy"); }
