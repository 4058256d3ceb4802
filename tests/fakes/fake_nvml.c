/* A fake libnvidia-ml.so.1 for the real pynvml binding: eight GPUs whose every value is a formula of a clock.
 *
 * The clock, in seconds, is read from the file named by FAKE_NVML_CLOCK at each call, so a test moves time as it likes; without
 * that variable it is the machine's. A file named by FAKE_NVML_XID with "GPU CODE" in it is an Xid error, taken once.
 *   0-3  Hopper with GPM, 3 on a Grace module
 *   4    Ampere with MIG on: instances 1 and 2, a hole between them; counts its NVLinks one by one, as later parts do
 *   5    an old GPU: most calls unsupported
 *   6    lost while 60 <= clock < 120                7  its counters start over at clock 30
 * Struct layouts follow NVML's public header as the binding declares them. tests/monitoring/test_agent_gpus.py holds the formulas.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, TIMEOUT = 10, GPU_IS_LOST = 15 };
#define NOT_TOLD 0xffffffffffffffffULL /* memory of a process */
enum { HOPPER, AMPERE_MIG, OLD };
#define GPUS 8
#define GIB (1024ULL * 1024 * 1024)

typedef struct { int kind, number, instance; } device_t;
typedef union { double d; int si; unsigned ui; unsigned long ul; unsigned long long ull; long long sll; } value_t;
typedef struct { unsigned field, scope; long timestamp, latency; unsigned type, result; value_t value; } field_t;
typedef struct { unsigned long long time; value_t value; } sample_t;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory2_t;
typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct { unsigned version, sensor; int celsius; } temperature_t;
typedef struct { unsigned version, supported; } gpm_support_t;
typedef struct { double at; int number, instance; } gpm_sample_t;
typedef struct { unsigned id, result; double value; char *names[3]; } gpm_metric_t;
typedef struct { unsigned version, count; gpm_sample_t *first, *second; gpm_metric_t metrics[477]; } gpm_get_t;
typedef struct { unsigned sms, copy, decoders, encoders, jpegs, ofas, slices, compute_slices; unsigned long long memory_mb; } attributes_t;

static device_t gpus[GPUS], instances[2];
static int alive = 0;

static double now(void) {
  const char *path = getenv("FAKE_NVML_CLOCK");
  FILE *file = path ? fopen(path, "r") : NULL;
  double seconds = 0;
  if (!path) {
    struct timespec wall;
    clock_gettime(CLOCK_REALTIME, &wall);
    return wall.tv_sec + wall.tv_nsec * 1e-9;
  }
  if (file) {
    if (fscanf(file, "%lf", &seconds) != 1) seconds = 0;
    fclose(file);
  }
  return seconds;
}

static int lost(const device_t *gpu) { return gpu->number == 6 && now() >= 60 && now() < 120; }
#define CHECK(gpu) do { if (!alive) return UNINITIALIZED; if (lost(gpu)) return GPU_IS_LOST; } while (0)
#define UNLESS_OLD(gpu) do { CHECK(gpu); if ((gpu)->kind == OLD) return NOT_SUPPORTED; } while (0)
#define UNLESS_MIG(gpu) do { CHECK(gpu); if ((gpu)->kind == AMPERE_MIG) return NOT_SUPPORTED; } while (0)

/* What a counter has reached: it grows by `rate` a second; GPU 7's start over at 30 s. */
static unsigned long long counter(const device_t *gpu, double rate) {
  double seconds = now();
  if (gpu->number == 7 && seconds >= 30) seconds -= 30;
  return (unsigned long long)(rate * seconds);
}

int nvmlInitWithFlags(unsigned flags) {
  (void)flags;
  for (int i = 0; i < GPUS; i++) gpus[i] = (device_t){i == 4 ? AMPERE_MIG : i == 5 ? OLD : HOPPER, i, -1};
  for (int i = 0; i < 2; i++) instances[i] = (device_t){AMPERE_MIG, 4, i + 1};
  alive = 1;
  return SUCCESS;
}
int nvmlShutdown(void) { alive = 0; return SUCCESS; }
const char *nvmlErrorString(int code) { return code == GPU_IS_LOST ? "GPU is lost" : code == NOT_SUPPORTED ? "Not Supported" : "Error"; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = GPUS; return alive ? SUCCESS : UNINITIALIZED; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, device_t **gpu) {
  if (index >= GPUS) return INVALID_ARGUMENT;
  *gpu = &gpus[index];
  return lost(*gpu) ? GPU_IS_LOST : SUCCESS;
}
int nvmlDeviceGetUUID(device_t *gpu, char *text, unsigned length) {
  if (gpu->instance >= 0) snprintf(text, length, "MIG-fake-%d-%d", gpu->number, gpu->instance);
  else snprintf(text, length, "GPU-fake-%d", gpu->number);
  return SUCCESS;
}
int nvmlDeviceGetName(device_t *gpu, char *text, unsigned length) {
  const char *names[] = {"NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-80GB", "Tesla K80"};
  snprintf(text, length, "%s", gpu->number == 3 ? "NVIDIA GH200 480GB" : names[gpu->kind]);
  return SUCCESS;
}

int nvmlDeviceGetUtilizationRates(device_t *gpu, unsigned *both) {
  UNLESS_MIG(gpu);
  both[0] = 40 + gpu->number;
  both[1] = 20 + gpu->number;
  return SUCCESS;
}
/* Ten samples a second; only those later than `since` (microseconds). Type 0 power, 1 busy, 2 memory controller. */
int nvmlDeviceGetSamples(device_t *gpu, int kind, unsigned long long since, unsigned *type, unsigned *count, sample_t *samples) {
  UNLESS_OLD(gpu);
  if (gpu->kind == AMPERE_MIG && kind != 0) return NOT_SUPPORTED;
  unsigned long long last = (unsigned long long)(now() * 1e6), first = since ? since / 100000 + 1 : last / 100000 - 9;
  unsigned found = last / 100000 >= first ? (unsigned)(last / 100000 - first + 1) : 0;
  if (!found) return NOT_FOUND;
  if (found > 100) { first += found - 100; found = 100; }
  *type = 1;
  for (unsigned i = 0; samples && i < found && i < *count; i++) {
    unsigned value = kind == 0 ? 300000 + 1000 * gpu->number : kind == 1 ? 50 + gpu->number : 30 + gpu->number;
    samples[i].time = (first + i) * 100000;
    samples[i].value.ui = value + (i % 2 ? 1 : -1);
  }
  *count = found;
  return SUCCESS;
}
int nvmlDeviceGetMemoryInfo(device_t *gpu, memory_t *memory) {
  CHECK(gpu);
  unsigned long long total = gpu->instance >= 0 ? 20 * GIB : gpu->kind == OLD ? 12 * GIB : 80 * GIB;
  *memory = (memory_t){total, total / 2, total / 2};
  return SUCCESS;
}
int nvmlDeviceGetMemoryInfo_v2(device_t *gpu, memory2_t *memory) {
  UNLESS_OLD(gpu);
  memory_t plain;
  int result = nvmlDeviceGetMemoryInfo(gpu, &plain);
  *memory = (memory2_t){memory->version, plain.total, GIB, plain.free - GIB, plain.used};
  return result;
}
int nvmlDeviceGetPowerUsage(device_t *gpu, unsigned *milliwatts) { CHECK(gpu); if (gpu->instance >= 0) return NOT_SUPPORTED; *milliwatts = 250000; return SUCCESS; }
int nvmlDeviceGetEnforcedPowerLimit(device_t *gpu, unsigned *milliwatts) { UNLESS_OLD(gpu); *milliwatts = 700000; return SUCCESS; }
int nvmlDeviceGetTotalEnergyConsumption(device_t *gpu, unsigned long long *millijoules) { UNLESS_OLD(gpu); *millijoules = counter(gpu, 320000); return SUCCESS; }
int nvmlDeviceGetTemperature(device_t *gpu, int sensor, unsigned *celsius) { (void)sensor; CHECK(gpu); *celsius = 50 + gpu->number; return SUCCESS; }
int nvmlDeviceGetTemperatureV(device_t *gpu, temperature_t *answer) { UNLESS_OLD(gpu); answer->celsius = 50 + gpu->number; return SUCCESS; }
int nvmlDeviceGetClockInfo(device_t *gpu, int kind, unsigned *megahertz) { CHECK(gpu); *megahertz = kind == 1 ? 1980 : 2619; return SUCCESS; }
int nvmlDeviceGetEncoderUtilization(device_t *gpu, unsigned *percent, unsigned *period) { UNLESS_MIG(gpu); *percent = 7; *period = 100; return SUCCESS; }
int nvmlDeviceGetDecoderUtilization(device_t *gpu, unsigned *percent, unsigned *period) { UNLESS_MIG(gpu); *percent = 9; *period = 100; return SUCCESS; }
int nvmlDeviceGetTotalEccErrors(device_t *gpu, int error, int kind, unsigned long long *count) {
  (void)error; (void)kind;
  UNLESS_OLD(gpu);
  *count = gpu->number == 2 ? 3 : 0;
  return SUCCESS;
}
/* 74, 269, 270, 271: ns of throttling; 138, 139: KiB of NVLink, whole with scope ~0, else of one link; 202, 204: bytes of one link;
 * 197, 198: bytes of PCIe; 82: memory temperature; 185, 186: power, average and now, scope 1 = the module. */
static int nvlink_of(const device_t *gpu, field_t *f) {
  int sending = f->field == 138 || f->field == 202;
  if (f->field < 200) {
    if (gpu->kind == AMPERE_MIG) return NOT_SUPPORTED;
    f->value.ull = counter(gpu, (sending ? 2048 : 1024) / (f->scope == ~0u ? 1.0 : 18.0));
    return SUCCESS;
  }
  if (gpu->kind != AMPERE_MIG || f->scope >= 12) return NOT_SUPPORTED;
  f->value.ull = counter(gpu, sending ? 1e6 : 5e5);
  return SUCCESS;
}
static int power_of(const device_t *gpu, field_t *f) {
  if (f->scope == 1 && gpu->number != 3) return NOT_SUPPORTED;
  f->type = 1;
  f->value.ui = f->scope == 1 ? 610000 : f->field == 185 ? 290000 : 280000;
  return SUCCESS;
}
int nvmlDeviceGetFieldValues(device_t *gpu, int count, field_t *fields) {
  CHECK(gpu);
  for (int i = 0; i < count; i++) {
    field_t *f = &fields[i];
    f->type = 3;
    f->result = SUCCESS;
    switch (f->field) {
      case 74: f->value.ull = counter(gpu, 0.25e9); break;
      case 269: f->value.ull = counter(gpu, 0.10e9); break;
      case 270: f->value.ull = counter(gpu, 0.05e9); break;
      case 271: f->value.ull = 0; break;
      case 138: case 139: case 202: case 204: f->result = nvlink_of(gpu, f); break;
      case 197: case 198: f->value.ull = counter(gpu, 5e6); break;
      case 82: f->type = 1; f->value.ui = 70; break;
      case 185: case 186: f->result = power_of(gpu, f); break;
      default: f->result = INVALID_ARGUMENT;
    }
    if (gpu->kind == OLD) f->result = NOT_SUPPORTED;
  }
  return SUCCESS;
}
int nvmlDeviceGetCurrentClocksEventReasons(device_t *gpu, unsigned long long *reasons) { CHECK(gpu); *reasons = 0x1 | 0x4; return SUCCESS; }
int nvmlDeviceGetPcieThroughput(device_t *gpu, int direction, unsigned *kilobytes) { CHECK(gpu); *kilobytes = direction ? 1500 : 2500; return SUCCESS; }
int nvmlDeviceGetMaxClockInfo(device_t *gpu, int kind, unsigned *megahertz) { CHECK(gpu); *megahertz = kind == 1 ? 2010 : 2700; return SUCCESS; }
int nvmlDeviceGetMaxCustomerBoostClock(device_t *gpu, int kind, unsigned *megahertz) { (void)kind; UNLESS_OLD(gpu); *megahertz = 1990; return SUCCESS; }
int nvmlDeviceGetRemappedRows(device_t *gpu, unsigned *right, unsigned *wrong, unsigned *pending, unsigned *failed) {
  UNLESS_OLD(gpu);
  *right = 2; *wrong = gpu->number == 2; *pending = 0; *failed = 0;
  return SUCCESS;
}
int nvmlDeviceGetAccountingMode(device_t *gpu, int *mode) { UNLESS_OLD(gpu); *mode = 0; return SUCCESS; }
int nvmlSystemGetDriverVersion(char *text, unsigned length) { snprintf(text, length, "580.65.06"); return SUCCESS; }
int nvmlSystemGetCudaDriverVersion(int *version) { *version = 13000; return SUCCESS; }

/* Processes. GPU 0: 1000 computes and draws, 1001 draws, its memory told by the detailed list only. GPU 1: 2000 serves 2001 and 2002
 * by MPS. GPU 2: 3000, never busy. Instance 1 of GPU 4: 4001. The old GPU lists nothing. */
typedef struct { unsigned pid; unsigned long long memory; unsigned instance, compute; } process_t;
typedef struct { unsigned number, instance, kind, pid; unsigned long long memory; } row_t;
enum { COMPUTE, GRAPHICS, MPS };
static const row_t rows[] = {
  {0, ~0u, COMPUTE, 1000, 40 * GIB}, {0, ~0u, GRAPHICS, 1000, GIB}, {0, ~0u, GRAPHICS, 1001, NOT_TOLD}, {1, ~0u, COMPUTE, 2000, GIB},
  {1, ~0u, MPS, 2001, 10 * GIB}, {1, ~0u, MPS, 2002, 20 * GIB}, {2, ~0u, COMPUTE, 3000, 5 * GIB}, {4, 1, COMPUTE, 4001, 8 * GIB},
};
static int listed(device_t *gpu, unsigned kind, unsigned *count, process_t *processes) {
  UNLESS_OLD(gpu);
  unsigned found = 0;
  for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
    if (rows[i].number != (unsigned)gpu->number || rows[i].instance != (unsigned)gpu->instance || rows[i].kind != kind) continue;
    if (found < *count && processes) processes[found] = (process_t){rows[i].pid, rows[i].memory, rows[i].instance, ~0u};
    found++;
  }
  int short_of = found > *count;
  *count = found;
  return short_of ? INSUFFICIENT_SIZE : SUCCESS;
}
int nvmlDeviceGetComputeRunningProcesses_v3(device_t *gpu, unsigned *count, process_t *processes) { return listed(gpu, COMPUTE, count, processes); }
int nvmlDeviceGetGraphicsRunningProcesses_v3(device_t *gpu, unsigned *count, process_t *processes) { return listed(gpu, GRAPHICS, count, processes); }
int nvmlDeviceGetMPSComputeRunningProcesses_v3(device_t *gpu, unsigned *count, process_t *processes) { return listed(gpu, MPS, count, processes); }

typedef struct { unsigned pid; unsigned long long memory; unsigned instance, compute; unsigned long long guarded; } detail_t;
typedef struct { unsigned version, mode, count; detail_t *details; } details_t;
int nvmlDeviceGetRunningProcessDetailList(device_t *gpu, details_t *list) {
  CHECK(gpu);
  if (gpu->kind != HOPPER) return NOT_SUPPORTED;
  if (list->count < 1) { list->count = 1; return INSUFFICIENT_SIZE; }
  list->details[0] = (detail_t){1001, 2 * GIB, ~0u, ~0u, 0};
  return SUCCESS;
}
/* Use since a time: one row for each that was busy, each half a second; 999 is long gone, 2000's figure is nonsense. */
typedef struct { unsigned pid; unsigned long long time; unsigned sm, memory, encoder, decoder; } use_t;
int nvmlDeviceGetProcessUtilization(device_t *gpu, use_t *uses, unsigned *count, unsigned long long since) {
  if (gpu->instance >= 0) return NOT_SUPPORTED;
  UNLESS_MIG(gpu);
  if (gpu->kind == OLD) return NOT_SUPPORTED;
  unsigned long long latest = (unsigned long long)(now() * 2) * 500000;
  use_t all[] = {{1000, latest, 63, 9, 0, 0}, {2001, latest, 30, 5, 0, 0}, {2002, latest, 80, 5, 0, 0}, {2000, latest, 4000000000u, 0, 0, 0}};
  use_t *first = gpu->number == 0 ? all : all + 1;
  unsigned found = latest <= since ? 0 : gpu->number == 0 ? 1 : gpu->number == 1 ? 3 : 0;
  unsigned stale = since == 0;
  if (found + stale == 0) return NOT_FOUND;
  if (!uses || *count < found + stale) { *count = found + stale; return INSUFFICIENT_SIZE; }
  memcpy(uses, first, found * sizeof *uses);
  if (stale) uses[found] = (use_t){999, 1, 99, 0, 0, 0};
  *count = found + stale;
  return SUCCESS;
}

typedef struct { device_t *gpu; unsigned long long type, code; unsigned instance, compute; } event_t;
int nvmlEventSetCreate(int **set) { *set = calloc(1, sizeof **set); return SUCCESS; }
int nvmlEventSetFree(int *set) { free(set); return SUCCESS; }
int nvmlDeviceRegisterEvents(device_t *gpu, unsigned long long kinds, int *set) { (void)kinds; UNLESS_OLD(gpu); ++*set; return SUCCESS; }
int nvmlEventSetWait_v2(int *set, event_t *event, unsigned milliseconds) {
  (void)set;
  const char *path = getenv("FAKE_NVML_XID");
  for (unsigned waited = 0; waited < milliseconds; waited += 10) {
    if (!alive) return UNINITIALIZED;
    FILE *file = path ? fopen(path, "r") : NULL;
    if (file) {
      unsigned number = 0, code = 0;
      int read = fscanf(file, "%u %u", &number, &code);
      fclose(file);
      if (read == 2) {
        unlink(path);
        *event = (event_t){&gpus[number % GPUS], 8, code, ~0u, ~0u};
        return SUCCESS;
      }
    }
    usleep(path ? 10000 : milliseconds * 1000);
    if (!path) break;
  }
  return TIMEOUT;
}

int nvmlDeviceGetMigMode(device_t *gpu, unsigned *current, unsigned *pending) { UNLESS_OLD(gpu); *current = *pending = gpu->kind == AMPERE_MIG; return SUCCESS; }
int nvmlDeviceGetMaxMigDeviceCount(device_t *gpu, unsigned *count) { CHECK(gpu); *count = gpu->kind == AMPERE_MIG ? 7 : 0; return SUCCESS; }
int nvmlDeviceGetMigDeviceHandleByIndex(device_t *gpu, unsigned index, device_t **found) {
  CHECK(gpu);
  if (index != 0 && index != 2) return NOT_FOUND;
  *found = &instances[index / 2];
  return SUCCESS;
}
int nvmlDeviceGetGpuInstanceId(device_t *gpu, unsigned *number) { if (gpu->instance < 0) return INVALID_ARGUMENT; *number = gpu->instance; return SUCCESS; }
int nvmlDeviceGetAttributes_v2(device_t *gpu, attributes_t *a) { if (gpu->instance < 0) return INVALID_ARGUMENT; *a = (attributes_t){28, 1, 1, 0, 0, 0, 2, 2, 19968}; return SUCCESS; }

int nvmlGpmQueryDeviceSupport(device_t *gpu, gpm_support_t *support) { CHECK(gpu); support->supported = gpu->kind == HOPPER; return SUCCESS; }
int nvmlGpmSampleAlloc(gpm_sample_t **sample) { *sample = calloc(1, sizeof **sample); return SUCCESS; }
int nvmlGpmSampleFree(gpm_sample_t *sample) { free(sample); return SUCCESS; }
int nvmlGpmSampleGet(device_t *gpu, gpm_sample_t *sample) { CHECK(gpu); *sample = (gpm_sample_t){now(), gpu->number, -1}; return SUCCESS; }
int nvmlGpmMigSampleGet(device_t *gpu, unsigned instance, gpm_sample_t *sample) { CHECK(gpu); *sample = (gpm_sample_t){now(), gpu->number, (int)instance}; return SUCCESS; }
/* Each metric is its id plus the GPU's number; tensor activity (5) is not there, as on some parts. */
int nvmlGpmMetricsGet(gpm_get_t *get) {
  if (get->second->at <= get->first->at) return INVALID_ARGUMENT;
  for (unsigned i = 0; i < get->count; i++) {
    get->metrics[i].result = get->metrics[i].id == 5 ? NOT_SUPPORTED : SUCCESS;
    get->metrics[i].value = get->metrics[i].id + get->second->number;
  }
  return SUCCESS;
}
