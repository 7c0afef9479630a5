// A libcuda.so.1 for machines without a GPU: the calls that the CUDA executor makes, with the real kernels run by the emulator. Device
// memory is host memory that starts as NaN. Steered by the environment:
//   SSMOESR_EMULATED       nodevice, stub, old (a driver before 12.0), unknown (a GPU older than every image), turing
//   SSMOESR_EMULATED_FAIL  name:n:code  the n-th call of that name gives that code, 0: each
//   SSMOESR_EMULATED_TRACE file that gets one line per call
#define SSMOESR_EMULATED
#include "kernels.cu"
#include <cstdarg>
#include <cstdlib>
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
    {"rows_to_spectrum", rows_to_spectrum, false},
    {"turn_columns", turn_columns, false},
    {"filter_hidden", filter_hidden, false},
    {"filter_mask", filter_mask, false},
    {"spectrum_to_rows", spectrum_to_rows, false},
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
  std::unique_ptr<Graph> captured;
};

std::recursive_mutex one;
std::map<std::string, int> counts;
Result lost = OK;
int the_context, the_module;
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
      // From 700 to 719: the context is gone for good.
      if (code >= 700) lost = code;
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
API cuDevicePrimaryCtxRelease_v2(int) { return call("cuDevicePrimaryCtxRelease"); }
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
  return *s = new Stream, OK;
}
API cuStreamSynchronize(Stream *) { return plain("cuStreamSynchronize"); }
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
  emulator::last = nullptr;
  return emulator::allocations.erase(p) ? r : INVALID_VALUE;
}
API cuMemcpyHtoDAsync_v2(Pointer d, const void *s, size_t n, Stream *) {
  if (Result r = plain("cuMemcpyHtoDAsync")) return r;
  std::lock_guard<std::recursive_mutex> hold(one);
  return memory_of(d, n) ? memcpy((void *)d, s, n), OK : INVALID_VALUE;
}
API cuMemcpyDtoHAsync_v2(void *d, Pointer s, size_t n, Stream *) {
  if (Result r = plain("cuMemcpyDtoHAsync")) return r;
  std::lock_guard<std::recursive_mutex> hold(one);
  return memory_of(s, n) ? memcpy(d, (const void *)s, n), OK : INVALID_VALUE;
}
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
  if (!s->captured) return execute(l);
  return s->captured->launches.push_back(l), OK;
}
API cuStreamBeginCapture_v2(Stream *s, int how) {
  // 1: other threads of the process may go on using the driver.
  if (how != 1 || s->captured) return INVALID_VALUE;
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
API cuGraphLaunch(Graph *g, Stream *) {
  if (Result r = plain("cuGraphLaunch")) return r;
  for (const Launch &l : g->launches)
    if (Result r = execute(l)) return r;
  return OK;
}
API cuGraphExecDestroy(Graph *g) { return delete g, call("cuGraphExecDestroy"); }
API cuGraphDestroy(Graph *g) { return delete g, call("cuGraphDestroy"); }
