/*
 * A simulated libnvidia-ml.so.1: the part of NVML that the provider calls, over cards made of numbers.
 *
 * The state of all cards (nvml_state.h) lies in a file beside the library, "<library>.state". The library
 * maps it on nvmlInit and looks at it on every call, so whoever writes to the file changes what the next
 * call answers, in whichever process that is. There is no parsing, no socket and no lock.
 *
 * Signatures, structures and codes are those of nvml.h. Where the genuine driver is surprising, a comment
 * says so, because that is what the simulation is for.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "nvml_state.h"

#define EXPORT __attribute__((visibility("default")))

enum nvml_return {
    SUCCESS = 0,
    UNINITIALIZED = 1,
    INVALID_ARGUMENT = 2,
    NOT_SUPPORTED = 3,
    INSUFFICIENT_SIZE = 7,
    DRIVER_NOT_LOADED = 9,
    GPU_IS_LOST = 15,
    ARGUMENT_VERSION_MISMATCH = 25,
};

/* What a client gets as nvmlDevice_t: a pointer to one of these. */
struct device {
    uint32_t index;
};

static struct state *state;
static struct device devices[MAX_GPUS];
static int init_count;

/* ---- the state file ---------------------------------------------------------------------------- */

static int map_state(void)
{
    char path[4096];
    struct stat facts;
    Dl_info self;

    if (state)
        return SUCCESS;
    if (!dladdr((void *)map_state, &self))
        return DRIVER_NOT_LOADED;
    snprintf(path, sizeof path, "%s.state", self.dli_fname);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return DRIVER_NOT_LOADED; /* as the genuine library without its kernel module */
    if (fstat(fd, &facts) || facts.st_size != (off_t)sizeof(struct state)) {
        close(fd);
        return ARGUMENT_VERSION_MISMATCH;
    }
    struct state *mapped = mmap(NULL, sizeof *mapped, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (mapped == MAP_FAILED)
        return DRIVER_NOT_LOADED;
    if (mapped->magic != STATE_MAGIC || mapped->size != sizeof *mapped) {
        munmap(mapped, sizeof *mapped);
        return ARGUMENT_VERSION_MISMATCH;
    }
    for (uint32_t i = 0; i < MAX_GPUS; i++)
        devices[i].index = i;
    state = mapped;
    return SUCCESS;
}

/* ---- what every call does first ---------------------------------------------------------------- */

static void sleep_ms(uint32_t ms)
{
    struct timespec span = {ms / 1000, (long)(ms % 1000) * 1000000};
    nanosleep(&span, NULL);
}

static int fault_of(const char *symbol, int gpu)
{
    for (uint32_t i = 0; i < state->fault_count && i < MAX_FAULTS; i++) {
        volatile struct fault *fault = &state->faults[i];
        if (fault->remaining == 0)
            continue;
        if (fault->gpu >= 0 && fault->gpu != gpu)
            continue;
        if (strcmp((const char *)fault->symbol, "*") && strcmp((const char *)fault->symbol, symbol))
            continue;
        fault->hits++;
        if (fault->remaining > 0)
            fault->remaining--;
        sleep_ms(fault->delay_ms);
        while (fault->hangs)
            sleep_ms(5);
        return fault->return_code;
    }
    return SUCCESS;
}

static int enter_gpu(const char *symbol, struct device *device, struct gpu **gpu)
{
    if (!init_count || !state)
        return UNINITIALIZED;
    if (device < devices || device >= devices + MAX_GPUS)
        return INVALID_ARGUMENT;
    int failed = fault_of(symbol, (int)device->index);
    if (failed)
        return failed;
    *gpu = &state->gpus[device->index];
    if ((*gpu)->is_lost)
        return GPU_IS_LOST;
    for (uint32_t i = 0; i < (*gpu)->unsupported_count && i < MAX_UNSUPPORTED; i++)
        if (!strcmp((*gpu)->unsupported[i], symbol))
            return NOT_SUPPORTED;
    return SUCCESS;
}

/* Opens every function on the library, and on a card. */
#define ENTER_SYSTEM()                                                             \
    do {                                                                           \
        int failed_ = init_count && state ? fault_of(__func__, -1) : UNINITIALIZED; \
        if (failed_)                                                               \
            return failed_;                                                        \
    } while (0)
#define ENTER_GPU(gpu)                                   \
    struct gpu *gpu;                                     \
    do {                                                 \
        int failed_ = enter_gpu(__func__, device, &gpu); \
        if (failed_)                                     \
            return failed_;                              \
    } while (0)

static int give_text(const char *text, size_t text_size, char *out, uint32_t out_size)
{
    size_t length = strnlen(text, text_size);
    if (out_size < length + 1)
        return INSUFFICIENT_SIZE;
    memcpy(out, text, length);
    out[length] = 0;
    return SUCCESS;
}

/* ---- the library ------------------------------------------------------------------------------- */

/* nvidia-ml-py calls this one, never nvmlInit_v2. */
EXPORT int nvmlInitWithFlags(uint32_t flags)
{
    (void)flags;
    int failed = map_state();
    if (!failed)
        failed = fault_of(__func__, -1);
    if (!failed)
        init_count++;
    return failed;
}

EXPORT int nvmlShutdown(void)
{
    if (!init_count)
        return UNINITIALIZED;
    init_count--;
    return SUCCESS;
}

EXPORT const char *nvmlErrorString(int code) { return code ? "simulated error" : "Success"; }

EXPORT int nvmlSystemGetDriverVersion(char *out, uint32_t size)
{
    ENTER_SYSTEM();
    return give_text(state->driver_version, sizeof state->driver_version, out, size);
}

#define NUMBER_OF_SYSTEM(symbol, type, number)                                 \
    EXPORT int symbol(type *out)                                               \
    {                                                                          \
        ENTER_SYSTEM();                                                        \
        *out = state->number;                                                  \
        return SUCCESS;                                                        \
    }

NUMBER_OF_SYSTEM(nvmlSystemGetCudaDriverVersion, int, cuda_version)
NUMBER_OF_SYSTEM(nvmlDeviceGetCount_v2, uint32_t, gpu_count)

/* A lost card still counts, but cannot be opened any more: one index fails and the others do not. */
EXPORT int nvmlDeviceGetHandleByIndex_v2(uint32_t index, struct device **out)
{
    if (!init_count || !state)
        return UNINITIALIZED;
    if (index >= state->gpu_count || index >= MAX_GPUS)
        return INVALID_ARGUMENT;
    struct gpu *gpu;
    *out = &devices[index];
    return enter_gpu(__func__, *out, &gpu);
}

/* ---- what a card is ---------------------------------------------------------------------------- */

#define TEXT_OF_CARD(symbol, text)                                             \
    EXPORT int symbol(struct device *device, char *out, uint32_t size)         \
    {                                                                          \
        ENTER_GPU(gpu);                                                        \
        return give_text(gpu->text, sizeof gpu->text, out, size);              \
    }
#define NUMBER_OF_CARD(symbol, type, number, is_known)                         \
    EXPORT int symbol(struct device *device, type *out)                        \
    {                                                                          \
        ENTER_GPU(gpu);                                                        \
        if (!(is_known))                                                       \
            return NOT_SUPPORTED;                                              \
        *out = gpu->number;                                                    \
        return SUCCESS;                                                        \
    }

TEXT_OF_CARD(nvmlDeviceGetUUID, uuid)
TEXT_OF_CARD(nvmlDeviceGetName, name)
NUMBER_OF_CARD(nvmlDeviceGetMinorNumber, uint32_t, minor_number, 1)
NUMBER_OF_CARD(nvmlDeviceGetArchitecture, uint32_t, architecture, 1)
NUMBER_OF_CARD(nvmlDeviceGetEnforcedPowerLimit, uint32_t, power_limit_milliwatts, 1)

EXPORT int nvmlDeviceGetCudaComputeCapability(struct device *device, int *major, int *minor)
{
    ENTER_GPU(gpu);
    *major = (int)gpu->compute_major;
    *minor = (int)gpu->compute_minor;
    return SUCCESS;
}

struct pci_info { /* nvmlPciInfo_t, 68 bytes */
    char bus_id_legacy[16];
    uint32_t domain;
    uint32_t bus;
    uint32_t device;
    uint32_t device_id;
    uint32_t subsystem_id;
    char bus_id[32];
};

EXPORT int nvmlDeviceGetPciInfo_v3(struct device *device, struct pci_info *out)
{
    ENTER_GPU(gpu);
    memset(out, 0, sizeof *out);
    memcpy(out->bus_id, gpu->pci_bus_id, sizeof out->bus_id);
    return SUCCESS;
}

/* NOT_SUPPORTED means that the card cannot do MIG at all, not that it is off. */
EXPORT int nvmlDeviceGetMigMode(struct device *device, uint32_t *current, uint32_t *pending)
{
    ENTER_GPU(gpu);
    if (!gpu->is_mig_capable)
        return NOT_SUPPORTED;
    *current = *pending = gpu->is_mig_on;
    return SUCCESS;
}

/* ---- how a card does --------------------------------------------------------------------------- */

NUMBER_OF_CARD(nvmlDeviceGetPowerUsage, uint32_t, power_milliwatts, 1)
NUMBER_OF_CARD(nvmlDeviceGetTotalEnergyConsumption, uint64_t, energy_millijoules, 1)
NUMBER_OF_CARD(nvmlDeviceGetFanSpeed, uint32_t, fan_percent, gpu->has_fan)

struct memory_v1 { /* nvmlMemory_t: free comes before used, and used counts what is reserved */
    uint64_t total;
    uint64_t free;
    uint64_t used;
};

EXPORT int nvmlDeviceGetMemoryInfo(struct device *device, struct memory_v1 *out)
{
    ENTER_GPU(gpu);
    if (!gpu->has_own_memory)
        return NOT_SUPPORTED;
    out->total = gpu->memory_total;
    out->used = gpu->memory_used + gpu->memory_reserved;
    out->free = out->total - out->used;
    return SUCCESS;
}

struct memory_v2 { /* nvmlMemory_v2_t, 40 bytes */
    uint32_t version;
    uint64_t total;
    uint64_t reserved;
    uint64_t free;
    uint64_t used;
};

EXPORT int nvmlDeviceGetMemoryInfo_v2(struct device *device, struct memory_v2 *out)
{
    ENTER_GPU(gpu);
    if (!gpu->has_own_memory)
        return NOT_SUPPORTED;
    if (out->version != (sizeof *out | 2u << 24)) /* the caller says which layout it means */
        return ARGUMENT_VERSION_MISMATCH;
    out->total = gpu->memory_total;
    out->reserved = gpu->memory_reserved;
    out->used = gpu->memory_used;
    out->free = out->total - out->reserved - out->used;
    return SUCCESS;
}

/* With MIG on there is no utilization of the whole card. */
EXPORT int nvmlDeviceGetUtilizationRates(struct device *device, uint32_t rates[2])
{
    ENTER_GPU(gpu);
    if (gpu->is_mig_on)
        return NOT_SUPPORTED;
    rates[0] = gpu->utilization_percent;
    rates[1] = gpu->memory_utilization_percent;
    return SUCCESS;
}

EXPORT int nvmlDeviceGetTemperature(struct device *device, uint32_t sensor, uint32_t *out)
{
    ENTER_GPU(gpu);
    if (sensor)
        return INVALID_ARGUMENT;
    *out = gpu->temperature_celsius;
    return SUCCESS;
}

struct temperature_v1 { /* nvmlTemperature_v1_t, 12 bytes */
    uint32_t version;
    uint32_t sensor;
    int32_t temperature;
};

EXPORT int nvmlDeviceGetTemperatureV(struct device *device, struct temperature_v1 *out)
{
    ENTER_GPU(gpu);
    if (out->version != (sizeof *out | 1u << 24))
        return ARGUMENT_VERSION_MISMATCH;
    out->temperature = (int32_t)gpu->temperature_celsius;
    return SUCCESS;
}

EXPORT int nvmlDeviceGetClockInfo(struct device *device, uint32_t domain, uint32_t *out)
{
    ENTER_GPU(gpu);
    if (domain >= 4)
        return INVALID_ARGUMENT;
    *out = gpu->clock_megahertz[domain];
    return SUCCESS;
}

struct field_value { /* nvmlFieldValue_t, 40 bytes */
    uint32_t id;
    uint32_t scope;
    int64_t timestamp_us;
    int64_t latency_us;
    uint32_t value_type;
    uint32_t status;
    uint64_t value;
};

/* Succeeds as a whole; each field carries a return code of its own. */
EXPORT int nvmlDeviceGetFieldValues(struct device *device, int count, struct field_value *values)
{
    ENTER_GPU(gpu);
    for (int i = 0; i < count; i++) {
        int is_known = values[i].id < MAX_FIELDS && gpu->fields[values[i].id].is_supported;
        values[i].status = is_known ? SUCCESS : NOT_SUPPORTED;
        if (!is_known)
            continue;
        values[i].value_type = gpu->fields[values[i].id].value_type;
        values[i].value = gpu->fields[values[i].id].value;
    }
    return SUCCESS;
}

struct process_info { /* nvmlProcessInfo_t, 24 bytes */
    uint32_t pid;
    uint64_t used_memory;
    uint32_t gpu_instance;
    uint32_t compute_instance;
};

/* First called without room, to learn the count: INSUFFICIENT_SIZE, or SUCCESS where there is none. */
EXPORT int nvmlDeviceGetComputeRunningProcesses_v3(struct device *device, uint32_t *count, struct process_info *out)
{
    ENTER_GPU(gpu);
    uint32_t room = *count;
    *count = gpu->process_count;
    if (room < gpu->process_count)
        return INSUFFICIENT_SIZE;
    for (uint32_t i = 0; i < gpu->process_count && i < MAX_PROCESSES; i++)
        out[i] = (struct process_info){gpu->process_ids[i], 0, ~0u, ~0u};
    return SUCCESS;
}

/* For the mirror's test. */
EXPORT uint32_t nvmlSimulatedStateSize(void) { return sizeof(struct state); }
