/*
 * A simulated libnvidia-ml.so.1: the part of NVML that the provider calls, over cards made of numbers.
 * Here: its state, its faults, and what concerns no single card.
 *
 * The state of all cards (nvml_state.h) lies in a file beside the library, "<library>.state". The library
 * maps it on nvmlInit and looks at it on every call, so whoever writes to the file changes what the next
 * call answers, in whichever process that is. There is no parsing, no socket and no lock.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "nvml_sim.h"

struct state *state;
struct device devices[MAX_GPUS][1 + MAX_INSTANCES];
static int init_count;

int is_open(void) { return init_count && state; }

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
        for (int32_t place = -1; place < MAX_INSTANCES; place++)
            devices[i][1 + place] = (struct device){i, place};
    state = mapped;
    return SUCCESS;
}

/* ---- what every call does first ---------------------------------------------------------------- */

void sleep_ms(uint32_t ms)
{
    struct timespec span = {ms / 1000, (long)(ms % 1000) * 1000000};
    nanosleep(&span, NULL);
}

int fault_of(const char *symbol, int gpu)
{
    __atomic_add_fetch(&state->calls, 1, __ATOMIC_RELAXED);
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

int enter_gpu(const char *symbol, struct device *device, struct gpu **gpu)
{
    if (!is_open())
        return UNINITIALIZED;
    if (device < &devices[0][0] || device >= &devices[MAX_GPUS][0])
        return INVALID_ARGUMENT;
    int failed = fault_of(symbol, (int)device->index);
    if (failed)
        return failed;
    *gpu = &state->gpus[device->index];
    if ((*gpu)->is_lost)
        return GPU_IS_LOST;
    if (device->place >= 0 && !(*gpu)->instances[device->place].is_there)
        return INVALID_ARGUMENT; /* it was destroyed under its handle */
    for (uint32_t i = 0; i < (*gpu)->unsupported_count && i < MAX_UNSUPPORTED; i++)
        if (!strcmp((*gpu)->unsupported[i], symbol))
            return NOT_SUPPORTED;
    return SUCCESS;
}

int give_text(const char *text, size_t text_size, char *out, uint32_t out_size)
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

#define NUMBER_OF_SYSTEM(symbol, type, number, is_known) \
    EXPORT int symbol(type *out)                         \
    {                                                    \
        ENTER_SYSTEM();                                  \
        if (!(is_known))                                 \
            return NOT_SUPPORTED;                        \
        *out = state->number;                            \
        return SUCCESS;                                  \
    }

NUMBER_OF_SYSTEM(nvmlSystemGetCudaDriverVersion, int, cuda_version, 1)
NUMBER_OF_SYSTEM(nvmlDeviceGetCount_v2, uint32_t, gpu_count, 1)
NUMBER_OF_SYSTEM(nvmlSystemGetConfComputeGpusReadyState, uint32_t, is_confidential_ready, state->has_confidential)

struct confidential_state { /* nvmlConfComputeSystemState_t */
    uint32_t environment;   /* 0 off, 1 simulated, 2 for production */
    uint32_t feature;
    uint32_t developer_tools;
};

/* NOT_SUPPORTED before Hopper. */
EXPORT int nvmlSystemGetConfComputeState(struct confidential_state *out)
{
    ENTER_SYSTEM();
    if (!state->has_confidential)
        return NOT_SUPPORTED;
    *out = (struct confidential_state){state->is_confidential ? 2 : 0, state->is_confidential, 0};
    return SUCCESS;
}

/* A lost card still counts, but cannot be opened any more: one index fails and the others do not. */
EXPORT int nvmlDeviceGetHandleByIndex_v2(uint32_t index, struct device **out)
{
    if (!is_open())
        return UNINITIALIZED;
    if (index >= state->gpu_count || index >= MAX_GPUS)
        return INVALID_ARGUMENT;
    struct gpu *gpu;
    *out = &devices[index][0];
    return enter_gpu(__func__, *out, &gpu);
}

/* For the mirror's test. */
EXPORT uint32_t nvmlSimulatedStateSize(void) { return sizeof(struct state); }
