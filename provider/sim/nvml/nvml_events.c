/*
 * The simulated library: what happens, as it happens (events), and what went on between two samples (GPM).
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <time.h>

#include "nvml_sim.h"

/* ---- events ------------------------------------------------------------------------------------ */

/* A set hears what happens after it was made: there is no history. */
struct event_set {
    int is_counted;
    uint64_t next;
    uint64_t types[MAX_GPUS];
};

NUMBER_OF_CARD(nvmlDeviceGetSupportedEventTypes, uint64_t, event_types, 1)

EXPORT int nvmlEventSetCreate(struct event_set **out)
{
    ENTER_SYSTEM();
    *out = calloc(1, sizeof **out);
    if (!*out)
        return OUT_OF_MEMORY;
    (*out)->next = __atomic_load_n(&state->event_head, __ATOMIC_ACQUIRE);
    return SUCCESS;
}

EXPORT int nvmlEventSetFree(struct event_set *set)
{
    ENTER_SYSTEM();
    if (set->is_counted)
        __atomic_sub_fetch(&state->event_sets, 1, __ATOMIC_RELEASE);
    free(set);
    return SUCCESS;
}

/* One type that the card cannot tell makes the whole call NOT_SUPPORTED. */
EXPORT int nvmlDeviceRegisterEvents(struct device *device, uint64_t types, struct event_set *set)
{
    ENTER_GPU(gpu);
    if (types & ~gpu->event_types)
        return NOT_SUPPORTED;
    set->types[device->index] |= types;
    return SUCCESS;
}

struct event_data { /* nvmlEventData_t, 32 bytes */
    struct device *device;
    uint64_t type;
    uint64_t data;
    uint32_t gpu_instance;
    uint32_t compute_instance;
};

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int is_told(struct event_set *set, struct event_data *out)
{
    uint64_t head = __atomic_load_n(&state->event_head, __ATOMIC_ACQUIRE);
    while (set->next < head) {
        if (head - set->next > MAX_EVENTS)
            set->next = head - MAX_EVENTS;
        struct event each = state->events[set->next++ % MAX_EVENTS];
        if (each.gpu >= MAX_GPUS || !(set->types[each.gpu] & each.type))
            continue;
        *out = (struct event_data){&devices[each.gpu][0], each.type, each.data, each.gpu_instance, ~0u};
        return 1;
    }
    return 0;
}

/* TIMEOUT is how it says that nothing happened. */
EXPORT int nvmlEventSetWait_v2(struct event_set *set, struct event_data *out, uint32_t timeout_ms)
{
    ENTER_SYSTEM();
    if (!set->is_counted)
        __atomic_add_fetch(&state->event_sets, 1, __ATOMIC_RELEASE);
    set->is_counted = 1;
    for (int64_t end = now_ms() + timeout_ms;; sleep_ms(5)) {
        if (is_told(set, out))
            return SUCCESS;
        for (uint32_t i = 0; i < state->gpu_count && i < MAX_GPUS; i++)
            if (set->types[i] && state->gpus[i].is_lost)
                return GPU_IS_LOST;
        if (now_ms() >= end)
            return TIMEOUT;
    }
}

/* ---- GPM: from Hopper on ----------------------------------------------------------------------- */

struct gpm_sample {
    struct device *device;
    uint32_t gpu_instance;
    int64_t at_ms;
};

struct gpm_support { /* nvmlGpmSupport_t */
    uint32_t version;
    uint32_t is_supported;
};

EXPORT int nvmlGpmQueryDeviceSupport(struct device *device, struct gpm_support *out)
{
    ENTER_GPU(gpu);
    out->is_supported = gpu->architecture >= 9;
    return SUCCESS;
}

EXPORT int nvmlGpmSampleAlloc(struct gpm_sample **out)
{
    ENTER_SYSTEM();
    *out = calloc(1, sizeof **out);
    return *out ? SUCCESS : OUT_OF_MEMORY;
}

EXPORT int nvmlGpmSampleFree(struct gpm_sample *sample)
{
    free(sample);
    return SUCCESS;
}

EXPORT int nvmlGpmSampleGet(struct device *device, struct gpm_sample *out)
{
    ENTER_GPU(gpu);
    if (gpu->architecture < 9)
        return NOT_SUPPORTED;
    *out = (struct gpm_sample){device, ~0u, now_ms()};
    return SUCCESS;
}

EXPORT int nvmlGpmMigSampleGet(struct device *device, uint32_t gpu_instance, struct gpm_sample *out)
{
    ENTER_GPU(gpu);
    if (gpu->architecture < 9)
        return NOT_SUPPORTED;
    *out = (struct gpm_sample){device, gpu_instance, now_ms()};
    return SUCCESS;
}

struct gpm_metric { /* nvmlGpmMetric_t, 40 bytes */
    uint32_t id;
    uint32_t status;
    double value;
    const char *names[3];
};

struct gpm_metrics { /* nvmlGpmMetricsGet_t */
    uint32_t version;
    uint32_t count;
    struct gpm_sample *first;
    struct gpm_sample *second;
    struct gpm_metric metrics[];
};

static double percent_of(struct gpm_sample *sample, uint32_t metric)
{
    struct gpu *gpu = &state->gpus[sample->device->index];
    if (sample->gpu_instance == ~0u)
        return metric == 2 ? gpu->sm_active_percent : gpu->tensor_active_percent;
    for (int place = 0; place < MAX_INSTANCES; place++) {
        struct instance *each = &gpu->instances[place];
        if (each->is_there && each->gpu_instance == sample->gpu_instance)
            return metric == 2 ? each->sm_active_percent : each->tensor_active_percent;
    }
    return 0;
}

/* Two samples nearer than a second say nothing: the driver gives garbage, the simulation refuses. */
EXPORT int nvmlGpmMetricsGet(struct gpm_metrics *wanted)
{
    ENTER_SYSTEM();
    if (wanted->version != 1 || !wanted->first || !wanted->second)
        return INVALID_ARGUMENT;
    if (wanted->second->at_ms - wanted->first->at_ms < 1000)
        return INVALID_ARGUMENT;
    for (uint32_t i = 0; i < wanted->count; i++) {
        struct gpm_metric *each = &wanted->metrics[i];
        each->status = each->id == 2 || each->id == 5 ? SUCCESS : NOT_SUPPORTED;
        if (!each->status)
            each->value = percent_of(wanted->second, each->id);
    }
    return SUCCESS;
}
