/*
 * The simulated library: how a card, or a MIG instance of it, does.
 */
#include "nvml_sim.h"

NUMBER_OF_CARD(nvmlDeviceGetPowerUsage, uint32_t, power_milliwatts, 1)
NUMBER_OF_CARD(nvmlDeviceGetTotalEnergyConsumption, uint64_t, energy_millijoules, 1)
NUMBER_OF_CARD(nvmlDeviceGetFanSpeed, uint32_t, fan_percent, gpu->has_fan)
NUMBER_OF_CARD(nvmlDeviceGetCurrentClocksEventReasons, uint64_t, clock_reasons, 1)
NUMBER_OF_CARD(nvmlDeviceGetCurrentClocksThrottleReasons, uint64_t, clock_reasons, 1)
NUMBER_OF_CARD(nvmlDeviceGetPerformanceState, uint32_t, performance_state, 1)
NUMBER_OF_CARD(nvmlDeviceGetPersistenceMode, uint32_t, is_persistent, 1)
NUMBER_OF_CARD(nvmlDeviceGetCurrPcieLinkGeneration, uint32_t, pcie_generation, gpu->pcie_generation)
NUMBER_OF_CARD(nvmlDeviceGetCurrPcieLinkWidth, uint32_t, pcie_width, gpu->pcie_width)
/* The older way to numbered fields. */
NUMBER_OF_CARD(nvmlDeviceGetPcieReplayCounter, uint32_t, fields[94].value, gpu->fields[94].is_supported)

struct memory_v1 { /* nvmlMemory_t: free comes before used, and used counts what is reserved */
    uint64_t total;
    uint64_t free;
    uint64_t used;
};

struct memory_v2 { /* nvmlMemory_v2_t, 40 bytes */
    uint32_t version;
    uint64_t total;
    uint64_t reserved;
    uint64_t free;
    uint64_t used;
};

static int memory_of(struct device *device, struct gpu *gpu, struct memory_v2 *out)
{
    struct instance *instance = instance_of(device, gpu);
    if (!gpu->has_own_memory)
        return NOT_SUPPORTED;
    out->total = instance ? instance->memory_total : gpu->memory_total;
    out->reserved = instance ? instance->memory_reserved : gpu->memory_reserved;
    out->used = instance ? instance->memory_used : gpu->memory_used;
    out->free = out->total - out->reserved - out->used;
    return SUCCESS;
}

EXPORT int nvmlDeviceGetMemoryInfo(struct device *device, struct memory_v1 *out)
{
    struct memory_v2 newer;
    ENTER_UNIT(gpu);
    int failed = memory_of(device, gpu, &newer);
    if (!failed)
        *out = (struct memory_v1){newer.total, newer.free, newer.used + newer.reserved};
    return failed;
}

EXPORT int nvmlDeviceGetMemoryInfo_v2(struct device *device, struct memory_v2 *out)
{
    ENTER_UNIT(gpu);
    if (out->version != (sizeof *out | 2u << 24)) /* the caller says which layout it means */
        return ARGUMENT_VERSION_MISMATCH;
    return memory_of(device, gpu, out);
}

EXPORT int nvmlDeviceGetBAR1MemoryInfo(struct device *device, struct memory_v1 *out)
{
    ENTER_GPU(gpu);
    if (!gpu->bar1_total)
        return NOT_SUPPORTED;
    *out = (struct memory_v1){gpu->bar1_total, gpu->bar1_total - gpu->bar1_used, gpu->bar1_used};
    return SUCCESS;
}

/* With MIG on there is no utilization of the whole card, nor of its engines. */
EXPORT int nvmlDeviceGetUtilizationRates(struct device *device, uint32_t rates[2])
{
    ENTER_GPU(gpu);
    if (gpu->is_mig_on)
        return NOT_SUPPORTED;
    rates[0] = gpu->utilization_percent;
    rates[1] = gpu->memory_utilization_percent;
    return SUCCESS;
}

#define UTILIZATION_OF_ENGINE(symbol, percent)                                     \
    EXPORT int symbol(struct device *device, uint32_t *out, uint32_t *sampled_us)  \
    {                                                                              \
        ENTER_GPU(gpu);                                                            \
        if (gpu->is_mig_on)                                                        \
            return NOT_SUPPORTED;                                                  \
        *out = gpu->percent;                                                       \
        *sampled_us = 167000;                                                      \
        return SUCCESS;                                                            \
    }

UTILIZATION_OF_ENGINE(nvmlDeviceGetEncoderUtilization, encoder_percent)
UTILIZATION_OF_ENGINE(nvmlDeviceGetDecoderUtilization, decoder_percent)

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

struct margin_v1 { /* nvmlMarginTemperature_v1_t, 8 bytes */
    uint32_t version;
    int32_t margin;
};

EXPORT int nvmlDeviceGetMarginTemperature(struct device *device, struct margin_v1 *out)
{
    ENTER_GPU(gpu);
    if (out->version != (sizeof *out | 1u << 24))
        return ARGUMENT_VERSION_MISMATCH;
    out->margin = gpu->margin_celsius;
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

/* Only counters of this boot (0) are simulated, not those of the card's life (1). */
EXPORT int nvmlDeviceGetTotalEccErrors(struct device *device, uint32_t kind, uint32_t counter, uint64_t *out)
{
    ENTER_GPU(gpu);
    if (!gpu->has_ecc || !gpu->is_ecc_on)
        return NOT_SUPPORTED;
    if (kind >= 2 || counter)
        return INVALID_ARGUMENT;
    *out = gpu->ecc_errors[kind];
    return SUCCESS;
}

EXPORT int nvmlDeviceGetRemappedRows(struct device *device, uint32_t *correctable, uint32_t *uncorrectable,
                                     uint32_t *pending, uint32_t *failure)
{
    ENTER_GPU(gpu);
    if (!gpu->fields[142].is_supported)
        return NOT_SUPPORTED;
    *correctable = (uint32_t)gpu->fields[142].value;
    *uncorrectable = (uint32_t)gpu->fields[143].value;
    *pending = (uint32_t)gpu->fields[144].value;
    *failure = (uint32_t)gpu->fields[145].value;
    return SUCCESS;
}

EXPORT int nvmlDeviceGetRowRemapperHistogram(struct device *device, uint32_t out[5])
{
    ENTER_GPU(gpu);
    if (!gpu->fields[142].is_supported)
        return NOT_SUPPORTED;
    memcpy(out, gpu->remapped_banks, sizeof gpu->remapped_banks);
    return SUCCESS;
}

struct fabric_v2 { /* nvmlGpuFabricInfo_v2_t, 36 bytes */
    uint32_t version;
    uint8_t cluster[16];
    uint32_t status;
    uint32_t clique;
    uint32_t state;
    uint32_t health_mask;
};

struct fabric_v3 { /* nvmlGpuFabricInfo_v3_t, 40 bytes */
    struct fabric_v2 older;
    uint8_t summary;
};

EXPORT int nvmlDeviceGetGpuFabricInfoV(struct device *device, struct fabric_v3 *out)
{
    ENTER_GPU(gpu);
    int is_third = out->older.version == (sizeof(struct fabric_v3) | 3u << 24);
    int is_second = out->older.version == (sizeof(struct fabric_v2) | 2u << 24);
    if (!is_second && !(is_third && state->fabric_version >= 3))
        return ARGUMENT_VERSION_MISMATCH;
    if (!gpu->has_fabric)
        return NOT_SUPPORTED;
    out->older.status = gpu->fabric_status;
    out->older.state = gpu->fabric_state;
    out->older.health_mask = gpu->fabric_health_mask;
    if (is_third)
        out->summary = (uint8_t)gpu->fabric_summary;
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

/* Counters of NVLinks (138 to 141, 161 to 163) are per link; the sum over all is asked for by scope ~0. */
static int needs_scope(uint32_t id) { return (id >= 138 && id <= 141) || (id >= 161 && id <= 163); }

static int is_scope(const struct gpu *gpu, uint32_t scope)
{
    return gpu->counts_links_apart ? scope < gpu->link_count : scope == ~0u;
}

/* Succeeds as a whole; each field carries a return code of its own. */
EXPORT int nvmlDeviceGetFieldValues(struct device *device, int count, struct field_value *values)
{
    ENTER_GPU(gpu);
    for (int i = 0; i < count; i++) {
        uint32_t id = values[i].id;
        int is_known = id < MAX_FIELDS && gpu->fields[id].is_supported;
        values[i].status = is_known ? SUCCESS : NOT_SUPPORTED;
        if (is_known && needs_scope(id) && !is_scope(gpu, values[i].scope))
            values[i].status = INVALID_ARGUMENT;
        if (values[i].status)
            continue;
        values[i].value_type = gpu->fields[id].value_type;
        values[i].value = gpu->fields[id].value;
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
    ENTER_UNIT(gpu);
    struct instance *instance = instance_of(device, gpu);
    uint32_t room = *count, found = 0;
    for (uint32_t i = 0; i < gpu->process_count && i < MAX_PROCESSES; i++) {
        struct process *each = &gpu->processes[i];
        if (instance && each->gpu_instance != instance->gpu_instance)
            continue;
        if (found < room)
            out[found] = (struct process_info){each->pid, each->memory_bytes, each->gpu_instance, ~0u};
        found++;
    }
    *count = found;
    return found > room ? INSUFFICIENT_SIZE : SUCCESS;
}
